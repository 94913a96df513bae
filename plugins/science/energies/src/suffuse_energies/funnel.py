"""Neal's funnel."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.target import Target
from suffuse.rng import Rng
from suffuse_energies.vectors import check_vectors, empty

__all__ = ["Funnel"]


@attrs.frozen(kw_only=True)
class Funnel(Target):
    """``x_0 ~ N(0, std^2)``, ``x_i | x_0 ~ N(0, exp(x_0))`` for the other coordinates; ``log Z = 0``.

    Neal, Slice Sampling, 2003, section 8, with ``std = 3``. Two variants are in use, and numbers of one say nothing of
    the other: 3 is Neal's and that of Sendera et al. (arXiv:2402.05098, "hard" in their code), 1 the easier one of
    their code and of earlier papers on learned samplers.
    """

    dim: int = setting(10, "dimensions, the first of which is the log-variance of the others", ge=2)
    std: float = setting(3.0, "standard deviation of the first coordinate: 3, or 1 for the easy variant", gt=0, le=5)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(dim,)``."""
        return (self.dim,)

    def energy(self, x: Tensor) -> Tensor:
        """``-log N(x_0; 0, std^2) - sum_i log N(x_i; 0, exp(x_0))``."""
        check_vectors(x, self.dim)
        v, rest = x[:, 0], x[:, 1:]
        first = (v / self.std).square() / 2 + math.log(self.std)
        others = ((-v).exp() * rest.square().sum(1) + (self.dim - 1) * v) / 2
        return first + others + self.dim / 2 * math.log(2 * math.pi)

    @property
    def log_z(self) -> float:
        """A density: 0."""
        return 0.0

    def sample(self, rng: Rng, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """The first coordinate, then the others; one stream ``z``."""
        z = rng.at("z").normal(empty(rng, self.dim, dtype))
        v = self.std * z[:, :1]
        return torch.cat([v, (v / 2).exp() * z[:, 1:]], dim=1)
