"""Trajectories of the sampler with their log-probabilities and rewards: what a policy gradient is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.reward import Reward
from suffuse.contracts.sampler import stream
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.transitions import transition

__all__ = ["Rollouts", "draw", "evaluating", "log_prob"]


@attrs.frozen(eq=False, kw_only=True)
class Rollouts:
    """N trajectories of T steps. ``steps`` are the K whose transitions have a density, with their ``log_prob``.

    Log-probabilities are means over the elements of a state, as in the authors' code.
    """

    states: Tensor  # (T + 1, N, *event)
    steps: Tensor  # (K,)
    log_prob: Tensor  # (K, N)
    reward: Tensor  # (N,)


def draw(system: System, reward: Reward, cond: Condition, rng: Rng) -> Rollouts:
    """N = ``rng.size`` trajectories under the present weights, in evaluation mode, without gradients.

    Raises ``Unsupported`` for a sampler none of whose steps is random.
    """
    with torch.no_grad(), evaluating(system.model):
        weights = next(system.model.parameters(), torch.empty(0))
        like = system.space.like(rng.size, dtype=weights.dtype, device=weights.device)
        if not isinstance(like, Tensor):
            raise InvalidInput("policy gradients take states that are one tensor")
        states, steps, logs = [], [], []
        for i, (_, info) in enumerate(stream(system, like, cond, rng)):
            states.append(cast(Tensor, info.x_t))
            if info.transition is not None:
                log_p = info.transition.log_prob(info.x_s) / like[0].numel()
                if bool(log_p.isfinite().all()):  # a last step to zero noise has no density
                    steps.append(i)
                    logs.append(log_p)
        if not steps:
            name = type(system.sampler).__name__
            raise Unsupported(f"no step of {name} is random: policy gradients need one that gives 'stochastic'")
        states.append(cast(Tensor, info.x_s))
        value = reward.value(system.codec.decode(states[-1]), cond)
    return Rollouts(
        states=torch.stack(states), steps=torch.tensor(steps), log_prob=torch.stack(logs), reward=value.detach()
    )


def log_prob(system: System, states: Tensor, steps: Tensor, cond: Condition, rng: Rng) -> Tensor:
    """Log-probabilities of stored steps under the present weights, with gradients.

    ``states (T + 1, B, *event)`` and ``steps (K, B)``, each trajectory's own, to ``(K, B)``: all in one batch of the
    guided sampler, in evaluation mode as when they were drawn.
    """
    k, n = steps.shape
    rows = torch.arange(n, device=states.device).expand(k, n)
    times = torch.stack(system.points)
    at, on = steps.to(states.device), steps.to(times.device)
    x_t, x_s = (states[at + d, rows].flatten(0, 1) for d in (0, 1))
    t, s = (times[on + d].flatten().to(states.device) for d in (0, 1))
    with evaluating(system.model):
        law = transition(system, x_t, t, s, Condition.cat([cond] * k), Rng.cat([rng] * k))
    return (law.log_prob(x_s) / states[0, 0].numel()).view(k, n)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Dropout and its like switched off inside: a ratio of two policies must not compare two masks."""
    training = [m for m in network.modules() if m.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
