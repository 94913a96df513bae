"""Operators without an adjoint."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from suffuse.contracts.operator import Noise, Operator
from suffuse.contracts.part import setting
from suffuse.state import promote
from suffuse_operators.fourier import fourier
from suffuse_operators.inputs import image
from suffuse_operators.noise import GaussianNoise

__all__ = ["HighDynamicRange", "PhaseRetrieval"]


@attrs.frozen(kw_only=True)
class PhaseRetrieval(Operator):
    """``|F pad(x)|``, F unitary: ``int(oversampling H / 8)`` zeros on either side of the rows, likewise for columns.

    An image, its negative and their 180-degree rotations have one measurement; with padding, so do shifts that stay
    within it. Chung et al., 2022, arXiv:2209.14687, and its released code.
    """

    oversampling: float = setting(2.0, "padding on both sides, in quarters of the image's side", ge=0)
    noise: Noise = setting(factory=GaussianNoise, doc="of each amplitude")

    def A(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, H + 2 p, W + 2 q)``."""
        x = image(x, self)
        p, q = (int(self.oversampling * n / 8) for n in x.shape[2:])
        return fourier(torch.nn.functional.pad(x, (q, q, p, p))).abs()


@attrs.frozen(kw_only=True)
class HighDynamicRange(Operator):
    """``clip(gain x, -1, 1)``: an over-exposed photograph. Any state ``(B, *event)`` in [-1, 1].

    Mardani et al., A Variational Perspective on Solving Inverse Problems with Diffusion Models, 2023,
    arXiv:2305.04391, with a gain of 2.
    """

    gain: float = setting(2.0, "how far over-exposed; 1 clips nothing", gt=0)
    noise: Noise = setting(factory=GaussianNoise, doc="of each element, after clipping")

    def A(self, x: Tensor) -> Tensor:
        """Element by element, without a gradient where it saturates."""
        return (self.gain * promote(x)).clamp(-1, 1)
