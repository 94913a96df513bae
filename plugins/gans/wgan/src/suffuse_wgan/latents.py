"""Laws of latent vectors."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Law, Normal
from suffuse.contracts.model import Latent
from suffuse.contracts.part import setting
from suffuse.errors import SpecError
from suffuse.rng import Rng
from suffuse.state import State

__all__ = ["Box", "Gaussian", "Uniform", "dim_of"]


@attrs.frozen(eq=False)
class Box(Law):
    """Independent uniforms on ``[low, high)``, of the shape of ``like`` ``(B, *event)``."""

    like: Tensor
    low: float
    high: float

    def sample(self, rng: Rng) -> Tensor:
        """``low + (high - low) u``."""
        return self.low + (self.high - self.low) * rng.uniform(self.like)

    def log_prob(self, x: State) -> Tensor:
        """``-D log(high - low)`` inside, -inf outside."""
        assert isinstance(x, Tensor)
        flat = x.flatten(1)
        inside = ((flat >= self.low) & (flat < self.high)).all(1)
        return torch.where(inside, -flat.shape[1] * math.log(self.high - self.low), -math.inf)


@attrs.frozen(kw_only=True)
class Gaussian(Latent):
    """``z ~ N(0, I)``, ``(B, dim)``."""

    dim: int = setting(100, "numbers in a latent", ge=1)

    def law(self, n: int, *, dtype: torch.dtype, device: torch.device | str) -> Normal:
        """n standard normal vectors."""
        return Normal(torch.zeros(n, self.dim, dtype=dtype, device=device), 1.0)


@attrs.frozen(kw_only=True)
class Uniform(Latent):
    """``z ~ U[low, high)^dim``."""

    dim: int = setting(100, "numbers in a latent", ge=1)
    low: float = setting(-1.0, "the least value")
    high: float = setting(1.0, "above the greatest value")

    def __attrs_post_init__(self) -> None:
        if not self.low < self.high:
            raise SpecError(f"low must be below high, got {self.low} and {self.high}")

    def law(self, n: int, *, dtype: torch.dtype, device: torch.device | str) -> Box:
        """n vectors of independent uniforms."""
        return Box(torch.zeros(n, self.dim, dtype=dtype, device=device), self.low, self.high)


def dim_of(latent: Latent) -> int:
    """How many numbers a vector latent has. Raises ``SpecError`` for one without a setting ``dim``."""
    dim = getattr(latent, "dim", None)
    if not isinstance(dim, int):
        raise SpecError(f"expected a latent of vectors, with a setting dim, got {type(latent).__name__}")
    return dim
