"""A step's law under the present weights: what policy gradients recompute on stored trajectories."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Law
from suffuse.contracts.sampler import Carry
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System

__all__ = ["transition"]


class _Still(Rng):
    """Streams whose normals are zero: a step is repeated for its law alone, and drawing would cost more than it."""

    def at(self, *path: int | str) -> Rng:
        return self

    def normal(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)


def transition(system: System, x_t: State, t: Tensor, s: Tensor, cond: Condition, rng: Rng) -> Law:
    """The law from which the guided step draws ``x_s`` at stored states ``x_t``; differentiable in weights and ``x_t``.

    t and s are ``()`` or ``(B,)``: states of many steps can share one batch. Raises ``Unsupported`` for a step that
    draws nothing, or whose sampler needs more than the state it starts from.
    """
    still = _Still(rng.keys, rng.path)
    _, info = system.step(system, Carry(x=x_t, cond=cond), t, s, still)
    if info.transition is None:
        name = type(system.sampler).__name__
        raise Unsupported(f"{name} is not random from t={t.max().item():g}: policy gradients need random steps")
    return info.transition
