"""What operators take, and what they keep."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from suffuse.errors import InvalidInput
from suffuse.state import promote

__all__ = ["RANK", "image", "kept", "trailing"]

# Singular values below this share of the largest count as zero: float32 does not see them.
RANK = torch.finfo(torch.float32).eps

P, T = ParamSpec("P"), TypeVar("T")


def image(x: Tensor, who: object) -> Tensor:
    """Images ``(B, C, H, W)``, in at least float32; ``InvalidInput`` for anything else."""
    if x.ndim != 4:
        raise InvalidInput(
            f"{type(who).__name__} takes images (batch, channels, height, width), got shape {tuple(x.shape)}"
        )
    return promote(x)


def trailing(x: Tensor, shape: tuple[int, ...], who: object) -> Tensor:
    """Tensors ``(B, ..., *shape)``, in at least float32; ``InvalidInput`` for anything else."""
    if x.ndim <= len(shape) or tuple(x.shape[-len(shape) :]) != shape:
        expected = ", ".join(map(str, ("batch", "...", *shape)))
        raise InvalidInput(f"{type(who).__name__} expects shape ({expected}), got {tuple(x.shape)}")
    return promote(x)


def kept(build: Callable[P, T]) -> Callable[P, T]:
    """The last results of a pure function of settings, shapes, dtype and device; they may meet gradients later."""

    @lru_cache(maxsize=32)
    @wraps(build)
    def make(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
            return build(*args, **kwargs)

    return make  # type: ignore[return-value]
