"""The multistep solver: one evaluation a step, whatever the order."""

from __future__ import annotations

from typing import ClassVar

import attrs
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.rng import Rng
from suffuse.state import combine
from suffuse.system import System
from suffuse_dpm_solver_pp.history import past, remember, tapered
from suffuse_dpm_solver_pp.integrator import gaussian, integral, lambda_of, parabola, secant

__all__ = ["Multistep"]


@attrs.frozen(kw_only=True)
class Multistep(Sampler):
    """DPM-Solver++ (1M, 2M, 3M): the data prediction extrapolated in lambda from the latest steps.

    With ``D = x0 + (x0 - x0_prev)/(2 r)``, ``r = h_prev/h``, order 2 is

        ``x_s = sigma_s/sigma_t x_t - alpha_s (exp(-h) - 1) D``

    (Lu et al., DPM-Solver++, 2022, arXiv:2211.01095, algorithm 2). Order 1 has ``D = x0`` and is DDIM. Order 3
    integrates the parabola through three predictions exactly; it is in the authors' code, where the quadratic term
    has half its value, so that the order is 2 (see the README).

    The first steps, and steps to and from infinite lambda (no noise or no signal left), are of lower order. ``s > t``
    inverts. The paper takes steps uniform in t for guided sampling, the default here; for small images without
    guidance it takes them uniform in lambda (``suffuse/log-snr``). One evaluation a step.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    provides: ClassVar[frozenset[str]] = frozenset({"inversion"})

    steps: int = setting(20, "grid points; the number of steps where the trajectory ends at t = 0", ge=1)
    order: int = setting(2, "order of convergence", choices=(1, 2, 3))
    lower_order_final: bool = setting(True, "with fewer than 10 steps, end with orders 2 and 1")

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """From t to s; t and s are ``()`` or ``(B,)``."""
        process = gaussian(system.process)
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        x0 = prediction.x0
        alpha, sigma = process.scalars(s)
        x_s = combine(alpha, x0, sigma, prediction.eps)  # order 1, which is DDIM
        order = tapered(self, system, t, self.order) if self.lower_order_final and bool((s < t).all()) else self.order
        if before := past(process, carry, t, s, order - 1):
            here = (lambda_of(process, t), x0)
            h = lambda_of(process, s) - here[0]
            if len(before) == 1:
                x_s = secant(x_s, alpha * integral(0, h) * h / 2, here, before[0])
            else:
                x_s = parabola(x_s, (alpha * integral(1, h), alpha * integral(2, h)), here, *before)
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe)
        memory = remember(carry, t, x0, self.order - 1)
        return carry.advance(x_s, memory), info
