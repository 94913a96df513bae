"""Many independent double wells."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import attrs
import torch
from scipy.integrate import quad
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.target import Target
from suffuse.rng import Rng
from suffuse_energies.vectors import check_vectors, empty

__all__ = ["ManyWell"]


@attrs.frozen(kw_only=True)
class ManyWell(Target):
    """``-E(x) = sum_i (-x_{2i}^4 + 6 x_{2i}^2 + x_{2i}/2 - x_{2i+1}^2/2)``: dim/2 double wells, tilted to the right.

    Noe et al., Boltzmann Generators, 2019, arXiv:1812.01729 (one well), Midgley et al., Flow Annealed Importance
    Sampling Bootstrap, 2023, arXiv:2208.01893 (many). ``log Z`` is by quadrature: dim/2 times that of one pair,
    164.6957 in 32 dimensions.
    """

    dim: int = setting(
        32, "dimensions, an even number", ge=2, check=lambda d: f"expected an even number, got {d}" if d % 2 else None
    )

    @property
    def shape(self) -> tuple[int, ...]:
        """``(dim,)``."""
        return (self.dim,)

    def energy(self, x: Tensor) -> Tensor:
        """The sum over pairs."""
        check_vectors(x, self.dim)
        well, plain = x[:, 0::2], x[:, 1::2]
        square = well.square()
        return (square.square() - 6 * square - well / 2 + plain.square() / 2).sum(1)

    @property
    def log_z(self) -> float:
        """``dim/2 (log int exp(-w^4 + 6 w^2 + w/2) dw + log(2 pi)/2)``."""
        return self.dim / 2 * (_wells().log_z + math.log(2 * math.pi) / 2)

    def sample(self, rng: Rng, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Wells from uniforms of stream ``well`` by the inverse of a tabled distribution function, exact to 1e-6."""
        half = empty(rng, self.dim // 2, torch.float64)
        well = _wells().quantile(rng.at("well").uniform(half))
        return torch.stack([well, rng.at("z").normal(half)], dim=2).flatten(1).to(dtype)


class _Wells(NamedTuple):
    """One well: ``log Z``, and its distribution function on a grid."""

    log_z: float
    grid: Tensor
    cdf: Tensor

    def quantile(self, u: Tensor) -> Tensor:
        """The function's inverse, linear between grid points."""
        grid, cdf = self.grid.to(u.device), self.cdf.to(u.device)
        i = torch.searchsorted(cdf, u, right=True).clamp(1, len(grid) - 1)
        share = (u - cdf[i - 1]) / (cdf[i] - cdf[i - 1])
        return grid[i - 1] + share * (grid[i] - grid[i - 1])


@cache
def _wells() -> _Wells:
    z = sum(quad(lambda w: math.exp(-(w**4) + 6 * w**2 + w / 2), *ends)[0] for ends in ((-5.0, 0.0), (0.0, 5.0)))
    # Beyond +-3.6 lies less than 1e-35 of the mass. Simpson's rule in each cell.
    grid = torch.linspace(-3.6, 3.6, 20_001, dtype=torch.float64)
    middle = (grid[1:] + grid[:-1]) / 2
    ends, centres = ((-(w**4) + 6 * w**2 + w / 2).exp() for w in (grid, middle))
    mass = (ends[1:] + 4 * centres + ends[:-1]) / 6
    cdf = torch.cat([mass.new_zeros(1), mass.cumsum(0)])
    return _Wells(math.log(z), grid, cdf / cdf[-1])
