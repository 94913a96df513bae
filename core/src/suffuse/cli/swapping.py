"""Other settings and other parts by name, on the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from suffuse.cli.opening import edit
from suffuse.errors import WeightsError
from suffuse.registry import Registry
from suffuse.registry import registry as installed
from suffuse.spec import check_spec, structure, unstructure
from suffuse.spec.settings import hints
from suffuse.system import System

__all__ = ["swap"]


def swap(system: System, assignments: Sequence[str], *, registry: Registry | None = None) -> System:
    """The system with each ``path=value`` applied: ``swap(system, ["sampler=edm/heun", "sampler.steps=18"])``.

    Networks are shared, not copied. Raises ``WeightsError`` for a change to a part that has weights, and what
    ``suffuse.spec.compose`` raises for a wrong one.
    """
    if not assignments:
        return system
    known = registry or installed()
    spec = unstructure(system, registry=known)
    changed = edit(spec, assignments)
    check_spec(changed, known)
    types = hints(System)
    fresh = {name for name in changed if name not in spec or changed[name] != spec[name]}
    parts = {
        name: structure(value, types[name], path=name, registry=known) if name in fresh else getattr(system, name)
        for name, value in changed.items()
    }
    swapped, old = System(**parts), system.modules()
    for path, module in swapped.modules().items():
        weights = module.state_dict()
        if path.partition(".")[0] not in fresh or not weights:
            continue
        if path not in old or _at(spec, path) != _at(changed, path):
            raise WeightsError(
                f"{path} has weights, and they fit the settings it was trained with only: "
                "choose a sampler, grid, guidance or other part without weights",
            )
        module.load_state_dict(old[path].state_dict(), strict=True, assign=True)
        module.requires_grad_(False).eval()
    return swapped


def _at(spec: Any, path: str) -> Any:  # noqa: ANN401
    """What a spec says at a part's path."""
    for key in path.split("."):
        if isinstance(spec, Mapping) and "use" in spec:
            spec = spec.get("with", {})
        spec = spec[int(key)] if isinstance(spec, list | tuple) else spec.get(key)
    return spec
