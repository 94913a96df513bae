"""Samples that carry gradients through the last steps of their sampling."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from suffuse.contracts.condition import Condition
from suffuse.contracts.sampler import Carry, Step
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.system import System

__all__ = ["last_step", "sample"]


def sample(system: System, cond: Condition, rng: Rng, *, last: int | None, recompute: bool = False) -> Tensor:
    """States at the end of the walk, the same as those of ``System.sample``, with gradients of the ``last`` steps.

    All steps before are taken without a graph; None keeps all of them. With ``recompute`` only the states between steps
    are kept, and a step is repeated in the backward pass (Chen et al., Training Deep Nets with Sublinear Memory Cost,
    2016, arXiv:1604.06174).
    """
    sampler = system.sampler
    if sampler is None:
        raise Unsupported("gradients through sampling need a sampler")
    points, weights = system.points, next(system.model.parameters(), torch.empty(0))
    steps = len(points) - 1
    like = system.space.like(rng.size, dtype=weights.dtype, device=weights.device)
    with torch.no_grad():
        carry = sampler.init(system, like, cond, rng, points[0])
    for i, (t, s) in enumerate(pairwise(points)):
        step: Step = system.step if i + 1 < steps else last_step(system)
        kept = last is None or i >= steps - last
        with torch.set_grad_enabled(kept and torch.is_grad_enabled()):
            if kept and recompute:
                carry = checkpoint(_after, step, system, carry, t, s, rng.at("step", i), use_reentrant=False)
            else:
                carry, _ = step(system, carry, t, s, rng.at("step", i))
    if not isinstance(carry.x, Tensor):
        raise InvalidInput("gradients through sampling take states that are one tensor")
    return carry.x


def last_step(system: System) -> Step:
    """The guided step as the sampler ends with it."""
    assert system.sampler is not None
    return system.sampler.terminal.last(system.step)


def _after(step: Step, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> Carry:
    return step(system, carry, t, s, rng)[0]
