"""Times of frames."""

from __future__ import annotations

from torch import Tensor

from suffuse.errors import InvalidInput, Unsupported
from suffuse.state import State

__all__ = ["frames_of", "per_frame"]


def frames_of(x: State) -> int:
    """F of a video state ``(B, F, *frame)``."""
    if not isinstance(x, Tensor) or x.ndim < 2:
        raise Unsupported("one time per frame needs states that are one tensor (batch, frames, ...)")
    return x.shape[1]


def per_frame(t: Tensor, x: State) -> Tensor:
    """A time ``()``, ``(B,)`` or ``(B, F)`` as ``(B, F)``. Raises ``InvalidInput`` for another shape."""
    frames = frames_of(x)
    assert isinstance(x, Tensor)
    if t.shape != x.shape[: t.ndim] or t.ndim > 2:
        raise InvalidInput(f"expected times (), ({len(x)},) or ({len(x)}, {frames}), got {tuple(t.shape)}")
    return t.reshape(t.shape + (1,) * (2 - t.ndim)).expand(len(x), frames)
