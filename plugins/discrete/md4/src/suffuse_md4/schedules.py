"""The schedules alpha_t of the paper's table 4, one process each.

The authors' code keeps ``alpha = (1 - 2 eps) a + eps`` off 0 and 1, and so do these; ``eps = 0`` is the paper's text.
``time`` is the inverse of ``masked``, within [0, 1].
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.errors import SpecError
from suffuse_md4.process import Masked

__all__ = ["Cosine", "Geometric", "Linear", "Polynomial"]


def _symbols() -> Any:  # noqa: ANN401 - a field
    return setting(doc="K, the number of symbols of data; the mask is K", ge=2)


def _eps() -> Any:  # noqa: ANN401 - a field
    return setting(1e-4, "alpha runs from 1 - eps to eps", ge=0, lt=0.5)


@attrs.frozen(kw_only=True)
class Linear(Masked):
    """``a = 1 - t``."""

    symbols: int = _symbols()
    eps: float = _eps()

    def masked(self, t: Tensor) -> Tensor:
        """``t``, kept off the ends."""
        return _offset(t, self.eps)

    def slope(self, t: Tensor) -> Tensor:
        """``1 - 2 eps``."""
        return torch.full_like(t, 1 - 2 * self.eps)[..., None]

    def time(self, masked: Tensor) -> Tensor:
        """The value itself."""
        return _without(masked, self.eps)


@attrs.frozen(kw_only=True)
class Polynomial(Masked):
    """``a = 1 - t^power``."""

    symbols: int = _symbols()
    power: float = setting(2.0, "the exponent of t", gt=0)
    eps: float = _eps()

    def masked(self, t: Tensor) -> Tensor:
        """``t^power``, kept off the ends."""
        return _offset(t**self.power, self.eps)

    def slope(self, t: Tensor) -> Tensor:
        """``(1 - 2 eps) power t^(power - 1)``."""
        return ((1 - 2 * self.eps) * self.power * t ** (self.power - 1))[..., None]

    def time(self, masked: Tensor) -> Tensor:
        """The root."""
        return _without(masked, self.eps) ** (1 / self.power)


@attrs.frozen(kw_only=True)
class Cosine(Masked):
    """``a = 1 - cos(pi/2 (1 - t))``."""

    symbols: int = _symbols()
    eps: float = _eps()

    def masked(self, t: Tensor) -> Tensor:
        """``cos(pi/2 (1 - t)) = sin(pi/2 t)``, kept off the ends."""
        return _offset(torch.sin(math.pi / 2 * t), self.eps)

    def slope(self, t: Tensor) -> Tensor:
        """``(1 - 2 eps) pi/2 cos(pi/2 t)``."""
        return ((1 - 2 * self.eps) * math.pi / 2 * torch.cos(math.pi / 2 * t))[..., None]

    def time(self, masked: Tensor) -> Tensor:
        """``2/pi asin``."""
        return 2 / math.pi * torch.asin(_without(masked, self.eps))


@attrs.frozen(kw_only=True)
class Geometric(Masked):
    """``alpha = exp(-beta_min^(1 - t) beta_max^t)``, the schedule of SEDD (Lou et al. 2023, arXiv:2310.16834)."""

    symbols: int = _symbols()
    beta_min: float = setting(1e-5, "the total rate at t = 0", gt=0)
    beta_max: float = setting(20.0, "the total rate at t = 1", gt=0)

    def __attrs_post_init__(self) -> None:
        if self.beta_min >= self.beta_max:
            raise SpecError(f"beta_min must be below beta_max, got {self.beta_min:g} and {self.beta_max:g}")

    def masked(self, t: Tensor) -> Tensor:
        """``1 - exp(-beta)``."""
        return -torch.expm1(-self._beta(t))[..., None]

    def slope(self, t: Tensor) -> Tensor:
        """``beta log(beta_max/beta_min) exp(-beta)``."""
        beta = self._beta(t)
        return (beta * math.log(self.beta_max / self.beta_min) * (-beta).exp())[..., None]

    def time(self, masked: Tensor) -> Tensor:
        """``log(beta/beta_min) / log(beta_max/beta_min)``."""
        beta = -torch.log1p(-masked[..., 0])
        return ((beta / self.beta_min).log() / math.log(self.beta_max / self.beta_min)).clamp(0, 1)

    def _beta(self, t: Tensor) -> Tensor:
        return self.beta_min * (self.beta_max / self.beta_min) ** t


def _offset(m: Tensor, eps: float) -> Tensor:
    return ((1 - 2 * eps) * m + eps)[..., None]


def _without(masked: Tensor, eps: float) -> Tensor:
    return ((masked[..., 0] - eps) / (1 - 2 * eps)).clamp(0, 1)
