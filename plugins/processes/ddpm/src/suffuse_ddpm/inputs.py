"""What the bound's tasks are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suffuse.contracts.condition import Condition
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State, size, tree_map
from suffuse.system import System

__all__ = ["encoded"]


def encoded(system: System, inputs: Mapping[str, Any], rng: Rng) -> tuple[State, Condition]:
    """States and conditions from ``data`` and, for a conditional model, ``cond``; checked, on the model's device."""
    if "data" not in inputs or set(inputs) - {"data", "cond"}:
        raise InvalidInput(f"expected the inputs data and, for conditional models, cond; got {sorted(inputs)}")
    x = tree_map(lambda v: v.to(system.device), system.codec.encode(inputs["data"]))
    system.space.check(x)
    cond = inputs.get("cond") or Condition()
    cond = (cond if isinstance(cond, Condition) else Condition(cond)).to(system.device)
    if cond.size not in (None, size(x)) or rng.size != size(x):
        raise InvalidInput(f"data has {size(x)} rows, cond {cond.size}, and rng {rng.size} streams: expected one each")
    system.check(cond)
    return x, cond
