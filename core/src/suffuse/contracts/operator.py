"""Measurement operators of inverse problems: ``y = A(x) + noise``.

The names are the field's (deepinv's physics), so that its operators serve as they are.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from suffuse.contracts.part import Part
from suffuse.rng import Rng

__all__ = ["LinearOperator", "Operator"]


class Operator(Part):
    """What a sensor does to data. The noise is a part of its own."""

    kind = "operator"

    @abstractmethod
    def A(self, x: Tensor) -> Tensor:
        """The noiseless measurement of each row, differentiable in x."""

    @abstractmethod
    def measure(self, x: Tensor, rng: Rng) -> Tensor:
        """A measurement with noise."""

    @abstractmethod
    def log_likelihood(self, y: Tensor, x: Tensor) -> Tensor:
        """``log p(y | x)`` of each row, ``(B,)``, up to a constant."""


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
