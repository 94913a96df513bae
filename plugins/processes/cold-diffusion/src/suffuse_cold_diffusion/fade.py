"""Desaturation: colours fade to grey."""

from __future__ import annotations

import attrs
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Degradation, Process
from suffuse.state import State
from suffuse_cold_diffusion.chain import Chain, channels_like

__all__ = ["Desaturate"]


@attrs.frozen(kw_only=True)
class Desaturate(Chain, Process, Degradation):
    """``D(x, n) = (1 - n/T) x + n/T grey(x)``: a straight line to the luminance (arXiv:2208.09392, appendix)."""

    T: int = setting(20, "steps", ge=1)
    weights: tuple[float, ...] = setting((0.299, 0.587, 0.114), "of the channels in the luminance (ITU-R BT.601)")

    def at(self, x0: Tensor, n: Tensor, end: State | None) -> Tensor:
        """The mix of an image and its grey."""
        grey = (x0 * channels_like(self.weights, x0)).sum(1, keepdim=True)
        share = (n / self.T).to(x0)[:, None, None, None]
        return x0 + share * (grey - x0)
