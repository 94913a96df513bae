"""The digits, and a fixed split of them."""

from __future__ import annotations

from functools import cache
from typing import Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.task import Dataset, Example
from suffuse.errors import InvalidInput
from suffuse.rng import Rng

__all__ = ["Digits"]

# Of the rows of each digit, in the file's order, every fifth is for testing.
_EVERY = 5


@attrs.frozen(kw_only=True)
class Digits(Dataset):
    """1797 handwritten digits, ``(B, 1, 8, 8)`` float32 with whole values from 0 to 16, and their ``label``.

    The test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998, UCI, doi:10.24432/C50P49),
    which comes with scikit-learn. Counted from 0 within its digit and in the file's order, every row 4, 9, 14, ... is
    for testing: 1442 train and 355 test, each digit's share equal to within one row. The codec for it is
    ``suffuse/range`` from 0 to 16.
    """

    split: Literal["train", "test", "all"] = setting("train", "which rows", choices=("train", "test", "all"))

    def __len__(self) -> int:
        return len(_load(self.split)[1])

    def rows(self, index: Tensor, rng: Rng) -> Example:
        """These rows, without augmentation. ``InvalidInput`` for an index that is no integer or not in [0, len)."""
        images, labels = _load(self.split)
        if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
            raise InvalidInput(f"expected indices (batch,), integers, got {index.dtype} of shape {tuple(index.shape)}")
        if bool(((index < 0) | (index >= len(labels))).any()):
            got = f"{int(index.min())} to {int(index.max())}"
            raise InvalidInput(f"the {self.split} digits have rows 0 to {len(labels) - 1}, got indices from {got}")
        return Example(x=images[index], cond=Condition(label=labels[index]))

    def everything(self) -> Example:
        """All rows in order."""
        images, labels = _load(self.split)
        return Example(x=images.clone(), cond=Condition(label=labels.clone()))


@cache
def _load(split: str) -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(np.asarray(bunch.images, dtype=np.float32))[:, None]
    labels = torch.from_numpy(np.asarray(bunch.target, dtype=np.int64))
    if split == "all":
        return images, labels
    same = labels[:, None] == torch.arange(10)
    place = same.cumsum(0).gather(1, labels[:, None])[:, 0] - 1
    test = place % _EVERY == _EVERY - 1
    rows = test if split == "test" else ~test
    return images[rows], labels[rows]
