"""The deterministic sampler."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.rng import Rng
from suffuse.state import State, combine
from suffuse.system import System

__all__ = ["Ode"]


@attrs.frozen(kw_only=True)
class Ode(Sampler):
    """``dX = b(X, t) dt`` by a Runge-Kutta method: Euler's, Heun's, or the classical one of order 4.

    The probability flow of arXiv:2303.08797, section 2.3. ``s < t`` carries the far end's law to that of the data,
    ``s > t`` the data's back; no noise is drawn. Takes any model with a velocity, of a bridge or a Gaussian process,
    which must exist at the grid's last time for orders 2 and 4.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mean|field"})
    provides: ClassVar[frozenset[str]] = frozenset({"inversion"})

    order: Literal[1, 2, 4] = setting(2, "of convergence; the evaluations of a step", choices=(1, 2, 4))  # type: ignore[misc]

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """From t to s, up or down."""
        x, h = carry.x, s - t
        first = self._at(system, x, t, carry.cond, rng, 1)
        k1 = first.velocity
        if self.order == 1:
            x_s = combine(1.0, x, h, k1)
        elif self.order == 2:
            k2 = self._at(system, combine(1.0, x, h, k1), s, carry.cond, rng, 2).velocity
            x_s = combine(1.0, x, h / 2, combine(1.0, k1, 1.0, k2))
        else:
            middle = t + h / 2
            k2 = self._at(system, combine(1.0, x, h / 2, k1), middle, carry.cond, rng, 2).velocity
            k3 = self._at(system, combine(1.0, x, h / 2, k2), middle, carry.cond, rng, 3).velocity
            k4 = self._at(system, combine(1.0, x, h, k3), s, carry.cond, rng, 4).velocity
            inner, outer = combine(1.0, k2, 1.0, k3), combine(1.0, k1, 1.0, k4)
            x_s = combine(1.0, combine(1.0, x, h / 3, inner), h / 6, outer)
        info = StepInfo(x_t=x, x_s=x_s, t=t, s=s, prediction=first, nfe=self.order * first.nfe)
        return carry.advance(x_s), info

    @staticmethod
    def _at(system: System, x: State, t: Tensor, cond: Condition, rng: Rng, stage: int) -> Prediction:
        return system.denoise(x, t, cond, rng=rng.at("model", stage))
