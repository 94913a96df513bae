"""The networks whose weights the authors published, and how many parameters each has."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from suffuse_adm.half_unet import HalfUNet
from suffuse_adm.unet import UNet

__all__ = ["CLASSIFIERS", "IDDPM", "UNETS", "parameters"]

# Settings by the side of an ImageNet model; counts of the authors' code under its published flags, in agreement with
# the paper's tables of hyperparameters (296M, 422M, 554M, 559M; 65M, 43M, 54M, 54M).
UNETS: Mapping[int, tuple[int, Mapping[str, object]]] = {
    64: (
        295_904_454,
        {"width": 192, "multipliers": (1, 2, 3, 4), "depth": 3, "attention": (1, 2, 3), "dropout": 0.1},
    ),
    128: (421_529_606, {"multipliers": (1, 1, 2, 3, 4), "attention": (2, 3, 4), "heads": 4}),
    256: (553_838_086, {}),
    512: (558_997_638, {"multipliers": (0.5, 1, 1, 2, 2, 4, 4), "attention": (4, 5, 6)}),
}
CLASSIFIERS: Mapping[int, tuple[int, Mapping[str, object]]] = {
    64: (65_438_568, {"side": 64, "multipliers": (1, 2, 3, 4), "depth": 4, "attention": (1, 2, 3)}),
    128: (42_568_040, {"side": 128, "multipliers": (1, 1, 2, 3, 4), "attention": (2, 3, 4)}),
    256: (54_096_360, {}),
    512: (54_448_360, {"side": 512, "multipliers": (0.5, 1, 1, 2, 2, 4, 4), "attention": (4, 5, 6)}),
}
# Of Improved DDPM (arXiv:2102.09672): CIFAR-10, ImageNet 64x64, and the same with labels.
_IDDPM = {"resample": "conv", "heads": 4, "depth": 3}
IDDPM: Mapping[str, tuple[int, Mapping[str, object]]] = {
    "cifar10": (
        52_546_438,
        {**_IDDPM, "width": 128, "multipliers": (1, 2, 2, 2), "attention": (1, 2), "classes": 0, "dropout": 0.3},
    ),
    "imagenet64": (
        121_063_942,
        {**_IDDPM, "width": 128, "multipliers": (1, 2, 3, 4), "attention": (2, 3), "classes": 0},
    ),
    "imagenet64-cond": (273_049_350, {**_IDDPM, "width": 192, "multipliers": (1, 2, 3, 4), "attention": (2, 3)}),
}


def parameters(network: type[UNet] | type[HalfUNet], settings: Mapping[str, object]) -> int:
    """How many parameters this network has; none is made."""
    with torch.device("meta"):
        made = network(**settings)  # type: ignore[arg-type]
    return sum(p.numel() for p in made.parameters())
