"""The singlestep solver: a Runge-Kutta method in lambda, without history."""

from __future__ import annotations

from typing import ClassVar

import attrs
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_dpm_solver_pp.integrator import first, gaussian, integral, lambda_of, secant

__all__ = ["Singlestep"]


@attrs.frozen(kw_only=True)
class Singlestep(Sampler):
    """DPM-Solver++ (2S, 3S): the data prediction at one or two points within the step.

    Order 2 looks at ``lambda_t + h/2`` (Lu et al., DPM-Solver++, 2022, arXiv:2211.01095, algorithm 1, r = 1/2).
    Order 3 looks at h/3 and 2h/3: the scheme of DPM-Solver-3 (Lu et al., DPM-Solver, 2022, arXiv:2206.00927,
    algorithm 2) for the data prediction. Steps to and from infinite lambda (no noise or no signal left) are of order
    1 and cost one evaluation; all others cost as many as the order. ``s > t`` inverts.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    provides: ClassVar[frozenset[str]] = frozenset({"inversion"})

    steps: int = setting(10, "grid points; the number of steps where the trajectory ends at t = 0", ge=1)
    order: int = setting(2, "order of convergence, and evaluations a step", choices=(2, 3))

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """From t to s; t and s are ``()`` or ``(B,)``."""
        process = gaussian(system.process)
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        x_s, nfe = first(process, prediction, s), prediction.nfe
        start, end = lambda_of(process, t), lambda_of(process, s)
        h = end - start
        if bool((h.isfinite() & (h != 0)).all()):
            here = other = (start, prediction.x0)
            for i in range(1, self.order):
                u = process.time(2 * (start + h * i / self.order))
                where, alpha = lambda_of(process, u), process.scalars(u)[0]  # the process's inverse may round
                x_u = first(process, prediction, u)
                if i > 1:
                    x_u = secant(x_u, alpha * integral(1, where - start), here, other)
                inner = system.denoise(x_u, u, carry.cond, s=s, rng=rng.at("model", i))
                other, nfe = (where, inner.x0), nfe + inner.nfe
            weight = integral(1, h) if self.order == 3 else integral(0, h) * h / 2
            x_s = secant(x_s, process.scalars(s)[0] * weight, here, other)
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=nfe)
        return carry.advance(x_s), info
