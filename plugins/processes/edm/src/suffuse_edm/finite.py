"""One check: a coefficient must be finite where it is used."""

from __future__ import annotations

import torch
from suffuse.errors import Unsupported
from torch import Tensor

__all__ = ["finite"]


def finite(w: Tensor, message: str) -> Tensor:
    """``w``, or ``Unsupported`` where it is infinite or NaN; on a device without waiting for it, by an assertion."""
    if w.device.type == "cpu":
        if not bool(w.isfinite().all()):
            raise Unsupported(message)
    else:
        torch._assert_async(w.isfinite().all(), message)
    return w
