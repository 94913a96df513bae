"""The exact denoiser of a Gaussian mixture under a multivariate process: what the claims are judged by."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module
from suffuse.contracts.prediction import Noise
from suffuse.contracts.process import Process, as_time
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.testing.mixture import GaussianMixture
from suffuse_mdm.kernel import Multivariate
from suffuse_mdm.matrices import stack

__all__ = ["ExactNoise"]


@module
class ExactNoise(Denoiser):
    """``E[eps | u_t]`` for data of isotropic components ``w_k N(m_k, c_k I)``.

    Component k has mean ``M_x m_k`` and, for each element of the data, covariance ``C_k = S_t + c_k M_x M_x^T`` over
    the variables; ``score = -sum_k r_k C_k^{-1} (u - M_x m_k)`` and ``eps = -L_t^T score``.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"noise"})

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
    ) -> Noise:
        """At time ``()`` or ``(B,)``, computed in float64."""
        if not isinstance(process, Multivariate) or isinstance(x_t, Tensor):
            raise Unsupported("this exact denoiser takes the states of a multivariate process")
        t, u = as_time(t), stack(x_t).double()
        mean, L = process.moments(t)
        seen = mean[..., :1]  # M_x, (..., K, 1)
        scores, logs = [], []
        for w, m, c in zip(self.mixture.weights, self.mixture.means, self._variances(), strict=True):
            C = L @ L.mT + c * seen @ seen.mT
            offset = u - seen * m
            pulled = torch.linalg.solve(C, offset)
            scores.append(-pulled)
            logs.append(w.log() - (offset * pulled).sum((1, 2)) / 2 - m.numel() * torch.linalg.slogdet(C)[1] / 2)
        r = torch.stack(logs).softmax(0)[..., None, None]
        eps = -L.mT @ (r * torch.stack(scores)).sum(0)
        value = {name: eps[:, i].to(v) for i, (name, v) in enumerate(x_t.items())}
        return Noise(value=value, x_t=x_t, t=t, process=process)

    def _variances(self) -> Tensor:
        c = self.mixture.covariances
        if c.ndim > 1:
            raise Unsupported(f"expected isotropic components, got covariances of shape {tuple(c.shape)}")
        return c.expand(len(self.mixture.weights))
