"""The random samplers, one for each diffusion strength."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Normal
from suffuse.contracts.part import setting
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.rng import Rng
from suffuse.state import combine
from suffuse.system import System

__all__ = ["Sde"]


@attrs.frozen(kw_only=True)
class Sde(Sampler):
    """``dX = (b -/+ eps(t) score) dt + sqrt(2 eps(t)) dW``, whose marginals are those of the ODE for every eps(t) >= 0.

    Section 2.3 of arXiv:2303.08797: minus and a backward Wiener process where t falls, plus where it rises. So eps is
    chosen after training: 0 is the ODE, more corrects errors of the drift, and what limits it is the step,

        x_s = x_t + (s - t) b + |s - t| eps score + sqrt(2 eps |s - t|) z      (Euler-Maruyama).

    eps(t) is ``eps``, or for the shape ``arch`` ``4 t (1 - t) eps``; within ``margin`` of either end it is 0, since a
    score learned as ``-eta/gamma`` does not exist there and the exact start needs none. Takes any model with a velocity
    and a score, of a bridge or a Gaussian process. z is of the stream ``noise``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mean|field", "mean|score"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(200, "grid points; the number of steps where the trajectory ends at t = 0", ge=1)
    eps: float = setting(1.0, "diffusion strength", ge=0, lt=float("inf"))
    shape: Literal["constant", "arch"] = setting("constant", "eps(t) over time", choices=("constant", "arch"))
    margin: float = setting(1e-3, "how far from 0 and 1 noise is added", ge=0, lt=0.5)

    @property
    def gives(self) -> frozenset[str]:
        """``stochastic``, unless eps is 0."""
        return frozenset({"stochastic"} if self.eps else ())

    def strength(self, t: Tensor) -> Tensor:
        """``eps(t)``, float64, of the shape of t."""
        t = as_time(t)
        value = self.eps * (4 * t * (1 - t) if self.shape == "arch" else torch.ones_like(t))
        return torch.where((t < self.margin) | (t > 1 - self.margin), 0.0, value)

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """One Euler-Maruyama step, up or down."""
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        x_s, law = combine(1.0, carry.x, s - t, prediction.velocity), None
        added = self.strength(t) * (s - t).abs()
        if bool((added > 0).any()):
            law = Normal(combine(1.0, x_s, added, prediction.score), (2 * added).sqrt())
            x_s = law.sample(rng.at("noise"))
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe, transition=law)
        return carry.advance(x_s), info
