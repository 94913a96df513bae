"""Labelled rows of a data set, as states, with a stream for each."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from suffuse.contracts.task import Dataset
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System

__all__ = ["labelled"]


def labelled(system: System, data: Dataset, index: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """States and labels of these rows. Row j has stream j of the data set's own, whatever the others are.

    ``InvalidInput`` for data without integer labels, or that are no states of the system.
    """
    example = data.rows(index, rng.pool().repeat(len(data)).index(index).at("rows"))
    label = example.cond.get("label")
    if label is None or label.ndim != 1 or label.is_floating_point():
        raise InvalidInput("probing needs data whose condition has a label, one integer a row")
    x0 = cast(Tensor, system.codec.encode(example.x)).to(system.device)
    system.space.check(x0)
    return x0, label.to(system.device, torch.long)
