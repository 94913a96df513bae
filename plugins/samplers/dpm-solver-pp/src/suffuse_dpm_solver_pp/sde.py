"""The stochastic solver: the reverse SDE in place of the probability-flow ODE."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Normal
from suffuse.contracts.part import setting
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import combine
from suffuse.system import System
from suffuse_dpm_solver_pp.history import past, remember, tapered
from suffuse_dpm_solver_pp.integrator import gaussian, lambda_of, secant

__all__ = ["Sde"]


@attrs.frozen(kw_only=True)
class Sde(Sampler):
    """SDE-DPM-Solver++ (1, 2M).

        ``x_s = sigma_s/sigma_t exp(-h) x_t + alpha_s (1 - exp(-2h)) D + sigma_s sqrt(1 - exp(-2h)) z``

    with ``D = x0`` at order 1, which is the posterior ``q(x_s | x_t, x_0)`` and so ancestral sampling, and
    ``D = x0 + (x0 - x0_prev)/(2 r)``, ``r = h_prev/h`` at order 2 (Lu et al., DPM-Solver++, 2022, arXiv:2211.01095).
    The noise is of the stream ``noise`` and is not drawn where its weight is 0, as in a last step to
    ``sigma_s = 0``. Lower orders at the ends are as in ``multistep``. Raises ``Unsupported`` for ``s > t``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(20, "grid points; the number of steps where the trajectory ends at t = 0", ge=1)
    order: int = setting(2, "points that the data prediction is extrapolated from", choices=(1, 2))
    lower_order_final: bool = setting(True, "with fewer than 10 steps, end with order 1")

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """From t to s; t and s are ``()`` or ``(B,)``."""
        if bool((s > t).any()):
            raise Unsupported("the reverse SDE cannot be run from t to s > t: use dpm-solver-pp/multistep")
        process = gaussian(system.process)
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        alpha, sigma = process.scalars(s)
        start, x0 = lambda_of(process, t), prediction.x0
        h = torch.where(s == t, 0.0, lambda_of(process, s) - start)  # at s = t both may be infinite
        # alpha_s exp(-2h) x0 + sigma_s exp(-h) eps is the term in x_t, finite where sigma_t is 0.
        fresh = -torch.expm1(-2 * h)
        x_s = combine(alpha, x0, sigma * torch.exp(-h), prediction.eps)
        order = tapered(self, system, t, self.order) if self.lower_order_final else self.order
        if before := past(process, carry, t, s, order - 1):
            x_s = secant(x_s, alpha * fresh * h / 2, (start, x0), before[0])
        law, std = None, sigma * fresh.sqrt()
        if bool((std > 0).any()):
            law = Normal(x_s, std)
            x_s = law.sample(rng.at("noise"))
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe, transition=law)
        memory = remember(carry, t, x0, self.order - 1)
        return carry.advance(x_s, memory), info
