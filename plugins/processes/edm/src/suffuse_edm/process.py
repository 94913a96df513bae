"""The forward process: noise that grows linearly, data that is never scaled."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian, Kernel, as_time

__all__ = ["Edm"]


@attrs.frozen(kw_only=True)
class Edm(Gaussian):
    """``x_t = x_0 + sigma_t eps`` with ``sigma_t = sigma_max t``.

    The ``sigma(t) = t``, ``s(t) = 1`` of Karras et al., Elucidating the Design Space of Diffusion-Based Generative
    Models, 2022, arXiv:2206.00364, section 3 and table 1, with time divided by ``sigma_max``. The prior is
    ``N(0, sigma_max^2 I)``.
    """

    sigma_max: float = setting(80.0, "the noise level at t = 1, in units of the state", gt=0)

    def kernel(self, t: Tensor) -> Kernel:
        """``(1, sigma_max t)``."""
        t = as_time(t)
        return Kernel(torch.ones_like(t), self.sigma_max * t)

    def derivative(self, t: Tensor) -> Kernel:
        """``(0, sigma_max)``."""
        t = as_time(t)
        return Kernel(torch.zeros_like(t), torch.full_like(t, self.sigma_max))

    def log_snr(self, t: Tensor) -> Tensor:
        """``-2 ln(sigma_max t)``."""
        return -2 * (self.sigma_max * as_time(t)).log()

    def time(self, log_snr: Tensor) -> Tensor:
        """``exp(-log_snr / 2) / sigma_max``, clamped to [0, 1]."""
        return ((as_time(log_snr) / -2).exp() / self.sigma_max).clamp(0, 1)
