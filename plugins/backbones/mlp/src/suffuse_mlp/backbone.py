"""A residual MLP."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone, check_labels
from suffuse.contracts.part import module, setting
from suffuse.errors import InvalidInput

__all__ = ["Mlp"]


class _Block(nn.Module):
    """``x + W_2 dropout(silu(W_1 norm(x) + W_c c))``."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first, self.condition, self.second = (nn.Linear(width, width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """``(B, width)`` and c ``(B, width)`` to ``(B, width)``."""
        h = F.silu(self.first(self.norm(x)) + self.condition(c))
        out: Tensor = x + self.second(self.dropout(h))
        return out


def _sizes(shape: tuple[int, ...]) -> str | None:
    good = isinstance(shape, tuple | list) and len(shape) > 0 and min(shape) >= 1
    return None if good else f"expected sizes of at least 1, such as (2,), got {shape!r}"


@module
class Mlp(Backbone):
    """A residual MLP on flattened states, told the noise level by random Fourier features.

    ``x (B, *shape)`` to ``(B, *shape)`` (or other channels), ``c_noise (B,)``. The features are ``cos(2 pi f c_noise)``
    and ``sin(2 pi f c_noise)`` with ``frequencies`` numbers f ~ N(0, bandwidth^2): Tancik et al., Fourier Features Let
    Networks Learn High Frequency Functions in Low Dimensional Domains, 2020, arXiv:2006.10739, section 6.1. They are
    drawn once, from ``frequency_seed``, and saved with the weights. The output is exactly zero at initialisation.
    With ``classes`` there is one embedding more, for rows whose label is absent.

    Blocks ``block0``, ``block1``, ...: ``(B, width)`` and c ``(B, width)`` to ``(B, width)``. Dropout acts in training
    mode only, from torch's generator.

    Raises ``InvalidInput`` for a state of another shape.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    shape: tuple[int, ...] = setting((2,), "shape of a state", check=_sizes)
    width: int = setting(256, "hidden units", ge=1)
    depth: int = setting(4, "residual blocks", ge=1)
    frequencies: int = setting(64, "frequencies of the Fourier features", ge=1)
    bandwidth: float = setting(1.0, "their standard deviation, in cycles per unit of c_noise", gt=0)
    frequency_seed: int = setting(0, "seed of the frequencies", ge=0)
    classes: int = setting(0, "number of labels; 0 is unconditional", ge=0)
    dropout: float = setting(0.0, "probability that a hidden unit is dropped in training", ge=0, lt=1)
    outputs: int | None = setting(None, "channels of the output; by default those of the state", ge=1)

    def __attrs_post_init__(self) -> None:
        dim, rest, width = math.prod(self.shape), math.prod(self.shape[1:]), self.width
        self.first, self.last = nn.Linear(dim, width), nn.Linear(width, (self.outputs or self.shape[0]) * rest)
        generator = torch.Generator("cpu").manual_seed(self.frequency_seed)
        f = torch.randn(self.frequencies, generator=generator, device="cpu") * self.bandwidth
        self.register_buffer("f", f.to(self.first.weight.device))
        self.noise = nn.Sequential(nn.Linear(2 * self.frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.labels = nn.Embedding(self.classes + 1, width) if self.classes else None
        self.blocks = nn.ModuleDict({f"block{i}": _Block(width, self.dropout) for i in range(self.depth)})
        self.norm = nn.LayerNorm(width)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    @property
    def gives(self) -> frozenset[str]:
        """``conditional``, where there are classes."""
        return frozenset({"conditional"}) if self.classes else frozenset()

    def check(self, cond: Condition) -> None:
        """Labels of the known classes, or nothing."""
        check_labels(cond, self.classes)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The raw output."""
        if tuple(x.shape[1:]) != tuple(self.shape) or c_noise.shape != x.shape[:1]:
            raise InvalidInput(
                f"expected x of shape (batch, {', '.join(map(str, self.shape))}) and c_noise of shape (batch,), "
                f"got {tuple(x.shape)} and {tuple(c_noise.shape)}"
            )
        # Angles are float32 at least: half precision loses whole turns.
        angles = 2 * math.pi * c_noise.to(torch.promote_types(c_noise.dtype, torch.float32))[:, None] * self.f
        c = self.noise(torch.cat([angles.cos(), angles.sin()], dim=1).to(x.dtype))
        if self.labels is not None:
            c = c + self.labels(self._rows_of(cond, x))
        c, h = F.silu(c), self.first(x.flatten(1))
        for name in self.blocks:
            h = self.run(name, h, c)
        out: Tensor = self.last(F.silu(self.norm(h)))
        return out.reshape(len(x), -1, *x.shape[2:])

    def _rows_of(self, cond: Condition, x: Tensor) -> Tensor:
        if "label" not in cond:
            return torch.full((len(x),), self.classes, device=x.device)
        return torch.where(cond.present("label"), cond["label"], self.classes)
