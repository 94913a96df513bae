"""Samplers of any linear SDE with a score: the reversed equation and its probability flow."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Law, Normal
from suffuse.contracts.part import setting
from suffuse.contracts.process import Process, Sde
from suffuse.contracts.sampler import Carry, Grid, Sampler, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine, leaves, promote
from suffuse.system import System

__all__ = ["Diffused", "EulerMaruyama", "Flow", "Quadratic"]


@attrs.frozen(kw_only=True)
class Quadratic(Grid):
    """``t_i = t_min + (1 - t_min) (1 - i/(N-1))^2``, i = 0 .. N - 1: finer where there is little noise.

    The sampling grid of the released configurations of arXiv:2302.07261.
    """

    t_min: float = setting(1e-3, "the last time", gt=0, lt=1)

    def times(self, process: Process, steps: int) -> Tensor:
        """These times; one step is t = 1 alone."""
        i = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
        return self.t_min + (1 - self.t_min) * (1 - i) ** 2


@attrs.frozen(eq=False, kw_only=True)
class Diffused(Law):
    """``N(mean, h G(t) G(t)^T)`` for a matrix G, which need not reach every variable: then there is no density."""

    mean: State
    process: Sde
    t: Tensor
    h: Tensor

    def sample(self, rng: Rng) -> State:
        """``mean + sqrt(h) G z``."""
        z = {name: rng.at(name).normal(promote(v)) for name, v in leaves(self.mean)}
        return combine(1.0, self.mean, self.h.sqrt(), self.process.diffuse(z, self.t))

    def log_prob(self, x: State) -> Tensor:
        """``Unsupported``."""
        raise Unsupported("noise that mixes or leaves out variables has no density of its own")


def _sde(system: System) -> Sde:
    if not isinstance(system.process, Sde):
        raise Unsupported(f"this sampler needs an SDE, got {type(system.process).__name__}")
    return system.process


def _backward(process: Sde, x: State, score: State, t: Tensor, share: float) -> State:
    """``drift - share G G^T score``, the drift of the equation in reverse (1) and of its flow (1/2)."""
    squared = process.diffuse(process.diffuse(score, t), t)
    return combine(1.0, process.drift(x, t), -share, squared)


@attrs.frozen(kw_only=True)
class EulerMaruyama(Sampler):
    """``u_s = u_t - (t - s) (f - G G^T score) + sqrt(t - s) G z``: the reversed SDE, one evaluation a step.

    For every linear SDE with a score, scalar or of any number of variables (arXiv:2302.07261, section 5 and its code:
    500 steps, no noise in the last). Anderson, Reverse-Time Diffusion Equation Models, 1982. s < t only. The steps of
    a matrix diffusion have a ``transition`` without density.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"sde", "mean|noise"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(500, "grid points, and steps", ge=1)
    grid: Grid = setting(factory=Quadratic, doc="where the grid points lie")

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """The mean, and noise from the stream ``noise`` unless s = 0."""
        process, h = _sde(system), t - s
        if bool((h <= 0).any()):
            raise Unsupported("the reversed SDE goes from t to a lower s")
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        law: Law | None = None
        x_s = combine(1.0, carry.x, -h, _backward(process, carry.x, prediction.score, t, 1.0))
        if bool((s > 0).any()):
            law = self._law(process, x_s, t, torch.where(s > 0, h, 0.0))
            x_s = law.sample(rng.at("noise"))
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe, transition=law)
        return carry.advance(x_s), info

    @staticmethod
    def _law(process: Sde, mean: State, t: Tensor, h: Tensor) -> Law:
        try:
            g = process.diffusion(t)
        except Unsupported:
            return Diffused(mean=mean, process=process, t=t, h=h)
        scaled = {name: v * h.sqrt() for name, v in g.items()} if isinstance(g, dict) else g * h.sqrt()
        return Normal(mean, scaled)


@attrs.frozen(kw_only=True)
class Flow(Sampler):
    """``du/dt = f - G G^T score / 2``, the probability flow of the same SDEs, by Euler's or Heun's method.

    Song et al. 2021, arXiv:2011.13456, appendix D.1. The step to s = 0, where there may be no score, is Euler's. s > t
    inverts, away from t = 0.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"sde", "mean|noise"})

    steps: int = setting(100, "grid points; order * steps - (order - 1) evaluations", ge=1)
    grid: Grid = setting(factory=Quadratic, doc="where the grid points lie")
    order: int = setting(2, "1 (Euler) or 2 (Heun)", choices=(1, 2))  # type: ignore[misc]

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """One or two evaluations."""
        process, x, h = _sde(system), carry.x, s - t
        now = system.denoise(x, t, carry.cond, s=s, rng=rng.at("first"))
        slope, nfe = _backward(process, x, now.score, t, 0.5), now.nfe
        x_s = combine(1.0, x, h, slope)
        inner = s > 0
        if self.order == 2 and bool(inner.any()):
            # Rows that end at zero beside rows that do not: their second slope is taken at t, and not used.
            there = torch.where(inner, s, t)
            then = system.denoise(x_s, there, carry.cond, s=s, rng=rng.at("second"))
            after = _backward(process, x_s, then.score, there, 0.5)
            x_s = combine(1.0, x_s, torch.where(inner, h / 2, 0.0), combine(1.0, after, -1.0, slope))
            nfe += then.nfe
        info = StepInfo(x_t=x, x_s=x_s, t=t, s=s, prediction=now, nfe=nfe)
        return carry.advance(x_s), info
