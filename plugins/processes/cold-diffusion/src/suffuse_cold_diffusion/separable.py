"""Blurring and pixelation: linear maps of rows and columns, ``D(x, n) = A_n x B_n^T``."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.process import Degradation, Process
from suffuse.errors import InvalidInput, SpecError
from suffuse.state import State
from suffuse_cold_diffusion.chain import Chain, images
from suffuse_cold_diffusion.colours import Colours

__all__ = ["Blur", "Pixelate"]


def _odd(size: int) -> str | None:
    return None if size % 2 else f"expected an odd size, got {size}"


@attrs.frozen(kw_only=True)
class Blur(Chain, Process, Degradation):
    """``x_n = G_n * x_{n-1}``: Gaussian blurs one upon another (arXiv:2208.09392, section 4.1).

    G_n is a ``kernel`` x ``kernel`` Gaussian of standard deviation ``std + growth i`` (``linear``) or
    ``std exp(growth i)`` pixels, i = n - 1. With ``to_mean`` the last step replaces the image by the means of its
    channels, and sampling may start from colours: give their ``mean`` ``(C,)`` and ``covariance`` (C rows after one
    another), as ``Colours.fit`` finds them, and ``broken``, the noise that breaks the symmetry of flat images.
    Published settings (T, kernel, padding, std_i):

        MNIST       20   11   circular   7
        CIFAR-10    50   11   reflect    0.35 + 0.01 i
        CelebA     200   15   circular   exp(0.01 i)
        generation 300   27   circular   exp(0.01 i), to the mean, broken 0 or 0.002
    """

    T: int = setting(20, "steps", ge=1)
    kernel: int = setting(11, "the kernel's size in pixels, odd", ge=1, check=_odd)
    std: float = setting(7.0, "the first kernel's standard deviation, in pixels", gt=0)
    growth: float = setting(0.0, "its growth a step", ge=0)
    routine: Literal["linear", "exponential"] = setting("linear", "how it grows", choices=("linear", "exponential"))
    padding: Literal["circular", "reflect"] = setting("circular", "beyond the edge", choices=("circular", "reflect"))
    to_mean: bool = setting(False, "whether the last step leaves the channels' means alone")
    mean: tuple[float, ...] = setting((), "mean of the channels' means, for a prior")
    covariance: tuple[float, ...] = setting((), "their covariance, row after row")
    broken: float = setting(0.0, "standard deviation of each pixel of the prior's draws about their colour", ge=0)

    def __attrs_post_init__(self) -> None:
        if len(self.covariance) != len(self.mean) ** 2:
            raise SpecError(f"covariance must have {len(self.mean) ** 2} numbers, got {len(self.covariance)}")
        if self.mean and not self.to_mean:
            raise SpecError("a prior of colours needs a chain that ends with them: to_mean=True")

    def at(self, x0: Tensor, n: Tensor, end: State | None) -> Tensor:
        """``A_n x_0 B_n^T``."""
        rows, columns = (self._matrices(size) for size in x0.shape[-2:])
        return _applied(rows, columns, x0, n)

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Colours | None:
        """Flat images in random colours, where ``mean`` is given; at t = 1 only."""
        if not self.mean or float(t) != 1.0:
            return None
        return Colours(mean=self.mean, covariance=self.covariance, broken=self.broken, like=images(like))

    def _matrices(self, size: int) -> Tensor:
        return _blurs(self.T, self.kernel, self.std, self.growth, self.routine, self.padding, self.to_mean, size)


@attrs.frozen(kw_only=True)
class Pixelate(Chain, Process, Degradation):
    """Averages over blocks of ``2^n x 2^n`` pixels, at the image's size: super-resolution (section 4.3)."""

    T: int = setting(3, "steps; the image's sizes must divide by 2^T", ge=1, le=12)

    def at(self, x0: Tensor, n: Tensor, end: State | None) -> Tensor:
        """Block means. Raises ``InvalidInput`` for sizes that do not divide."""
        if any(size % 2**self.T for size in x0.shape[-2:]):
            raise InvalidInput(f"expected sizes that divide by 2^{self.T}, got {tuple(x0.shape[-2:])}")
        rows, columns = (_blocks(self.T, size) for size in x0.shape[-2:])
        return _applied(rows, columns, x0, n)


def _applied(rows: Tensor, columns: Tensor, x: Tensor, n: Tensor) -> Tensor:
    a, b = (m[n][:, None].to(x) for m in (rows, columns))
    return a @ x @ b.mT


@lru_cache(maxsize=16)
def _blurs(
    T: int, kernel: int, std: float, growth: float, routine: str, padding: str, to_mean: bool, size: int
) -> Tensor:
    """``(T + 1, size, size)``, float64: the identity, and the products of the steps' own matrices."""
    offset = torch.arange(kernel) - kernel // 2
    place = torch.arange(size)[:, None] + offset
    if padding == "circular":
        place = place % size
    else:
        turn = max(1, 2 * (size - 1))
        place = place % turn
        place = torch.where(place < size, place, turn - place)
    made = [torch.eye(size, dtype=torch.float64)]
    for i in range(T):
        width = std + growth * i if routine == "linear" else std * math.exp(growth * i)
        weights = torch.softmax(-(offset.double() ** 2) / (2 * width**2), 0)
        step = torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, place, weights.expand(size, -1))
        made.append(step @ made[-1])
    if to_mean:
        made[-1] = torch.full((size, size), 1 / size, dtype=torch.float64)
    return torch.stack(made)


@lru_cache(maxsize=16)
def _blocks(T: int, size: int) -> Tensor:
    """``(T + 1, size, size)``, float64."""
    block = [torch.arange(size) // 2**n for n in range(T + 1)]
    return torch.stack([(b[:, None] == b).double() / 2**n for n, b in enumerate(block)])
