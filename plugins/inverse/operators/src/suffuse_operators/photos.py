"""Patches of photographs."""

from __future__ import annotations

from functools import cache
from typing import Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.task import Dataset, Example
from suffuse.errors import InvalidInput
from suffuse.rng import Rng

__all__ = ["Photos"]

_EVERY = 5


@attrs.frozen(kw_only=True)
class Photos(Dataset):
    """Square patches of the two photographs that come with scikit-learn, ``(B, 3, size, size)`` float32 in [0, 1].

    "china" (Zhanyun Guo) and "flower" (Tony Roberts), both CC BY 2.0, 427 x 640 pixels, cut without overlap, row by
    row; of all patches in order, 4, 9, 14, ... are for testing. The codec is ``suffuse/range`` from 0 to 1.
    """

    size: int = setting(32, "height and width of a patch, in pixels", ge=4, le=128)
    split: Literal["train", "test", "all"] = setting("train", "which patches", choices=("train", "test", "all"))

    def __len__(self) -> int:
        return len(_load(self.size, self.split))

    def rows(self, index: Tensor, rng: Rng) -> Example:
        """These patches. ``InvalidInput`` for an index that is no integer or not in [0, len)."""
        patches = _load(self.size, self.split)
        if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
            raise InvalidInput(f"expected indices (batch,), integers, got {index.dtype} of shape {tuple(index.shape)}")
        if bool(((index < 0) | (index >= len(patches))).any()):
            got = f"{int(index.min())} to {int(index.max())}"
            raise InvalidInput(f"there are patches 0 to {len(patches) - 1}, got indices from {got}")
        return Example(x=patches[index], cond=Condition())


@cache
def _load(size: int, split: str) -> Tensor:
    from sklearn.datasets import load_sample_images

    pictures = [torch.from_numpy(v.copy()).permute(2, 0, 1) for v in load_sample_images().images]
    cut = [v.unfold(1, size, size).unfold(2, size, size).permute(1, 2, 0, 3, 4).flatten(0, 1) for v in pictures]
    patches = torch.cat(cut).float() / 255
    test = torch.arange(len(patches)) % _EVERY == _EVERY - 1
    return patches if split == "all" else patches[test if split == "test" else ~test]
