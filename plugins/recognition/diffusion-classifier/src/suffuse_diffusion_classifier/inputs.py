"""What the tasks are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State, size, tree_map
from suffuse.system import System

__all__ = ["encoded"]


def encoded(
    system: System, inputs: Mapping[str, Any], rng: Rng, allowed: set[str], required: set[str]
) -> tuple[State, dict[str, Any]]:
    """The data's states, on the model's device, and the other inputs; ``InvalidInput`` for missing or unknown ones."""
    missing, unknown = ({"data"} | required) - set(inputs), set(inputs) - {"data"} - allowed
    if missing or unknown:
        told = f"unknown {sorted(unknown)}" if unknown else f"missing {sorted(missing)}"
        raise InvalidInput(f"expected the inputs {', '.join(sorted({'data'} | allowed))}; {told}")
    x0 = tree_map(lambda v: v.to(system.device), system.codec.encode(inputs["data"]))
    system.space.check(x0)
    if size(x0) != rng.size:
        raise InvalidInput(f"{rng.size} streams for {size(x0)} data: expected one each")
    return x0, {k: v for k, v in inputs.items() if k != "data"}
