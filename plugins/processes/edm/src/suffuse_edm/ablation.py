"""The generic solver of the paper's ablations, in a process's own time."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.sampler import Carry, Grid, Sampler, StepInfo
from suffuse.rng import Rng
from suffuse.state import combine
from suffuse.system import System
from suffuse_edm.grid import Rho
from suffuse_edm.ode import gaussian

__all__ = ["Ablation"]


@attrs.frozen(kw_only=True)
class Ablation(Sampler):
    """Explicit Runge-Kutta for ``dx/dt`` of equation 4 itself: the process's time and scale are part of the method.

    Karras et al. 2022 (arXiv:2206.00364, section 3, appendix D.1 and algorithm 3). On a VP process, order 1 and a
    uniform grid are the baseline that the paper starts from; on ``Edm`` this is ``Euler`` or, at alpha = 1, ``Heun``.
    Order 2 uses ``x' = x + alpha h d`` and ``x + h ((1 - 1/(2 alpha)) d + d'/(2 alpha))``: 1/2 is the midpoint rule,
    2/3 Ralston's, 1 Heun's. The step to zero noise is Euler's. s > t inverts.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    steps: int = setting(18, "grid points; order * steps - (order - 1) evaluations", ge=1)
    grid: Grid = setting(factory=Rho, doc="where the grid points lie")
    order: int = setting(2, "1 (Euler) or 2", choices=(1, 2))  # type: ignore[misc]
    alpha: float = setting(1.0, "where the second slope is taken, as a part of the step; for order 2", gt=0, le=1)

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """``x_s = x_t + h ((1 - w) d + w d')``, ``w = 1/(2 alpha)`` or, for Euler, 0."""
        x, h, process = carry.x, s - t, gaussian(system)
        now = system.denoise(x, t, carry.cond, s=s, rng=rng.at("first"))
        d, nfe = now.velocity, now.nfe
        x_s = combine(1.0, x, h, d)
        noisy = process.scalars(s)[1] > 0
        if self.order == 2 and bool(noisy.any()):
            # Rows that end at zero stay at t, and their weight is 0.
            u = torch.where(noisy, s if self.alpha == 1 else t + self.alpha * h, t)
            then = system.denoise(combine(1.0, x, u - t, d), u, carry.cond, s=s, rng=rng.at("second"))
            w = torch.where(noisy, h / (2 * self.alpha), 0.0)
            x_s = combine(1.0, x_s, w, combine(1.0, then.velocity, -1.0, d))
            nfe += then.nfe
        info = StepInfo(x_t=x, x_s=x_s, t=t, s=s, prediction=now, nfe=nfe)
        return carry.advance(x_s), info
