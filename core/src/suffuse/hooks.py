"""The hooks of a plugin's manifest: functions without arguments that return records.

Contracts evolve in keyword-only fields of the records, never in the signature of a hook. A hook that an
older core does not know is marked ``@hookimpl(optionalhook=True)``.
"""

from collections.abc import Iterable

import pluggy

from suffuse.records import Component

hookspec = pluggy.HookspecMarker("suffuse")
hookimpl = pluggy.HookimplMarker("suffuse")

# The kind that each hook gives to its components; those of `suffuse_parts` name their own.
KINDS = {
    "suffuse_processes": "process",
    "suffuse_backbones": "backbone",
    "suffuse_objectives": "objective",
    "suffuse_guidance": "guidance",
    "suffuse_samplers": "sampler",
    "suffuse_tasks": "task",
    "suffuse_codecs": "codec",
    "suffuse_adapters": "adapter",
    "suffuse_datasets": "dataset",
    "suffuse_metrics": "metric",
    "suffuse_weights": "weights",
    "suffuse_claims": "claim",
    "suffuse_parts": "",
}


@hookspec
def suffuse_processes() -> Iterable[Component]:
    """Forward processes, from data at t = 0 to the prior at t = 1."""
    raise NotImplementedError


@hookspec
def suffuse_backbones() -> Iterable[Component]:
    """Bare networks."""
    raise NotImplementedError


@hookspec
def suffuse_objectives() -> Iterable[Component]:
    """Training objectives."""
    raise NotImplementedError


@hookspec
def suffuse_guidance() -> Iterable[Component]:
    """Decorators of a denoiser or of a sampler's step."""
    raise NotImplementedError


@hookspec
def suffuse_samplers() -> Iterable[Component]:
    """Samplers."""
    raise NotImplementedError


@hookspec
def suffuse_tasks() -> Iterable[Component]:
    """Downstream tasks and studies."""
    raise NotImplementedError


@hookspec
def suffuse_codecs() -> Iterable[Component]:
    """Maps between data and state."""
    raise NotImplementedError


@hookspec
def suffuse_adapters() -> Iterable[Component]:
    """Reversible changes of a backbone."""
    raise NotImplementedError


@hookspec
def suffuse_datasets() -> Iterable[Component]:
    """Datasets, and annotators that label one."""
    raise NotImplementedError


@hookspec
def suffuse_metrics() -> Iterable[Component]:
    """Metrics."""
    raise NotImplementedError


@hookspec
def suffuse_weights() -> Iterable[Component]:
    """Published weights; a target may be any object, not only an attrs class."""
    raise NotImplementedError


@hookspec
def suffuse_claims() -> Iterable[Component]:
    """Executable claims of the paper; a target may be any object, not only an attrs class."""
    raise NotImplementedError


@hookspec
def suffuse_parts() -> Iterable[Component]:
    """Sub-parts such as grids, weightings and couplings; each record names its own kind."""
    raise NotImplementedError
