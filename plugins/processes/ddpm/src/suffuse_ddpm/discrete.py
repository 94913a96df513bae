"""The chain of T steps as published."""

from __future__ import annotations

import math
from functools import cached_property
from itertools import pairwise
from typing import Literal

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian, Kernel, as_time
from suffuse.errors import SpecError
from suffuse.points import at_points
from suffuse_ddpm.steps import step_of, time_of
from suffuse_ddpm.vp import VariancePreserving

__all__ = ["Discrete"]


@attrs.frozen(kw_only=True)
class Discrete(VariancePreserving, Gaussian):
    """``q(x_n | x_{n-1}) = N(sqrt(1 - beta_n) x_{n-1}, beta_n I)``, n = 1 ... T, at the times ``t = n/T``.

    - ``linear``: T betas evenly spaced from ``beta_start`` to ``beta_end``, both times 1000/T
      (Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv:2006.11239, section 4);
    - ``cosine``: ``beta_n = min(1 - f(n/T)/f((n-1)/T), beta_cap)``, ``f(u) = cos^2(pi/2 (u + s)/(1 + s))``
      (Nichol and Dhariwal, 2021, arXiv:2102.09672, eq. 17).

    Between grid points ``log alpha_t^2`` is linear in t, as if noise came at a constant rate
    ``beta(t) = -T log(1 - beta_n)`` within each step: every kernel between grid points is the published one.
    """

    T: int = setting(1000, "steps of the chain", ge=2)
    schedule: Literal["linear", "cosine"] = setting("linear", "how the betas grow", choices=("linear", "cosine"))
    beta_start: float = setting(1e-4, "first beta of the linear schedule at T = 1000", gt=0, lt=1)
    beta_end: float = setting(0.02, "last beta of the linear schedule at T = 1000", gt=0, lt=1)
    s: float = setting(0.008, "offset of the cosine schedule", ge=0, lt=1)
    beta_cap: float = setting(0.999, "largest beta of the cosine schedule", gt=0, lt=1)

    def __attrs_post_init__(self) -> None:
        largest = max(self.beta_start, self.beta_end) * 1000 / self.T
        if self.schedule == "linear" and largest >= 1:
            raise SpecError(
                f"T={self.T} scales the largest linear beta to {largest:g}: expected below 1, so T above "
                f"{max(self.beta_start, self.beta_end) * 1000:g}, or schedule='cosine'"
            )

    @cached_property
    def betas(self) -> Tensor:
        """``beta_1 ... beta_T``, float64 ``(T,)``."""
        if self.schedule == "linear":
            scale = 1000 / self.T
            return torch.from_numpy(np.linspace(scale * self.beta_start, scale * self.beta_end, self.T))
        signal = [math.cos((n / self.T + self.s) / (1 + self.s) * math.pi / 2) ** 2 for n in range(self.T + 1)]
        betas = [min(1 - after / before, self.beta_cap) for before, after in pairwise(signal)]
        return torch.tensor(betas, dtype=torch.float64)

    @cached_property
    def alpha_bar(self) -> Tensor:
        """``alpha_n^2 = prod_{m <= n} (1 - beta_m)``, n = 1 ... T, float64 ``(T,)``."""
        return (1 - self.betas).cumprod(0)

    @cached_property
    def _log_signal(self) -> Tensor:
        """``log alpha_n^2``, n = 0 ... T; from log1p, since ``1 - alpha_bar`` has lost digits at the first steps."""
        return torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-self.betas).cumsum(0)])

    def time_of(self, n: int | Tensor) -> Tensor:
        """``n/T``."""
        return time_of(n, self.T)

    def step_of(self, t: float | Tensor) -> Tensor:
        """The step n in 1 ... T that leads to t; a network trained on this chain knows it as index n - 1."""
        return step_of(t, self.T)

    def rate(self, t: Tensor) -> Tensor:
        """``-T log(1 - beta_n)`` within step n, its end included."""
        log_signal, n = self._log_signal.to(as_time(t).device), self.step_of(t)
        return self.T * (log_signal[n - 1] - log_signal[n])

    def kernel(self, t: Tensor) -> Kernel:
        """``(alpha_t, sqrt(1 - alpha_t^2))``."""
        log_signal = self._interpolated(t)
        return Kernel((log_signal / 2).exp(), (-torch.expm1(log_signal)).sqrt())

    @at_points
    def log_snr(self, t: Tensor) -> Tensor:
        """``-log(1/alpha_t^2 - 1)``."""
        return -torch.expm1(-self._interpolated(t)).log()

    def time(self, log_snr: Tensor) -> Tensor:
        """By bisection in the table, then linear within the step."""
        log_snr = as_time(log_snr)
        table = -self._log_signal.to(log_snr.device)
        lost = (-logsigmoid(log_snr)).clamp(0.0, float(self._log_signal[-1].neg()))
        n = torch.searchsorted(table, lost.contiguous()).clamp(1, self.T)
        return (n - 1 + (lost - table[n - 1]) / (table[n] - table[n - 1])) / self.T

    def _interpolated(self, t: Tensor) -> Tensor:
        t = as_time(t)
        log_signal, n = self._log_signal.to(t.device), self.step_of(t)
        before, after = log_signal[n - 1], log_signal[n]
        return before + (t * self.T - (n - 1)) * (after - before)
