"""The variance-exploding process."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian, Kernel, as_time
from suffuse.errors import SpecError

__all__ = ["Ve"]


@attrs.frozen(kw_only=True)
class Ve(Gaussian):
    """``alpha = 1`` and ``sigma_t = sigma_min (sigma_max/sigma_min)^t``: a little noise stays at t = 0.

    Song et al., Score-Based Generative Modeling through SDEs, 2021, arXiv:2011.13456, eq. 30. GDSS has it, from 0.2 to
    1, on the bonds of molecules (arXiv:2202.02514, table of appendix C); the defaults are those of its code.
    """

    sigma_min: float = setting(0.01, "sigma at t = 0", gt=0, lt=math.inf)
    sigma_max: float = setting(50.0, "sigma at t = 1", gt=0, lt=math.inf)

    def __attrs_post_init__(self) -> None:
        if not self.sigma_min < self.sigma_max:
            raise SpecError(f"sigma_min must be below sigma_max, got {self.sigma_min} and {self.sigma_max}")

    @property
    def _rate(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def kernel(self, t: Tensor) -> Kernel:
        """``(1, sigma_min exp(t log(sigma_max/sigma_min)))``."""
        t = as_time(t)
        return Kernel(torch.ones_like(t), self.sigma_min * (self._rate * t).exp())

    def time(self, log_snr: Tensor) -> Tensor:
        """``(-log_snr/2 - log sigma_min) / log(sigma_max/sigma_min)``."""
        return ((-as_time(log_snr) / 2 - math.log(self.sigma_min)) / self._rate).clamp(0, 1)
