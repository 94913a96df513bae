"""A Gaussian."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.target import Target
from suffuse.rng import Rng
from suffuse_energies.vectors import check_vectors, empty

__all__ = ["Gaussian"]


@attrs.frozen(kw_only=True)
class Gaussian(Target):
    """``E(x) = |x - mean|^2 / (2 std^2)``, so ``log Z = dim/2 log(2 pi std^2)``."""

    dim: int = setting(2, "dimensions", ge=1)
    mean: float = setting(0.0, "the mean of each coordinate", gt=float("-inf"), lt=float("inf"))
    std: float = setting(1.0, "the standard deviation of each coordinate", gt=0, lt=float("inf"))

    @property
    def shape(self) -> tuple[int, ...]:
        """``(dim,)``."""
        return (self.dim,)

    def energy(self, x: Tensor) -> Tensor:
        """``|x - mean|^2 / (2 std^2)``."""
        check_vectors(x, self.dim)
        return ((x - self.mean) / self.std).square().sum(1) / 2

    @property
    def log_z(self) -> float:
        """In closed form."""
        return self.dim / 2 * math.log(2 * math.pi * self.std**2)

    def sample(self, rng: Rng, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """``mean + std z``; stream ``z``."""
        return self.mean + self.std * rng.at("z").normal(empty(rng, self.dim, dtype))
