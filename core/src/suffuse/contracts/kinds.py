"""The contract class of each kind."""

from __future__ import annotations

from typing import Any

from suffuse.contracts import (
    guidance,
    model,
    network,
    objective,
    operator,
    process,
    reward,
    sampler,
    space,
    target,
    task,
)
from suffuse.errors import UnknownComponent

__all__ = ["contract_of"]

_CONTRACTS: dict[str, type[Any]] = {
    c.kind: c
    for c in (
        process.Process,
        model.Denoiser,
        model.Generator,
        model.Latent,
        model.Parameterization,
        network.Backbone,
        network.Adapter,
        network.Critic,
        network.Encoder,
        network.Codec,
        objective.Objective,
        objective.Times,
        objective.Weighting,
        objective.Coupling,
        operator.Operator,
        reward.Reward,
        target.Target,
        operator.Noise,
        guidance.Guidance,
        sampler.Sampler,
        sampler.Grid,
        sampler.Terminal,
        space.Space,
        task.Task,
        task.Dataset,
        task.Metric,
        task.Claim,
    )
}


def contract_of(kind: str) -> type[Any]:
    """The class that parts of this kind derive from. Raises ``UnknownComponent`` for an unknown kind."""
    if kind not in _CONTRACTS:
        raise UnknownComponent(f"no contract for the kind {kind!r}; there are {', '.join(sorted(_CONTRACTS))}")
    return _CONTRACTS[kind]
