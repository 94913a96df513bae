"""Snow that falls thicker and thicker."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Degradation, Process
from suffuse.errors import InvalidInput, SpecError
from suffuse.rng import Rng
from suffuse.state import State
from suffuse_cold_diffusion.chain import Chain, channels_like

__all__ = ["Snow"]


@attrs.frozen(kw_only=True)
class Snow(Chain, Process, Degradation):
    """An image whitens while the flakes above a falling threshold cover it (arXiv:2208.09392, section 4.4).

    In units of [0, 1], for severity ``u = n/T``: ``D = w x + (1 - w) max(x, 1.5 grey(x) + 0.5) + flakes``,
    ``w = 1 - u whitening``, after the corruption "snow" of Hendrycks and Dietterich 2019, arXiv:1903.12261. The flakes
    are ``max(layer - theta, 0)`` with theta falling from the layer's greatest value to ``threshold``; the layer is unit
    noise, smeared along its fall over ``streak`` pixels and scaled back to unit variance. The end is that layer,
    ``(B, 1, H, W)``, drawn once.
    """

    T: int = setting(200, "steps", ge=1)
    threshold: float = setting(0.5, "noise above which there is a flake at the last step")
    streak: int = setting(4, "length of a flake's trace, in pixels", ge=1)
    whitening: float = setting(0.4, "how far the image has whitened at the last step", ge=0, le=1)
    low: float = setting(-1.0, "the state's value of black")
    high: float = setting(1.0, "the state's value of white")

    def __attrs_post_init__(self) -> None:
        if not self.low < self.high:
            raise SpecError(f"low must be below high, got low={self.low}, high={self.high}")

    def pattern(self, x0: Tensor, rng: Rng) -> Tensor:
        """The layer, by copies of the noise shifted two pixels down and one to the left each."""
        noise = rng.at("layer").normal(x0[:, :1].float())
        fallen = torch.stack([noise.roll((2 * i, -i), dims=(2, 3)) for i in range(self.streak)])
        return fallen.sum(0) / self.streak**0.5

    def at(self, x0: Tensor, n: Tensor, end: State | None) -> Tensor:
        """The snowed-in image."""
        expected = (len(x0), 1, *x0.shape[-2:])
        if not isinstance(end, Tensor) or tuple(end.shape) != expected:
            found = "none" if end is None else f"shape {tuple(end.shape)}" if isinstance(end, Tensor) else "a mapping"
            raise InvalidInput(f"snow needs its layer as the end, {expected}, got {found}")
        layer, u = end.to(x0), (n / self.T).to(x0)[:, None, None, None]
        top = layer.amax((1, 2, 3), keepdim=True)
        flakes = (layer - torch.lerp(top, top.clamp_max(self.threshold), u)).clamp_min(0)
        x = (x0 - self.low) / (self.high - self.low)
        grey = (x * channels_like((1.0,), x)).sum(1, keepdim=True)
        covered = torch.lerp(x, torch.maximum(x, 1.5 * grey + 0.5), u * self.whitening) + flakes
        return self.low + covered * (self.high - self.low)
