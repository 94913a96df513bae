"""Trajectories: drawn from the policy or from the process, and their log-densities under both."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Normal
from suffuse.contracts.process import Gaussian
from suffuse.contracts.target import Target
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import combine
from suffuse.system import System
from suffuse.transitions import transition

__all__ = ["Paths", "backward", "differentiable", "evaluate", "forward", "log_weights"]

NOTHING = Condition()  # a target has no prompt


@attrs.frozen(eq=False, kw_only=True)
class Paths:
    """B trajectories of T steps from the prior to the data, with ``log PF`` and ``log PB`` of each step.

    ``log_ratio`` is ``log p(x_T) + log PF - log PB`` step by step, the prior's density in the first: its sum over all
    steps and ``log R`` is minus the log-weight.
    """

    states: Tensor  # (T + 1, B, D)
    times: Tensor  # (T + 1,)
    log_ratio: Tensor  # (T, B)
    log_pf: Tensor  # (T, B)


def forward(system: System, rng: Rng, *, exploration: float = 0.0) -> Tensor:
    """States ``(T + 1, B, D)`` drawn from the policy, each step's variance raised by ``exploration^2``; no gradient."""
    with torch.no_grad():
        return torch.stack(_walk(system, rng, exploration)[0])


def backward(system: System, x: Tensor, rng: Rng) -> Tensor:
    """States ``(T + 1, B, D)`` of the process from data x to the prior, in the order of sampling; no gradient."""
    process, states = _gaussian(system), [x]
    with torch.no_grad():
        for i, (s, t) in enumerate(pairwise(reversed(system.points))):
            x = cast(Tensor, process.renoise(x, s, t, rng=rng.at("renoise", i)))
            states.append(x)
    return torch.stack(states[::-1])


def evaluate(system: System, states: Tensor, rng: Rng) -> Paths:
    """Log-densities of given trajectories, with gradients in the policy's weights; all steps in one batch."""
    times = torch.stack(system.points)
    steps, n = len(times) - 1, states.shape[1]
    t, s = (v.repeat_interleave(n).to(states.device) for v in (times[:-1], times[1:]))
    law = transition(system, states[:-1].flatten(0, 1), t, s, NOTHING, Rng.cat([rng] * steps))
    log_pf = law.log_prob(states[1:].flatten(0, 1)).view(steps, n)
    return _paths(system, states, times, log_pf)


def differentiable(system: System, rng: Rng) -> Paths:
    """Trajectories of the policy whose states carry gradients in its weights (reparametrised draws)."""
    states, log_pf = _walk(system, rng, 0.0)
    return _paths(system, torch.stack(states), torch.stack(system.points), torch.stack(log_pf))


def log_weights(system: System, target: Target, rng: Rng) -> tuple[Tensor, Tensor]:
    """Samples of the policy ``(B, D)`` and their ``log w = log R + log PB - log PF - log p(x_T)``, ``(B,)``."""
    with torch.no_grad():
        paths = evaluate(system, forward(system, rng), rng)
        x = paths.states[-1]
        return x, -target.energy(x) - paths.log_ratio.sum(0)


def _walk(system: System, rng: Rng, exploration: float) -> tuple[list[Tensor], list[Tensor]]:
    """States, and the policy's log-densities of the steps between. The noise of all steps is one draw."""
    start, points = _start(system, rng), system.points
    noise = rng.at("noise").normal(start.new_empty(len(start), len(points) - 1, start.shape[1]))
    states, log_pf = [start], []
    for (t, s), z in zip(pairwise(points), noise.unbind(1), strict=True):
        law = transition(system, states[-1], t, s, NOTHING, rng)
        if not isinstance(law, Normal):
            raise Unsupported("every step must draw from a Gaussian: use gfn-diffusion/euler-maruyama")
        std = torch.as_tensor(law.std)  # type: ignore[arg-type]
        wide = (std**2 + exploration**2).sqrt() if exploration else std
        states.append(cast(Tensor, combine(1.0, law.mean, wide, z)))
        log_pf.append(law.log_prob(states[-1]))
    return states, log_pf


def _paths(system: System, states: Tensor, times: Tensor, log_pf: Tensor) -> Paths:
    process, (steps, n) = _gaussian(system), log_pf.shape
    t, s = (v.repeat_interleave(n).to(states.device) for v in (times[:-1], times[1:]))
    kernel = process.transition(t, s)
    sigma = torch.as_tensor(kernel.sigma)
    random = sigma > 0  # the step into a pinned end is certain
    later, earlier = states[:-1].flatten(0, 1), states[1:].flatten(0, 1)
    law = Normal(combine(kernel.alpha, earlier, 0.0, earlier), torch.where(random, sigma, 1.0))
    log_pb = torch.where(random, law.log_prob(later), 0.0).view(steps, n)
    prior = process.prior(states[0].detach(), NOTHING, t=times[0])
    assert prior is not None
    log_ratio = log_pf - log_pb
    log_ratio = torch.cat([log_ratio[:1] + prior.log_prob(states[0]).to(log_ratio), log_ratio[1:]])
    return Paths(states=states, times=times, log_ratio=log_ratio, log_pf=log_pf)


def _start(system: System, rng: Rng) -> Tensor:
    assert system.sampler is not None
    weights = next(system.model.parameters(), torch.empty(0))
    like = system.space.like(rng.size, dtype=weights.dtype, device=weights.device)
    x = system.sampler.init(system, like, NOTHING, rng, system.points[0]).x
    if not isinstance(x, Tensor) or x.ndim != 2:
        raise InvalidInput("a sampler of energies takes states (batch, dim)")
    return x


def _gaussian(system: System) -> Gaussian:
    assert isinstance(system.process, Gaussian)  # by ``needs``
    return system.process
