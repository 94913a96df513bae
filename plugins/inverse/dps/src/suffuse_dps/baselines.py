"""What the paper compares with: hard projection onto the measurement, alone (score-SDE) or after DPS's step (MCG)."""

from __future__ import annotations

from typing import ClassVar

import attrs
from torch import Tensor

from suffuse.contracts.guidance import Guidance
from suffuse.contracts.operator import LinearOperator
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Carry, Step, StepInfo
from suffuse.rng import Rng
from suffuse.system import System

__all__ = ["Projection"]


@attrs.frozen(kw_only=True)
class Projection(Guidance):
    """After each step ``x_s <- (I - P) x_s + P q`` with ``P = A^+ A`` and ``q ~ q(x_s | A^+ y)``; at s = 0, A x = y.

    Song et al., Solving Inverse Problems in Medical Imaging with Score-Based Generative Models, 2022,
    arXiv:2111.08005. Chained after ``Dps`` it is MCG (Chung et al., 2022, arXiv:2206.00941).
    """

    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    operator: LinearOperator = setting(doc="what measured the state")

    def step(self, inner: Step, system: System) -> Step:
        """The step, projected."""

        def step(system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
            now, info = inner(system, carry, t, s, rng)
            process, a = system.process, self.operator
            assert isinstance(process, Gaussian)
            assert isinstance(now.x, Tensor)
            known = process.corrupt(a.A_dagger(carry.cond["y"]), s, rng=rng.at("known")).x_t
            assert isinstance(known, Tensor)
            x = now.x + a.A_dagger(a.A(known.to(now.x) - now.x))
            return attrs.evolve(now, x=x), attrs.evolve(info, x_s=x, transition=None)

        return step
