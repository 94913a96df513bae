"""Exact denoisers under heavy-tailed noise: of finitely many points in closed form, of mixtures by quadrature."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, promote
from suffuse.testing.mixture import GaussianMixture
from suffuse_pfgmpp.process import Pfgmpp

__all__ = ["ExactStudent", "point_weights"]


def point_weights(x: Tensor, points: Tensor, sigma: Tensor, D: float) -> Tensor:
    """``w_i ~ (|x - y_i|^2 + r^2)^(-(N+D)/2)``, ``r = sigma sqrt(D)``: how likely x comes from each point, ``(B, n)``.

    ``sum_i w_i y_i`` is the exact denoiser of these points, and the target of a field over a reference batch
    (arXiv:2302.04265, section 3.2). In float64 and logarithms; ``D = inf`` gives the Gaussian's weights.
    """
    x, y = x.flatten(1).double(), points.flatten(1).double()
    s = as_time(sigma).reshape(-1, 1)
    square = (x[:, None] - y).square().sum(2) / s**2
    log = -square / 2 if math.isinf(D) else -(x.shape[1] + D) / 2 * torch.log1p(square / D)
    return log.softmax(1)


@module
class ExactStudent(Denoiser):
    """``E[x_0 | x_t]`` of a Gaussian mixture under ``Pfgmpp``, or under a Gaussian process.

    Given the scale ``k = sqrt(D/c)`` of its noise a state is Gaussian, so the mean is that of the mixture at
    ``k sigma_t``, averaged over the posterior of k. The trapezoidal rule in ``log k`` converges faster than any power
    once its step is below the posterior's width, about ``1/sqrt(2 (N + D))``.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"mean"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    mixture: GaussianMixture

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Mean:
        """The mean of x_0, in float64 inside."""
        if not isinstance(process, Gaussian) or not isinstance(x_t, Tensor):
            raise Unsupported("this exact denoiser takes a tensor state of a process with a scalar kernel")
        x, (alpha, sigma) = promote(x_t), process.scalars(as_time(t))
        if x.ndim != 2 or x.shape[1] != self.mixture.dim:
            raise InvalidInput(f"expected states of shape (batch, {self.mixture.dim}), got {tuple(x.shape)}")
        k, weight = self._scales(process)
        n, b = len(k), len(x)
        many = x.double().repeat(n, 1), alpha.expand(b).repeat(n), (k[:, None] * sigma.expand(b)).flatten()
        share = (weight[:, None] + self.mixture.log_prob(*many).view(n, b)).softmax(0)
        x0 = (share[..., None] * self.mixture.denoise(*many).view(n, b, -1)).sum(0).to(x.dtype)
        return Mean(value=x0, x_t=x, t=as_time(t), process=process, mix=(1.0, 0.0))

    def _scales(self, process: Gaussian) -> tuple[Tensor, Tensor]:
        """Values of k from 1/4 to 6 (and further, the fewer the dimensions) and the log of their density in log k."""
        if not isinstance(process, Pfgmpp):
            return torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        D, least = process.D, math.log(0.25)
        most = max(math.log(6), 20 / D)  # P(k > e^v) falls as e^(-D v)
        n = math.ceil((most - least) * math.sqrt(2 * (self.mixture.dim + D)))
        log_k = torch.linspace(least, most, n + 1, dtype=torch.float64)
        # c = D/k^2 has the density c^(D/2 - 1) exp(-c/2), and |dc| = 2 c d log k.
        return log_k.exp(), -D * log_k - D / 2 * (-2 * log_k).exp()
