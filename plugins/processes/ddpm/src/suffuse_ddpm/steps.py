"""Between times in [0, 1] and the steps 1 ... T of a chain: t = n/T."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.contracts.process import as_time

__all__ = ["step_of", "time_of"]


def time_of(n: int | Tensor, T: int) -> Tensor:
    """``n/T``, float64, of the shape of n."""
    return as_time(n) / T


def step_of(t: float | Tensor, T: int) -> Tensor:
    """The step n in 1 ... T that leads to t: ``(n - 1)/T < t <= n/T``, and 1 at t = 0. Int64, of the shape of t."""
    # n/T T may round to just above n; half a millionth of a step is far more than rounding.
    return torch.ceil(as_time(t) * T - 5e-7).long().clamp(1, T)
