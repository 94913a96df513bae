"""The preconditioning: network inputs and targets of unit variance at every noise level."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from suffuse.contracts.model import Parameterization, Scaling
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mix
from suffuse.contracts.process import Gaussian
from suffuse.state import require

__all__ = ["Precondition"]


@attrs.frozen(kw_only=True)
class Precondition(Parameterization):
    """``D(x; sigma) = c_skip x + c_out F(c_in x; c_noise)`` on ``x_t / alpha_t``, at ``sigma = sigma_t / alpha_t``.

    With ``s = sigma_data``: ``c_skip = s^2/(sigma^2 + s^2)``, ``c_out = sigma s/sqrt(sigma^2 + s^2)``,
    ``c_in = 1/sqrt(sigma^2 + s^2)``, ``c_noise = ln(sigma)/4`` (Karras et al. 2022, arXiv:2206.00364, equation 7 and
    table 1). Solved for F, with ``r_t = sqrt(sigma_t^2 + s^2 alpha_t^2)``:

        F = sigma_t/(s r_t) x_0 - s alpha_t/r_t eps,    input x_t / r_t,

    finite at both ends of time. For data of standard deviation ``sigma_data`` input and target have unit variance.
    """

    sigma_data: float = setting(0.5, "the standard deviation of the data, per element, as states", gt=0)

    def mix(self, process: Gaussian, t: Tensor) -> Mix:
        """``(sigma_t/(s r_t), -s alpha_t/r_t)``: from (0, -1) at no noise to (1/s, 0) at no signal."""
        alpha, sigma, r = self._norm(process, t)
        return sigma / (self.sigma_data * r), -self.sigma_data * alpha / r

    def scaling(self, process: Gaussian, t: Tensor) -> Scaling:
        """``(1/r_t, ln(sigma_t/alpha_t)/4)``.

        ``Unsupported`` where there is no noise or no signal, since the logarithm is infinite there: training never
        draws these times, and the samplers of this plugin never evaluate them.
        """
        _, _, r = self._norm(process, t)
        c_noise = -process.log_snr(t) / 8
        require(c_noise.isfinite(), "c_noise = ln(sigma/alpha)/4 is infinite at zero noise and at zero signal")
        return Scaling(1 / r, c_noise)

    def _norm(self, process: Gaussian, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma = process.scalars(t)
        return alpha, sigma, torch.hypot(sigma, self.sigma_data * alpha)
