"""Measurement operators of inverse problems: ``y = A(x) + noise``.

The names are the field's (deepinv's physics), so that its operators serve as they are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import attrs
from torch import Tensor

from suffuse.contracts.part import Part
from suffuse.rng import Rng
from suffuse.state import expand

__all__ = ["LinearOperator", "Noise", "Operator", "Svd", "SvdOperator"]


class Noise(Part):
    """The law of a measurement y given the noiseless one, independent in each entry."""

    kind = "noise"

    @abstractmethod
    def sample(self, clean: Tensor, rng: Rng) -> Tensor:
        """A measurement for each row of ``clean = A(x)``."""

    @abstractmethod
    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        """``log p(y_j | clean_j)`` of each entry, differentiable in ``clean``."""

    @abstractmethod
    def variance(self, y: Tensor) -> Tensor | float:
        """The variance of each entry as y tells it; a number where it is one for all, 0 without noise."""


class Operator(Part):
    """What a sensor does to states. The noise is a part of its own."""

    kind = "operator"

    noise: Noise

    @abstractmethod
    def A(self, x: Tensor) -> Tensor:
        """The noiseless measurement of each row, differentiable in x."""

    def seen(self, y: Tensor) -> Tensor | float:
        """1 where y holds a measurement, 0 where it is blank; broadcasts to y."""
        return 1.0

    def measure(self, x: Tensor, rng: Rng) -> Tensor:
        """A measurement with noise; 0 where nothing is seen."""
        clean = self.A(x)
        return self.noise.sample(clean, rng) * self.seen(clean)

    def log_likelihood(self, y: Tensor, x: Tensor) -> Tensor:
        """``log p(y | x)`` of each row, ``(B,)``, up to a constant."""
        return (self.noise.log_prob(y, self.A(x)) * self.seen(y)).flatten(1).sum(1)


class LinearOperator(Operator):
    """A linear A with its adjoint; ``<A x, y> = <x, A_adjoint y>``."""

    provides: ClassVar[frozenset[str]] = frozenset({"linear-operator"})

    @abstractmethod
    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose."""

    @abstractmethod
    def A_dagger(self, y: Tensor) -> Tensor:
        """The pseudo-inverse."""

    @abstractmethod
    def prox(self, x: Tensor, y: Tensor, gamma: float | Tensor) -> Tensor:
        """``argmin_z |A z - y|^2 / 2 + |z - x|^2 / (2 gamma)``, gamma a number or ``(B,)``."""


@attrs.frozen(eq=False, kw_only=True)
class Svd:
    """``A = U diag(s) V^T`` without its null space: s ``(R,)`` positive, the columns of U and V orthonormal.

    Coefficients are rows ``(B, R)``, in no particular order: ``V`` and ``V_adjoint`` map them to states and back,
    ``U`` and ``U_adjoint`` to measurements and back. ``x - V(V_adjoint(x))`` is what A does not see of x.
    """

    s: Tensor
    V: Callable[[Tensor], Tensor]
    V_adjoint: Callable[[Tensor], Tensor]
    U: Callable[[Tensor], Tensor]
    U_adjoint: Callable[[Tensor], Tensor]


class SvdOperator(LinearOperator):
    """A linear A whose singular value decomposition is at hand; pseudo-inverse and prox follow from it."""

    provides: ClassVar[frozenset[str]] = frozenset({"svd"})

    @abstractmethod
    def svd(self, x: Tensor) -> Svd:
        """The decomposition for states of the shape, dtype and device of x."""

    def A_dagger(self, y: Tensor) -> Tensor:
        """``V diag(1/s) U^T y``."""
        d = self.svd(self.A_adjoint(y))
        return d.V(d.U_adjoint(y) / d.s)

    def prox(self, x: Tensor, y: Tensor, gamma: float | Tensor) -> Tensor:
        """``x + V (gamma s (U^T y - s V^T x) / (1 + gamma s^2))``."""
        d = self.svd(x)
        seen = d.V_adjoint(x)
        g = expand(gamma, seen)
        return x + d.V(g * d.s * (d.U_adjoint(y) - d.s * seen) / (1 + g * d.s**2))
