"""Rewards: of points, in closed form, and of images, by how well they compress."""

from __future__ import annotations

import zlib
from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.reward import Reward
from suffuse.errors import InvalidInput, SpecError
from suffuse.state import State

__all__ = ["Bump", "Compressibility", "Quadratic"]


@attrs.frozen(kw_only=True)
class Quadratic(Reward):
    """``-|x - centre|^2``: its mean over a Gaussian or a mixture is known in closed form."""

    provides: ClassVar[frozenset[str]] = frozenset({"differentiable"})

    centre: tuple[float, ...] = setting((0.0, 0.0), "the best point")

    def value(self, data: State, cond: Condition) -> Tensor:
        """Minus the squared distance."""
        return -_squares(data, self.centre)


@attrs.frozen(kw_only=True)
class Bump(Reward):
    """``exp(-|x - centre|^2 / (2 width^2))``: far from the centre it is flat, and its gradient says nothing."""

    provides: ClassVar[frozenset[str]] = frozenset({"differentiable"})

    centre: tuple[float, ...] = setting((0.0, 0.0), "the best point")
    width: float = setting(0.3, "standard deviation of the bump", gt=0)

    def value(self, data: State, cond: Condition) -> Tensor:
        """In (0, 1]."""
        return (-_squares(data, self.centre) / (2 * self.width**2)).exp()


@attrs.frozen(kw_only=True)
class Compressibility(Reward):
    """Minus the size of the image when compressed, in kilobytes; ``better`` turns it around.

    The paper's first two tasks (arXiv:2305.13301), with the lossless DEFLATE of rounded values in place of
    JPEG: 8x8 digits are too small for JPEG. No gradient passes through it.
    """

    low: float = setting(0.0, "the data's lowest value")
    high: float = setting(1.0, "the data's highest value")
    better: Literal["small", "large"] = setting("small", "which images are good", choices=("small", "large"))

    def __attrs_post_init__(self) -> None:
        if not self.low < self.high:
            raise SpecError(f"low must be below high, got low={self.low}, high={self.high}")

    def value(self, data: State, cond: Condition) -> Tensor:
        """Of each image, as 256 levels from ``low`` to ``high``."""
        if not isinstance(data, Tensor):
            raise InvalidInput("compressibility takes images in one tensor")
        levels = (
            ((data.detach() - self.low) / (self.high - self.low) * 255).round().clamp(0, 255).to("cpu", torch.uint8)
        )
        sizes = [len(zlib.compress(image.contiguous().numpy().tobytes(), 9)) / 1000 for image in levels]
        sign = -1.0 if self.better == "small" else 1.0
        return sign * torch.tensor(sizes, dtype=torch.float32, device=data.device)


def _squares(data: State, centre: tuple[float, ...]) -> Tensor:
    if not isinstance(data, Tensor) or data.ndim != 2 or data.shape[1] != len(centre):
        got = tuple(data.shape) if isinstance(data, Tensor) else type(data).__name__
        raise InvalidInput(f"expected points (batch, {len(centre)}), got {got}")
    return (data - torch.tensor(centre, dtype=data.dtype, device=data.device)).square().sum(1)
