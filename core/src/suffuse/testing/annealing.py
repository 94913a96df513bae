"""The normalising constant of a density that can be sampled exactly, from annealed paths in both directions."""

from __future__ import annotations

import math

import torch
from scipy.optimize import brentq
from torch import Tensor

from suffuse.contracts.target import Target
from suffuse.rng import Rng
from suffuse.testing.statistics import Statistic

__all__ = ["bridge_log_z"]


def bridge_log_z(target: Target, *, n: int = 1000, temperatures: int = 200, seed: int = 0) -> Statistic:
    """``log Z`` of a target with exact draws, from its energy and those draws alone.

    n paths go from a Gaussian with the draws' moments to the target through ``q^(1-b) exp(-b E)`` by random-walk
    Metropolis moves, n from exact draws back (Neal, Annealed Importance Sampling, 2001). The works of both estimate
    ``log Z`` by the acceptance ratio, which is efficient and has a known error even where neither direction alone
    would do (Bennett 1976; Shirts et al., Equilibrium Free Energies from Nonequilibrium Measurements Using Maximum-
    Likelihood Methods, 2003).
    """
    rng = Rng.of(seed, n)
    draws = target.sample(rng.at("draws"), dtype=torch.float64).flatten(1)
    mean, std = draws.mean(0), draws.std(0)
    b = torch.linspace(0, 1, temperatures + 1, dtype=torch.float64) ** 2

    def log_q(x: Tensor) -> Tensor:
        return (-0.5 * ((x - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)).sum(1)

    def work(x: Tensor) -> tuple[Tensor, Tensor]:
        q = log_q(x)
        return q, -target.energy(x.view(n, *target.shape)) - q

    def move(x: Tensor, beta: Tensor, rng: Rng) -> Tensor:
        """Proposals of all sizes, from the whole spread down to a hundredth of it: each leaves the law as it is."""
        size = 10.0 ** (-2 * rng.at("size").uniform(x[:, :1]))
        proposal = x + size * std * rng.at("direction").normal(x)
        (q, gap), (q_new, gap_new) = work(x), work(proposal)
        accept = rng.at("accept").exponential(q) > (q + beta * gap) - (q_new + beta * gap_new)
        return torch.where(accept[:, None], proposal, x)

    x = mean + std * rng.at("start").normal(draws)
    forward, backward = (torch.zeros(n, dtype=torch.float64) for _ in range(2))
    for k in range(1, temperatures + 1):
        forward += (b[k] - b[k - 1]) * work(x)[1]
        x = move(x, b[k], rng.at("forward", k))
    x = draws
    for k in range(temperatures, 0, -1):
        backward += (b[k] - b[k - 1]) * work(x)[1]
        x = move(x, b[k - 1], rng.at("backward", k))

    def gap(c: float) -> tuple[Tensor, Tensor]:
        return (forward - c).sigmoid(), (c - backward).sigmoid()

    def excess(c: float) -> float:
        up, down = gap(c)
        return float(up.mean() - down.mean())

    both = torch.cat([forward, backward])
    estimate = float(brentq(excess, float(both.min()) - 1, float(both.max()) + 1, xtol=1e-10))
    up, down = gap(estimate)
    slope = float((up * (1 - up)).mean() + (down * (1 - down)).mean())
    error = math.sqrt((float(up.var()) + float(down.var())) / n) / slope
    return Statistic("log Z", estimate, n, n, standard_error=error)
