"""A network's derivative in time that can itself be differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import jvp
from torch.overrides import TorchFunctionMode

__all__ = ["in_time"]


def in_time(f: Callable[[Tensor], Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """``(f(t), df/dt)`` for f of times ``(B,)`` that treats each row by itself; differentiable in all that f uses.

    By forward-mode differentiation, in which layer normalisation is spelt out: torch's own rule for it (2.13) takes
    mean and scale for constants when the derivative is differentiated in turn, and gives wrong gradients silently.
    """
    with _SpeltOut():
        found: tuple[Tensor, Tensor] = jvp(f, (t,), (torch.ones_like(t),))
    return found


class _SpeltOut(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        called = _layer_norm if func in (F.layer_norm, torch.layer_norm) else func
        return called(*args, **(kwargs or {}))


def _layer_norm(
    input: Tensor,  # noqa: A002 - torch's name
    normalized_shape: tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,  # noqa: ARG001 - torch's own
) -> Tensor:
    over = tuple(range(-len(normalized_shape), 0))
    x = input.to(torch.promote_types(input.dtype, torch.float32))
    centred = x - x.mean(over, keepdim=True)
    out = (centred * (centred.square().mean(over, keepdim=True) + eps).rsqrt()).to(input.dtype)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias
