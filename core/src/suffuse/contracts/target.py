"""Targets of samplers that learn without data: densities known up to their normalising constant."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from suffuse.contracts.part import Part
from suffuse.errors import Unsupported
from suffuse.rng import Rng

__all__ = ["Target"]


class Target(Part):
    """``p(x) = exp(-E(x)) / Z`` on tensors of one shape.

    A target whose ``log Z`` is known says so, and one that can be drawn from exactly overrides ``sample``: by these
    samplers are judged, never trained.
    """

    kind = "target"

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """One state's shape."""

    @abstractmethod
    def energy(self, x: Tensor) -> Tensor:
        """``E(x)`` of each row, ``(B, *shape)`` to ``(B,)``, in nats, in the dtype of x; differentiable."""

    def score(self, x: Tensor) -> Tensor:
        """``-dE/dx``, by automatic differentiation unless a subclass has a form; differentiable where x is."""
        with torch.enable_grad():
            y = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(y).sum(), y, create_graph=x.requires_grad)
        return -slope

    @property
    def log_z(self) -> float | None:
        """``log Z``, or None where it is not known."""
        return None

    def sample(self, rng: Rng, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """One exact draw for each row of ``rng``. Raises ``Unsupported`` for a target that has no sampler."""
        raise Unsupported(f"{type(self).__name__} cannot be sampled exactly")
