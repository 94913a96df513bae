"""What is known of the targets and of the estimates."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.target import Target
from suffuse.contracts.task import Claim, Measure
from suffuse.rng import Rng
from suffuse_energies.estimates import importance_log_z, lower_bound
from suffuse_energies.funnel import Funnel
from suffuse_energies.gaussian import Gaussian
from suffuse_energies.lattice import Lattice
from suffuse_energies.many_well import ManyWell
from suffuse_energies.wasserstein import wasserstein2

__all__ = ["LogZ", "Tightening", "Transport"]

F64 = torch.float64


def _normal(x: Tensor, mean: float | Tensor, std: float | Tensor) -> Tensor:
    std = torch.as_tensor(std, dtype=F64)
    return -0.5 * ((x - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)


def _wide(target: Target, rng: Rng) -> tuple[Tensor, Tensor]:
    """Draws from a law that covers the target closely, and their log-density."""
    z = rng.at("z").normal(torch.empty(rng.size, *target.shape, dtype=F64))
    if isinstance(target, Funnel):  # its own factors, widened
        v = 1.2 * target.std * z[:, :1]
        s = 1.2 * (v / 2).exp()
        log_q = _normal(v, 0.0, 1.2 * target.std).sum(1) + _normal(s * z[:, 1:], 0.0, s).sum(1)
        return torch.cat([v, s * z[:, 1:]], 1), log_q
    if isinstance(target, ManyWell):  # two Gaussians in each well's coordinate
        right = rng.at("side").uniform(z[:, 0::2]) < 0.8
        well = torch.where(right, 1.75, -1.70) + 0.26 * z[:, 0::2]
        sides = [_normal(well, 1.75, 0.26) + math.log(0.8), _normal(well, -1.70, 0.26) + math.log(0.2)]
        log_q = torch.logaddexp(*sides).sum(1) + _normal(z[:, 1::2], 0.0, 1.0).sum(1)
        return torch.stack([well, z[:, 1::2]], 2).flatten(1), log_q
    std = 9.0 if isinstance(target, Lattice) else 1.3 * target.std if isinstance(target, Gaussian) else 1.0
    return std * z, _normal(std * z, 0.0, std).sum(1)


@attrs.frozen(kw_only=True)
class LogZ(Claim):
    """Every target's constant."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "log Z of the Gaussian, the mixture of 25, Neal's funnel and the 32-dimensional many-well is what importance "
        "sampling from a close wider law estimates, within five standard errors"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Five less the largest error of ``mean w / Z - 1`` in standard errors, of 20,000 weights.

        Sabotaged, the constant of a well's Gaussian coordinate is left out.
        """
        numbers = {}
        for target in (Gaussian(dim=3, std=0.7), Lattice(), Funnel(), ManyWell()):
            x, log_q = _wide(target, Rng.of(seed, 20_000).at(type(target).__name__))
            known = target.log_z
            assert known is not None
            if sabotage and isinstance(target, ManyWell):
                known -= target.dim / 4 * math.log(2 * math.pi)
            w = (-target.energy(x) - log_q - known).exp()
            numbers[type(target).__name__] = float((w.mean() - 1).abs() / (w.std() / math.sqrt(len(w))))
        return Measure(effect=5 - max(numbers.values()), numbers=numbers)


@attrs.frozen(kw_only=True)
class Tightening(Claim):
    """More weights, a tighter bound."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "for a Gaussian q the mean log-weight is log Z - KL(q || p), and the mean of log mean w over blocks of 1, 10, "
        "100 and 1000 weights rises to log Z (Burda et al. 2016, arXiv:1509.00519, theorem 1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Within five standard errors of the KL, and rising; sabotaged, weights of the reverse ratio."""
        target, std, n = Gaussian(dim=4), 0.7, 100_000
        x = std * Rng.of(seed, n).at("z").normal(torch.empty(n, 4, dtype=F64))
        log_w = -target.energy(x) - _normal(x, 0.0, std).sum(1)
        log_w = 2 * target.log_z - log_w if sabotage else log_w
        bounds = [float(importance_log_z(log_w, block=b)) - target.log_z for b in (1, 10, 100, 1000)]
        divergence = 4 * (-math.log(std) + (std**2 - 1) / 2)
        off = float((lower_bound(log_w) - target.log_z + divergence).abs() / (log_w.std() / math.sqrt(n)))
        rises = min(b - a for a, b in pairwise(bounds))
        numbers = {f"bound of {10**i}, less log Z": b for i, b in enumerate(bounds)} | {"KL, in standard errors": off}
        return Measure(effect=min(5 - off, rises), numbers=numbers)


@attrs.frozen(kw_only=True)
class Transport(Claim):
    """Translations."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "W_2 of a sample and its translation by v, rows shuffled, is |v| (convexity of the square)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The relative error for 300 points; sabotaged, rows are matched as they come."""
        x = Lattice().sample(Rng.of(seed, 300), dtype=F64)
        v = torch.tensor([3.0, -1.0], dtype=F64)
        y = (x + v)[Rng.of(seed, 1).at("shuffle").permutation(300)[0]]
        found = float((x - y).square().sum(1).mean().sqrt()) if sabotage else wasserstein2(x, y)
        error = abs(found / float(v.norm()) - 1)
        return Measure(effect=1e-9 - error, numbers={"relative error": error})
