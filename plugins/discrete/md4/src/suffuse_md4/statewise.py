"""GenMD4's process: every symbol has a schedule of its own, and learns it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from suffuse.contracts.part import module, setting
from suffuse.contracts.process import Learned
from suffuse_md4.process import Masked

__all__ = ["Statewise"]


@module
class Statewise(Learned, Masked):
    """``alpha_t(v) = 1 - (1 - eps) t^w_v`` with a learned ``w_v = softplus(raw_v)``.

    Shi et al. 2024, arXiv:2406.04329, section 6. Symbols with a large w are revealed first. ``raw`` must see no weight
    decay. ``alpha_0 = 1``, so the bound is taken from a time t1 above 0.
    """

    symbols: int = setting(doc="K, the number of symbols of data; the mask is K", ge=2)
    power: float = setting(1.0, "every w at the start of training", gt=0)
    eps: float = setting(1e-4, "alpha at t = 1", ge=0, lt=0.5)

    def __attrs_post_init__(self) -> None:
        self.raw = nn.Parameter(torch.full((self.symbols,), math.log(math.expm1(self.power))))

    @property
    def w(self) -> Tensor:
        """The exponents ``(K,)``, float64."""
        return softplus(self.raw.double())

    def masked(self, t: Tensor) -> Tensor:
        """``(1 - eps) t^w``, ``(*t.shape, K)``."""
        return (1 - self.eps) * t[..., None] ** self.w

    def slope(self, t: Tensor) -> Tensor:
        """``(1 - eps) w t^(w - 1)``."""
        return (1 - self.eps) * self.w * t[..., None] ** (self.w - 1)
