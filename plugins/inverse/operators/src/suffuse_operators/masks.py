"""Inpainting: some elements are seen as they are, the others not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod

import attrs
import torch
from torch import Tensor

from suffuse.contracts.operator import Noise, Svd, SvdOperator
from suffuse.contracts.part import setting
from suffuse.rng import Rng
from suffuse.state import promote
from suffuse_operators.inputs import image, kept
from suffuse_operators.noise import GaussianNoise

__all__ = ["Box", "Inpaint", "Masked"]


class Masked(ABC):
    """``A x = m x``, m of zeros and ones: a measurement has the state's shape, with zeros where nothing is seen."""

    @abstractmethod
    def mask(self, x: Tensor) -> Tensor:
        """m for states like x, ``(1, *event)`` or broadcasting to it."""

    def seen(self, y: Tensor) -> Tensor:
        """The mask."""
        return self.mask(y)

    def A(self, x: Tensor) -> Tensor:
        """``m x``."""
        return promote(x) * self.mask(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """``m y``."""
        return self.A(y)

    def svd(self, x: Tensor) -> Svd:
        """The elements seen: all singular values are 1, and U = V."""
        x = promote(x)
        index = _index(self, tuple(x.shape[1:]), x.device)
        size = x[0].numel()

        def take(v: Tensor) -> Tensor:
            return v.flatten(1)[:, index]

        def put(z: Tensor) -> Tensor:
            return z.new_zeros(len(z), size).index_copy(1, index, z).unflatten(1, x.shape[1:])

        return Svd(s=x.new_ones(len(index)), V=put, V_adjoint=take, U=put, U_adjoint=take)


@kept
def _index(operator: Masked, event: tuple[int, ...], device: torch.device) -> Tensor:
    mask = operator.mask(torch.empty(1, *event)).expand(1, *event)
    return mask.flatten().nonzero()[:, 0].to(device)


@attrs.frozen(kw_only=True)
class Inpaint(Masked, SvdOperator):
    """A random share of the elements is seen, the same for every row: pixels of images ``(B, C, H, W)``, all their
    channels together; single elements of any other state ``(B, *event)``.

    Of n elements or pixels, ``round(keep n)`` are seen, at least one.
    """

    keep: float = setting(0.5, "share that is seen", gt=0, le=1)
    seed: int = setting(0, "of the mask", ge=0)
    noise: Noise = setting(factory=GaussianNoise, doc="of each element that is seen")

    def mask(self, x: Tensor) -> Tensor:
        """The mask for states like x, in its dtype."""
        shape = (1, *x.shape[2:]) if x.ndim == 4 else tuple(x.shape[1:])
        return _random(shape, self.keep, self.seed, promote(x).dtype, x.device)


@kept
def _random(shape: tuple[int, ...], keep: float, seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    n = torch.Size(shape).numel()
    order = Rng.of(seed, 1).at("mask").permutation(n)
    return (order < max(1, round(keep * n))).reshape(1, *shape).to(device, dtype)


@attrs.frozen(kw_only=True)
class Box(Masked, SvdOperator):
    """A box in the middle of images ``(B, C, H, W)`` is hidden: ``round(share H)`` by ``round(share W)`` pixels."""

    share: float = setting(0.5, "height and width of what is hidden, as shares of the image's", gt=0, lt=1)
    noise: Noise = setting(factory=GaussianNoise, doc="of each pixel that is seen")

    def mask(self, x: Tensor) -> Tensor:
        """The mask for images like x, ``(1, 1, H, W)``."""
        height, width = image(x, self).shape[2:]
        mask = promote(x).new_ones(1, 1, height, width)
        h, w = round(self.share * height), round(self.share * width)
        top, left = (height - h) // 2, (width - w) // 2
        mask[:, :, top : top + h, left : left + w] = 0
        return mask
