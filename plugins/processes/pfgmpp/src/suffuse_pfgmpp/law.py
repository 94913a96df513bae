"""The multivariate Student law: a Gaussian whose scale is random, one draw for each sample."""

from __future__ import annotations

import math

import attrs
import torch
from scipy.special import gammaincinv
from torch import Tensor

from suffuse.contracts.law import Law
from suffuse.rng import Rng
from suffuse.state import State, combine, leaves, promote

__all__ = ["StudentT", "student"]


def student(like: State, D: float, rng: Rng) -> State:
    """``g sqrt(D/c)``, g standard normal over all elements of a sample, ``c ~ chi^2_D`` one number for each.

    The streams of g are those of Gaussian noise, so that the limit of large D is that noise itself. c comes from the
    stream ``radius`` by inversion in float64.
    """
    g = {name: rng.at(name).normal(promote(v)) for name, v in leaves(like)}
    first = next(iter(g.values()))
    u = rng.at("radius").uniform(torch.empty(len(first), dtype=torch.float64, device=rng.device), open_interval=True)
    c = torch.from_numpy(2 * gammaincinv(D / 2, u.cpu().numpy())).to(first.device)
    eps: State = g[""] if isinstance(like, Tensor) else g
    return combine((D / c).sqrt(), eps, 0.0, eps)


@attrs.frozen(eq=False, kw_only=True)
class StudentT(Law):
    """``mean + std eps`` with D degrees of freedom: density ``~ (1 + |x - mean|^2/(D std^2))^-((N+D)/2)``.

    With ``r = std sqrt(D)`` this is the kernel ``1/(|x - mean|^2 + r^2)^((N+D)/2)`` of arXiv:2302.04265, equation 6.
    ``std`` is ``()`` or ``(B,)``.
    """

    mean: State
    std: Tensor
    D: float

    def sample(self, rng: Rng) -> State:
        """One draw for each row."""
        return combine(1.0, self.mean, self.std, student(self.mean, self.D, rng))

    def log_prob(self, x: State) -> Tensor:
        """In nats, over all elements of a sample."""
        offset = combine(1.0, x, -1.0, self.mean)
        squares = torch.cat([v.flatten(1).double().square() for _, v in leaves(offset)], 1)
        n, std = squares.shape[1], self.std.to(squares)
        norm = math.lgamma((n + self.D) / 2) - math.lgamma(self.D / 2) - n / 2 * math.log(math.pi * self.D)
        tail = torch.log1p(squares.sum(1) / (self.D * std**2))
        logs = norm - n * std.log() - (n + self.D) / 2 * tail
        return logs.to(next(promote(v).dtype for _, v in leaves(self.mean)))
