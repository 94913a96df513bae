"""Which pixels of a digit are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from suffuse.rng import Rng

__all__ = ["MASKS"]


def _fixed(rows: slice, columns: slice) -> Callable[[Rng], Tensor]:
    def make(rng: Rng) -> Tensor:
        mask = torch.ones(rng.size, 1, 8, 8, dtype=torch.bool)
        mask[:, :, rows, columns] = False
        return mask

    return make


def _random(rng: Rng) -> Tensor:
    return rng.uniform(torch.empty(rng.size, 1, 8, 8)) < 0.5


# By the name of what is hidden: bool ``(B, 1, 8, 8)``, True where known.
MASKS: Mapping[str, Callable[[Rng], Tensor]] = {
    "left-half": _fixed(slice(None), slice(0, 4)),
    "lower-half": _fixed(slice(4, 8), slice(None)),
    "box": _fixed(slice(2, 6), slice(2, 6)),
    "random": _random,
}
