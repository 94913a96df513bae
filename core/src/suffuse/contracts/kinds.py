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


def contract_of(kind: str, cls: type[Any] | None = None) -> type[Any]:
    """The class that parts of this kind derive from; for a plugin's own kind, the base of ``cls`` that names it.

    Raises ``UnknownComponent`` for a kind that neither knows.
    """
    own = [c for c in cls.__mro__ if vars(c).get("kind") == kind] if cls is not None else []
    if kind not in _CONTRACTS and not own:
        raise UnknownComponent(f"no contract for the kind {kind!r}; there are {', '.join(sorted(_CONTRACTS))}")
    return _CONTRACTS[kind] if kind in _CONTRACTS else own[-1]
