"""Equal Gaussians on a lattice."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.target import Target
from suffuse.rng import Rng
from suffuse_energies.vectors import check_vectors, empty

__all__ = ["Lattice"]


@attrs.frozen(kw_only=True)
class Lattice(Target):
    """``side^dim`` equal Gaussians of one variance, ``spacing`` apart and centred at the origin; ``log Z = 0``.

    The defaults are the mixture of 25 (Zhang and Chen, Path Integral Sampler, 2022, arXiv:2111.15141): means
    ``{-10, -5, 0, 5, 10}^2``, variance 0.3. ``side=3`` is the mixture of nine. Coordinates are independent, so the
    energy is a sum of one-dimensional ones: no sum over all modes.
    """

    dim: int = setting(2, "dimensions", ge=1)
    side: int = setting(5, "means on each axis", ge=1)
    spacing: float = setting(5.0, "distance of neighbouring means", gt=0, lt=float("inf"))
    variance: float = setting(0.3, "variance of each mode", gt=0, lt=float("inf"))

    @property
    def shape(self) -> tuple[int, ...]:
        """``(dim,)``."""
        return (self.dim,)

    def axis(self, like: Tensor) -> Tensor:
        """The means' coordinates, ``(side,)``."""
        steps = torch.arange(self.side, dtype=like.dtype, device=like.device)
        return self.spacing * (steps - (self.side - 1) / 2)

    def energy(self, x: Tensor) -> Tensor:
        """``-sum_d log (1/side) sum_k N(x_d; m_k, variance)``."""
        check_vectors(x, self.dim)
        exponents = -((x[..., None] - self.axis(x)) ** 2) / (2 * self.variance)
        constant = math.log(self.side) + math.log(2 * math.pi * self.variance) / 2
        return (constant - exponents.logsumexp(-1)).sum(1)

    @property
    def log_z(self) -> float:
        """A density: 0."""
        return 0.0

    def modes(self, x: Tensor) -> Tensor:
        """The index of each row's nearest mean, in [0, side^dim), and -1 beyond three standard deviations of it."""
        place = (x / self.spacing + (self.side - 1) / 2).round().clamp(0, self.side - 1)
        near = ((x - self.spacing * (place - (self.side - 1) / 2)) ** 2).sum(1) <= 9 * self.variance
        powers = self.side ** torch.arange(self.dim, device=x.device)
        return torch.where(near, (place.long() * powers).sum(1), -1)

    def sample(self, rng: Rng, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """A mean by streams ``mode``, and noise of stream ``z``."""
        like = empty(rng, self.dim, dtype)
        mean = self.axis(like)[rng.at("mode").integers(0, self.side, self.dim)]
        return mean + math.sqrt(self.variance) * rng.at("z").normal(like)
