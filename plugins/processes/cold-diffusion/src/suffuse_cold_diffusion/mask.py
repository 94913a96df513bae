"""Inpainting: a soft hole that grows about one place."""

from __future__ import annotations

from typing import Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Degradation, Process
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State
from suffuse_cold_diffusion.chain import Chain

__all__ = ["Mask"]


@attrs.frozen(kw_only=True)
class Mask(Chain, Process, Degradation):
    """``D(x, n) = x prod_{i < n} (1 - exp(-|p - c|^2 / (2 std_i^2)))``, ``std_i = std + growth i`` pixels, at pixel p.

    Bansal et al. 2022, arXiv:2208.09392, section 4.2. The end is the centre c, ``(B, 2)`` integers (row, column), drawn
    uniformly over the pixels (MNIST, CIFAR-10) or in the middle (CelebA). To restore a given image give its centre as
    ``cond={"end": c}``.
    """

    T: int = setting(50, "steps", ge=1)
    std: float = setting(1.0, "the first bump's standard deviation, in pixels", gt=0)
    growth: float = setting(0.1, "its growth a step", ge=0)
    centre: Literal["random", "middle"] = setting("random", "where the hole is", choices=("random", "middle"))

    def pattern(self, x0: Tensor, rng: Rng) -> Tensor:
        """The centres."""
        height, width = x0.shape[-2:]
        if self.centre == "middle":
            return torch.tensor([[height // 2, width // 2]], device=x0.device).expand(len(x0), 2)
        places = [rng.at(axis).integers(0, size) for axis, size in (("row", height), ("column", width))]
        return torch.stack(places, dim=1).to(x0.device)

    def at(self, x0: Tensor, n: Tensor, end: State | None) -> Tensor:
        """The image times its mask."""
        if not isinstance(end, Tensor) or end.shape != (len(x0), 2):
            found = "none" if end is None else f"shape {tuple(end.shape)}" if isinstance(end, Tensor) else "a mapping"
            raise InvalidInput(f"a mask needs its centres as the end, ({len(x0)}, 2) rows and columns, got {found}")
        device, (height, width) = x0.device, x0.shape[-2:]
        places = (torch.arange(height, device=device), torch.arange(width, device=device))
        down, across = ((p - end[:, i : i + 1]).double() ** 2 for i, p in enumerate(places))
        square = down[:, :, None] + across[:, None]
        mask = torch.ones_like(square)
        for i in range(int(n.max())):  # one bump at a time: all at once would need T masks
            bump = 1 - torch.exp(-square / (2 * (self.std + self.growth * i) ** 2))
            mask = torch.where((n.to(device) > i)[:, None, None], mask * bump, mask)
        return x0 * mask[:, None].to(x0)
