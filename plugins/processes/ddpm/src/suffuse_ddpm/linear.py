"""The continuous limit of DDPM's linear betas."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian, Kernel, as_time
from suffuse.points import at_points
from suffuse_ddpm.vp import VariancePreserving

__all__ = ["Linear"]


@attrs.frozen(kw_only=True)
class Linear(VariancePreserving, Gaussian):
    """``beta(t) = beta_min + t (beta_max - beta_min)``, t in [0, 1].

    ``log alpha_t = -t beta_min/2 - t^2 (beta_max - beta_min)/4`` (Song et al., Score-Based Generative Modeling
    through SDEs, 2021, arXiv:2011.13456, eq. 33). At t = 1 some signal is left: ``alpha_1 = 0.0066`` by default.
    """

    beta_min: float = setting(0.1, "the rate at t = 0", gt=0, lt=float("inf"))
    beta_max: float = setting(20.0, "the rate at t = 1", gt=0, lt=float("inf"))

    def rate(self, t: Tensor) -> Tensor:
        """``beta(t)``."""
        return self.beta_min + as_time(t) * (self.beta_max - self.beta_min)

    def kernel(self, t: Tensor) -> Kernel:
        """``alpha = exp(-B/2)`` and ``sigma = sqrt(1 - exp(-B))``, B the integral of beta from 0 to t."""
        total = self._integral(as_time(t))
        return Kernel((-total / 2).exp(), (-torch.expm1(-total)).sqrt())

    @at_points
    def log_snr(self, t: Tensor) -> Tensor:
        """``-log(exp(B) - 1)``."""
        return -torch.expm1(self._integral(as_time(t))).log()

    def time(self, log_snr: Tensor) -> Tensor:
        """The positive root of ``B(t) = log(1 + exp(-log_snr))``.

        Lu et al., DPM-Solver, 2022, arXiv:2206.00927, appendix D.4.
        """
        end = self._integral(as_time(1.0))
        total = (-logsigmoid(as_time(log_snr))).clamp(0.0, float(end))
        slope = self.beta_max - self.beta_min
        return (2 * total / (self.beta_min + (self.beta_min**2 + 2 * slope * total).sqrt())).clamp(0.0, 1.0)

    def _integral(self, t: Tensor) -> Tensor:
        return t * (self.beta_min + t * (self.beta_max - self.beta_min) / 2)
