"""Operators that act on rows and columns alike: ``A X = W_h X W_w^T`` for each channel of an image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.operator import Noise, Svd, SvdOperator
from suffuse.contracts.part import setting
from suffuse.errors import InvalidInput
from suffuse_operators.inputs import RANK, image, kept
from suffuse_operators.noise import GaussianNoise

__all__ = ["GaussianBlur", "Separable", "SuperResolution"]


class Separable(ABC):
    """``W_h X W_w^T``: the singular values are products of those of the two factors, the vectors outer products."""

    factor: int = 1

    @abstractmethod
    def line(self, n: int) -> Tensor:
        """W for a line of n pixels, float64 ``(n / factor, n)``."""

    def A(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, H/factor, W/factor)``."""
        x = image(x, self)
        h, w = _maps(self, *x.shape[2:], x.dtype, x.device)
        return h @ x @ w.mT

    def A_adjoint(self, y: Tensor) -> Tensor:
        """``W_h^T Y W_w``."""
        y = image(y, self)
        h, w = _maps(self, *(self.factor * n for n in y.shape[2:]), y.dtype, y.device)
        return h.mT @ y @ w

    def svd(self, x: Tensor) -> Svd:
        """From the decompositions of the two factors, for each channel."""
        x = image(x, self)
        s, index, (uh, uw), (vh, vw) = _factors(self, *x.shape[1:], x.dtype, x.device)
        coefficients = (x.shape[1], vh.shape[1], vw.shape[1])

        def out(z: Tensor, h: Tensor, w: Tensor) -> Tensor:
            whole = z.new_zeros(len(z), math.prod(coefficients)).index_copy(1, index, z)
            return h @ whole.unflatten(1, coefficients) @ w.mT

        def back(v: Tensor, h: Tensor, w: Tensor) -> Tensor:
            return (h.mT @ v @ w).flatten(1)[:, index]

        return Svd(
            s=s,
            V=lambda z: out(z, vh, vw),
            V_adjoint=lambda v: back(v, vh, vw),
            U=lambda z: out(z, uh, uw),
            U_adjoint=lambda v: back(v, uh, uw),
        )


_Pair = tuple[Tensor, Tensor]


@kept
def _maps(operator: Separable, height: int, width: int, dtype: torch.dtype, device: torch.device) -> _Pair:
    if height % operator.factor or width % operator.factor:
        raise InvalidInput(f"{height} x {width} pixels cannot be reduced by a factor of {operator.factor}")
    return operator.line(height).to(device, dtype), operator.line(width).to(device, dtype)


@kept
def _factors(
    operator: Separable, channels: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, _Pair, _Pair]:
    """Singular values above the rank's tolerance, where they stand, and U and V of both factors."""
    maps = _maps(operator, height, width, torch.float64, torch.device("cpu"))
    (uh, sh, vh), (uw, sw, vw) = (torch.linalg.svd(m, full_matrices=False) for m in maps)
    s = (sh[:, None] * sw).flatten().repeat(channels)
    index = (s > RANK * s.max()).nonzero()[:, 0]
    u, v = ((a.to(device, dtype), b.to(device, dtype)) for a, b in ((uh, uw), (vh.mT, vw.mT)))
    return s[index].to(device, dtype), index.to(device), u, v


def _rows(centres: Tensor, radius: float, n: int, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """Each centre's weights over a line of n pixels, normalised; what falls beyond an end is folded back."""
    reach = torch.arange(-math.ceil(radius), math.ceil(radius) + 1, dtype=torch.float64)
    at = centres.round()[:, None] + reach
    weights = kernel(at - centres[:, None])
    folded = at.long() % (2 * n)
    folded = torch.minimum(folded, 2 * n - 1 - folded)
    rows = torch.zeros(len(centres), n, dtype=torch.float64).scatter_add(1, folded, weights)
    return rows / weights.sum(1, keepdim=True)


def _cubic(d: Tensor) -> Tensor:
    """Keys' kernel with a = -1/2, for distances d >= 0."""
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return torch.where(d < 1, near, torch.where(d < 2, far, 0.0))


@attrs.frozen(kw_only=True)
class GaussianBlur(Separable, SvdOperator):
    """Convolution with a Gaussian; beyond its edges an image is its mirror image.

    The default is that of Chung et al., 2022, arXiv:2209.14687, for 256 x 256 pixels.
    """

    std: float = setting(3.0, "standard deviation of the kernel, in pixels", gt=0)
    noise: Noise = setting(factory=GaussianNoise, doc="of each pixel")

    def line(self, n: int) -> Tensor:
        """``exp(-d^2/(2 std^2))``, cut at 5 std, each row summing to 1."""
        return _rows(
            torch.arange(n, dtype=torch.float64), 5 * self.std, n, lambda d: (-0.5 * (d / self.std) ** 2).exp()
        )


@attrs.frozen(kw_only=True)
class SuperResolution(Separable, SvdOperator):
    """Images reduced by a whole factor, which must divide height and width.

    ``bicubic``: Keys' cubic kernel (a = -1/2) stretched by the factor, as good resizers do, the image mirrored at its
    edges; ``average``: the mean of each block.
    """

    factor: int = setting(4, "how many times fewer pixels a side", ge=1)
    kernel: Literal["bicubic", "average"] = setting("bicubic", "what is averaged", choices=("bicubic", "average"))
    noise: Noise = setting(factory=GaussianNoise, doc="of each small pixel")

    def line(self, n: int) -> Tensor:
        """Each row sums to 1."""
        f = self.factor
        if self.kernel == "average":
            return torch.eye(n // f, dtype=torch.float64).repeat_interleave(f, 1) / f
        centres = (torch.arange(n // f, dtype=torch.float64) + 0.5) * f - 0.5
        return _rows(centres, 2 * f, n, lambda d: _cubic(d.abs() / f))
