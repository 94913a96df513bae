"""States, and the only place where times and coefficients are broadcast against them.

A state is a tensor ``(B, *event)`` or a mapping of named tensors with a common batch (a graph's nodes, edges and
mask; positions and velocities; rotations and translations).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from suffuse.errors import InvalidInput, Unsupported

__all__ = [
    "Coefficient",
    "State",
    "combine",
    "expand",
    "leaves",
    "promote",
    "require",
    "rows",
    "same_form",
    "size",
    "tree_map",
]

State: TypeAlias = "Tensor | Mapping[str, Tensor]"
# A schedule's value: a number, a tensor () / (B,) / (B, tokens), or one of these for each leaf of the state.
Coefficient: TypeAlias = "float | Tensor | Mapping[str, float | Tensor]"


def leaves(x: State) -> Iterator[tuple[str, Tensor]]:
    """The named tensors of a state; a plain tensor has the name ``""``."""
    return iter([("", x)]) if isinstance(x, Tensor) else iter(x.items())


def tree_map(f: Callable[..., Tensor], x: State, *others: Any) -> State:  # noqa: ANN401 - states or coefficients
    """Apply ``f`` to every leaf; an argument that is not a mapping is shared by all leaves."""
    if isinstance(x, Tensor):
        return f(x, *others)
    return {k: f(v, *(o[k] if isinstance(o, Mapping) else o for o in others)) for k, v in x.items()}


def size(x: State) -> int:
    """The batch size B. Raises ``InvalidInput`` if the leaves disagree or a leaf has no batch dimension."""
    sizes = {name: (v.shape[0] if v.ndim else None) for name, v in leaves(x)}
    if len(set(sizes.values())) != 1 or None in sizes.values():
        raise InvalidInput(f"a state's leaves must share their first dimension, got {sizes}")
    return cast(int, next(iter(sizes.values())))


def rows(x: State, index: Any) -> State:  # noqa: ANN401 - a slice, an index tensor or a mask
    """Rows of every leaf."""
    return tree_map(lambda v: v[index], x)


def promote(x: Tensor) -> Tensor:
    """At least float32: half precision is for networks, not for the arithmetic of a solver."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def expand(w: float | Tensor, x: Tensor) -> float | Tensor:
    """Shape a coefficient so that it multiplies ``x``: ``()`` as it is, ``(B,)`` or ``(B, tokens)`` from the left.

    The shape must be a prefix of the state's, so B == D is never ambiguous. Raises ``InvalidInput`` otherwise.
    """
    if not isinstance(w, Tensor) or w.ndim == 0:
        return w
    if w.shape != x.shape[: w.ndim]:
        raise InvalidInput(
            f"a time or coefficient of shape {tuple(w.shape)} does not fit a state of shape {tuple(x.shape)}: "
            "expected () or a prefix of the state's shape, such as (batch,)"
        )
    return w.reshape(w.shape + (1,) * (x.ndim - w.ndim)).to(x.device, x.dtype)


def combine(a: Coefficient, x: State, b: Coefficient, y: State) -> State:
    """``a x + b y`` leaf by leaf, in at least float32: the one linear combination that everything is built of."""
    return _combined(x, y, a, b) if isinstance(x, Tensor) else tree_map(_combined, x, y, a, b)  # type: ignore[arg-type]


def _combined(x: Tensor, y: Tensor, a: float | Tensor, b: float | Tensor) -> Tensor:
    x, y = promote(x), promote(y)
    scaled = x if isinstance(a, float) and a == 1.0 else x * expand(a, x)
    if isinstance(b, float) and abs(b) == 1.0:  # solvers are full of plain sums and differences
        return scaled + y if b > 0 else scaled - y
    return scaled + y * expand(b, y)


def require(holds: Tensor, message: str) -> None:
    """Raise ``Unsupported`` unless all of a schedule's conditions hold; on a device, without waiting for it."""
    if holds.device.type == "cpu":  # schedules live on the CPU while sampling, so this costs no synchronisation
        if not bool(holds.all()):
            raise Unsupported(message)
    else:
        torch._assert_async(holds.all(), message)


def same_form(x: State, like: State, what: str) -> None:
    """Raise ``InvalidInput`` unless ``x`` has the leaves and shapes of ``like``."""
    got = {k: tuple(v.shape) for k, v in leaves(x)}
    expected = {k: tuple(v.shape) for k, v in leaves(like)}
    if got != expected:
        raise InvalidInput(f"{what} must have the shape {_form(expected)}, got {_form(got)}")


def _form(shapes: dict[str, tuple[int, ...]]) -> str:
    return str(shapes[""]) if set(shapes) == {""} else str(shapes)
