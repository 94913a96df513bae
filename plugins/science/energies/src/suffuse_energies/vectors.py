"""What targets on vectors share."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.errors import InvalidInput
from suffuse.rng import Rng

__all__ = ["check_vectors", "empty"]


def check_vectors(x: Tensor, dim: int) -> None:
    """Raise ``InvalidInput`` unless x is ``(B, dim)`` of a floating dtype."""
    if x.ndim != 2 or x.shape[1] != dim or not x.is_floating_point():
        raise InvalidInput(f"expected states (batch, {dim}) of a floating dtype, got {x.dtype} {tuple(x.shape)}")


def empty(rng: Rng, dim: int, dtype: torch.dtype) -> Tensor:
    """What a draw of vectors looks like."""
    return torch.empty(rng.size, dim, dtype=dtype, device=rng.device)
