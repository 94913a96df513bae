"""The single times of a walk: the same few tensors, asked for step after step and sample after sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from typing import Any, TypeVar, TypeVarTuple

import attrs
import torch
from torch import Tensor

__all__ = ["at_points", "constant"]

_P = TypeVar("_P")
_S = TypeVarTuple("_S")
_V = TypeVar("_V")

_version = attrgetter("_version")  # counts the changes in place; it never falls

_MOST = 4096  # points kept; beyond, all are forgotten


def at_points(schedule: Callable[[_P, Tensor, *_S], _V]) -> Callable[[_P, Tensor, *_S], _V]:
    """Let a process keep what this function of it, a time ``()`` and some plain settings gives.

    On one number an operation costs its call alone, a microsecond or two, and a schedule takes tens of them. Kept by
    the tensor's identity, so a lookup reads no value and waits for no device. Nothing stale can come back: kept are
    values of ``constant`` processes alone, at times that carry no gradient, until either is changed in place.
    """
    name = f"_{schedule.__name__}_at"

    @wraps(schedule)
    def method(self: _P, t: Tensor, *settings: *_S) -> _V:
        if type(t) is not Tensor or t.ndim or t.requires_grad or t.is_inference() or torch.compiler.is_compiling():
            return schedule(self, t, *settings)
        kept: dict[Any, tuple[_V, list[Tensor], int]] = vars(self).setdefault(name, {})
        key = (id(t), *settings)
        found = kept.get(key)
        if found is not None and found[1][0] is t and sum(map(_version, found[1])) == found[2]:
            return found[0]
        with torch.inference_mode(False):  # what is kept may meet gradients later
            value = schedule(self, t, *settings)
        if constant(self):
            if len(kept) >= _MOST:
                kept.clear()
            tensors = [w for w in (t, *(value if isinstance(value, tuple) else (value,))) if isinstance(w, Tensor)]
            kept[key] = (value, tensors, sum(map(_version, tensors)))
        return value

    return method


def constant(part: Any) -> bool:  # noqa: ANN401 - any value of a setting
    """Whether nothing in a part can change: its settings are numbers, words, and parts of which the same is true."""
    if part is None or isinstance(part, bool | int | float | str):
        return True
    if isinstance(part, tuple):
        return all(map(constant, part))
    if "__attrs_attrs__" not in vars(type(part)) or isinstance(part, torch.nn.Module):
        return False
    return all(constant(getattr(part, a.name)) for a in attrs.fields(type(part)))
