"""Operators that are matrices: any matrix, random projections, and tomography of small images."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import attrs
import torch
from torch import Tensor

from suffuse.contracts.operator import LinearOperator, Noise, Svd, SvdOperator
from suffuse.contracts.part import setting
from suffuse.errors import SpecError
from suffuse.rng import Rng
from suffuse_operators.inputs import RANK, kept, trailing
from suffuse_operators.noise import GaussianNoise

__all__ = ["CompressedSensing", "Dense", "Matrix", "Tomography", "matrix_of"]

_LARGEST = 4096  # columns; the decomposition of a larger matrix takes minutes


class Dense(ABC):
    """A matrix on the trailing dimensions of a state; those before them, such as channels, are measured one by one."""

    @property
    @abstractmethod
    def event(self) -> tuple[int, ...]:
        """The state's trailing dimensions that the matrix acts on."""

    @property
    @abstractmethod
    def measured(self) -> tuple[int, ...]:
        """The trailing dimensions of a measurement."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """Float64 ``(M, N)``."""

    def A(self, x: Tensor) -> Tensor:
        """``(B, ..., *event)`` to ``(B, ..., *measured)``."""
        x = trailing(x, self.event, self)
        return (x.flatten(-len(self.event)) @ _matrix(self, x.dtype, x.device).mT).unflatten(-1, self.measured)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose."""
        y = trailing(y, self.measured, self)
        return (y.flatten(-len(self.measured)) @ _matrix(self, y.dtype, y.device)).unflatten(-1, self.event)

    def svd(self, x: Tensor) -> Svd:
        """That of the matrix, once for each of the dimensions before."""
        x = trailing(x, self.event, self)
        u, s, v = _factors(self, x.dtype, x.device)
        lead = tuple(x.shape[1 : x.ndim - len(self.event)])

        def out(z: Tensor, vectors: Tensor, shape: tuple[int, ...]) -> Tensor:
            return (z.reshape(len(z), *lead, len(s)) @ vectors.mT).unflatten(-1, shape)

        def back(a: Tensor, vectors: Tensor, shape: tuple[int, ...]) -> Tensor:
            return (a.flatten(-len(shape)) @ vectors).flatten(1)

        return Svd(
            s=s.repeat(math.prod(lead)),
            V=lambda z: out(z, v, self.event),
            V_adjoint=lambda a: back(a, v, self.event),
            U=lambda z: out(z, u, self.measured),
            U_adjoint=lambda a: back(a, u, self.measured),
        )


@kept
def _matrix(operator: Dense, dtype: torch.dtype, device: torch.device) -> Tensor:
    return operator.matrix().to(device, dtype)


@kept
def _factors(operator: Dense, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """U, the singular values above the rank's tolerance, and V, from one decomposition in float64."""
    u, s, vh = torch.linalg.svd(operator.matrix(), full_matrices=False)
    real = s > RANK * s.max()
    return u[:, real].to(device, dtype), s[real].to(device, dtype), vh.mT[:, real].to(device, dtype)


def _shape_of(columns: int, shape: tuple[int, ...]) -> None:
    if min(shape, default=1) < 1 or columns > _LARGEST:
        raise SpecError(f"expected a shape of 1 to {_LARGEST} elements, got {shape or columns}", path="shape")


@attrs.frozen(kw_only=True)
class Matrix(Dense, SvdOperator):
    """Any matrix ``(M, N)``, given by its rows, on states that have N elements."""

    rows: tuple[tuple[float, ...], ...] = setting(
        doc="the matrix",
        check=lambda rows: None if _is_matrix(rows) else "expected rows of finite numbers, all of one length",
    )
    shape: tuple[int, ...] = setting((), "of one state, which is read row by row; (N,) unless given")
    noise: Noise = setting(factory=GaussianNoise, doc="of each number that is measured")

    @classmethod
    def of(cls, matrix: Tensor, *, shape: tuple[int, ...] = (), noise: Noise | None = None) -> Matrix:
        """From a tensor ``(M, N)``."""
        rows = tuple(map(tuple, matrix.tolist()))
        return cls(rows=rows, shape=shape, noise=GaussianNoise() if noise is None else noise)

    def __attrs_post_init__(self) -> None:
        n = len(self.rows[0])
        _shape_of(n, self.shape)
        if self.shape and math.prod(self.shape) != n:
            raise SpecError(f"a matrix of {n} columns does not act on states of shape {self.shape}", path="shape")

    @property
    def event(self) -> tuple[int, ...]:
        """One state's shape."""
        return self.shape or (len(self.rows[0]),)

    @property
    def measured(self) -> tuple[int, ...]:
        """``(M,)``."""
        return (len(self.rows),)

    def matrix(self) -> Tensor:
        """The matrix."""
        return torch.tensor(self.rows, dtype=torch.float64)


def _is_matrix(rows: object) -> bool:
    return (
        isinstance(rows, tuple)
        and bool(rows)
        and len({len(row) for row in rows}) == 1
        and bool(rows[0])
        and all(math.isfinite(v) for row in rows for v in row)
    )


@attrs.frozen(kw_only=True)
class CompressedSensing(Dense, SvdOperator):
    """Random projections of whole states: a Gaussian matrix of ``round(ratio N)`` rows, entries ``N(0, 1/N)``.

    So a measurement is about as large as a state's elements, and one std of noise means the same for every ratio.
    """

    shape: tuple[int, ...] = setting((1, 8, 8), "of one state")
    ratio: float = setting(0.25, "numbers measured, as a share of the state's N elements", gt=0, le=1)
    seed: int = setting(0, "of the matrix", ge=0)
    noise: Noise = setting(factory=GaussianNoise, doc="of each number that is measured")

    def __attrs_post_init__(self) -> None:
        _shape_of(math.prod(self.shape), self.shape)

    @property
    def event(self) -> tuple[int, ...]:
        """One state's shape."""
        return self.shape

    @property
    def measured(self) -> tuple[int, ...]:
        """``(M,)``."""
        return (max(1, round(self.ratio * math.prod(self.shape))),)

    def matrix(self) -> Tensor:
        """Drawn row by row, each from a stream of its own: more measurements keep the first ones."""
        n = math.prod(self.shape)
        like = torch.empty(*self.measured, n, dtype=torch.float64)
        return Rng.of(self.seed, len(like)).at("matrix").normal(like) / math.sqrt(n)


@attrs.frozen(kw_only=True)
class Tomography(Dense, SvdOperator):
    """Parallel-beam projections of square images under ``views`` angles, evenly spaced over 180 degrees.

    ``(B, C, size, size)`` to ``(B, C, views, detectors)``. Each pixel's value goes to the two detectors nearest to its
    centre's projection, in linear shares, so each view sums up the whole image; detectors are one pixel apart and
    cover its diagonal. Sums are divided by ``size``: they are means along a side, of the size of the pixels.
    """

    size: int = setting(32, "height and width of an image, in pixels", ge=2, le=64)
    views: int = setting(12, "how many angles; dense sampling takes about pi/2 size", ge=1)
    noise: Noise = setting(factory=GaussianNoise, doc="of each detector in each view")

    @property
    def event(self) -> tuple[int, ...]:
        """``(size, size)``."""
        return (self.size, self.size)

    @property
    def measured(self) -> tuple[int, ...]:
        """``(views, detectors)``."""
        return (self.views, 2 * math.ceil(self.size / math.sqrt(2)) + 2)

    def matrix(self) -> Tensor:
        """The view at angle 0 sums over rows (it has one sum a column)."""
        views, detectors = self.measured
        along = torch.arange(self.size, dtype=torch.float64) - (self.size - 1) / 2
        angle = torch.arange(views, dtype=torch.float64) * torch.pi / views
        cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
        at = (cos * along + sin * along[:, None]).flatten(1) + (detectors - 1) / 2
        low = at.floor()
        out = torch.zeros(views, detectors, self.size**2, dtype=torch.float64)
        for near in (low, low + 1):
            out.scatter_add_(1, near.long()[:, None], (1 - (at - near).abs())[:, None])
        return out.flatten(0, 1) / self.size


def matrix_of(operator: LinearOperator, shape: tuple[int, ...]) -> Tensor:
    """Any linear operator on states of one shape as a matrix ``(M, N)``, float64: its columns are A of the unit states.

    For ``suffuse.testing.inverse.LinearInverse``, which knows the exact posterior, and for ``Matrix.of``.
    """
    units = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return operator.A(units).flatten(1).mT.contiguous()
