"""The squared-cosine schedule in continuous time."""

from __future__ import annotations

import math
from functools import cached_property

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian, Kernel, as_time
from suffuse_ddpm.vp import VariancePreserving

__all__ = ["Cosine"]


@attrs.frozen(kw_only=True)
class Cosine(VariancePreserving, Gaussian):
    """``alpha_t^2 = f(u)/f(0)``, ``f(u) = cos^2(pi/2 (u + s)/(1 + s))``, ``u = u_max t``.

    Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, arXiv:2102.09672, eq. 17. The paper's
    cosine ends without signal, where eps says nothing of the data and log-SNR is -inf; its chain caps the last betas
    instead. Here the schedule stops at ``u_max < 1``, where log-SNR is ``log_snr_min``, and [0, u_max] is stretched to
    t in [0, 1]: log-SNR stays strictly decreasing and smooth. The default, -20, is about the capped chain's end for
    T = 1000 (-19.8) and moves no time by more than 3e-5. The capped chain itself is ``ddpm/discrete``.

    With the angles ``phi_0 = pi/2 /(1 + s)``, ``phi_1`` at the end and ``phi(t) = phi_0 + t (phi_1 - phi_0)``,
    ``alpha = sin phi / sin phi_0`` and ``sigma^2 = sin(phi_0 - phi) sin(phi_0 + phi)/sin^2 phi_0``: no cancellation at
    either end.
    """

    s: float = setting(0.008, "offset that keeps the first steps from being too small", ge=0, lt=1)
    log_snr_min: float = setting(-20.0, "log-SNR at t = 1", ge=-60, lt=0)

    @cached_property
    def _angles(self) -> tuple[float, float]:
        first = math.pi / 2 / (1 + self.s)
        alpha = math.sqrt(1 / (1 + math.exp(-self.log_snr_min)))
        return first, math.asin(math.sin(first) * alpha)

    def _angle(self, t: Tensor) -> Tensor:
        first, last = self._angles
        return (1 - t) * first + t * last

    def kernel(self, t: Tensor) -> Kernel:
        """``(sin phi, sqrt(sin(phi_0 - phi) sin(phi_0 + phi)))/sin phi_0``."""
        t = as_time(t)
        first, last = self._angles
        phi, gone = self._angle(t), t * (first - last)
        return Kernel(phi.sin() / math.sin(first), (gone.sin() * (first + phi).sin()).sqrt() / math.sin(first))

    def rate(self, t: Tensor) -> Tensor:
        """``2 (phi_0 - phi_1) / tan phi``."""
        first, last = self._angles
        return 2 * (first - last) / self._angle(as_time(t)).tan()

    def time(self, log_snr: Tensor) -> Tensor:
        """The angle whose sine is ``alpha sin phi_0``; in the noiseless half, from sigma instead of alpha.

        There ``tan d = 2 c/(sin 2 phi_0 + sqrt(sin^2 2 phi_0 - 4 c (c + cos 2 phi_0)))`` for ``d = phi_0 - phi`` and
        ``c = sigma^2 sin^2 phi_0``.
        """
        log_snr = as_time(log_snr)
        first, last = self._angles
        noisy = first - (log_snr.sigmoid().sqrt() * math.sin(first)).clamp(0.0, 1.0).asin()
        c = (-log_snr).sigmoid() * math.sin(first) ** 2
        root = (math.sin(2 * first) ** 2 - 4 * c * (c + math.cos(2 * first))).clamp_min(0).sqrt()
        clean = torch.atan2(2 * c, math.sin(2 * first) + root)
        return (torch.where(log_snr < 0, noisy, clean) / (first - last)).clamp(0.0, 1.0)
