"""A reverse chain of T Gaussian steps and the terms of its variational bound."""

from __future__ import annotations

import math
from typing import Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Normal
from suffuse.contracts.process import Gaussian, Process
from suffuse.errors import Unsupported
from suffuse.parts import Range
from suffuse.state import State, combine, leaves, tree_map
from suffuse.system import System
from suffuse_ddpm.decoder import log_level_probability
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.steps import time_of

__all__ = ["LEVELS", "STEPS", "VARIANCE", "ReverseChain", "bits_per_dim", "check_levels", "elements"]

# What the settings mean in the parts that take them.
STEPS = "steps of the chain; by default the process's own, and 1000 for one in continuous time"
VARIANCE = "beta-tilde or beta, of the reverse step"
LEVELS = "levels of discrete data, 256 for bytes; 0 for continuous data, whose last term is a density"


@attrs.frozen(eq=False, kw_only=True)
class ReverseChain:
    """``p(x_{n-1} | x_n) = N(mu(x_n, x0_hat), sigma_n^2 I)`` at the times n/T of any Gaussian process.

    Steps n are int64, ``()`` or ``(B,)``. ``sigma_n^2`` is beta-tilde (``small``) or beta (``large``). At n = 1
    beta-tilde is zero; there, for both, the variance is beta-tilde of the second step, as in the authors' code.
    """

    process: Gaussian
    T: int
    variance: Literal["small", "large"]
    levels: int = 0

    @classmethod
    def of(
        cls, process: Process | None, T: int | None, variance: Literal["small", "large"], levels: int = 0
    ) -> ReverseChain:
        """The chain of T steps; by default the process's own, and 1000 for one in continuous time."""
        if not isinstance(process, Gaussian):
            raise Unsupported("a variational bound of this kind needs a Gaussian process")
        T = T or (process.T if isinstance(process, Discrete) else 1000)
        return cls(process=process, T=T, variance=variance, levels=levels)

    @classmethod
    def of_system(cls, system: System, T: int | None, variance: Literal["small", "large"], levels: int) -> ReverseChain:
        """Likewise; discrete data must be states in [-1, 1], which the codec ``suffuse/range`` makes."""
        if levels and not isinstance(system.codec, Range):
            raise Unsupported(
                f"levels={levels} needs states in [-1, 1]: compose the system with the codec suffuse/range, "
                "or give levels=0 for the density of continuous states"
            )
        return cls.of(system.process, T, variance, levels)

    def times(self, n: Tensor) -> tuple[Tensor, Tensor]:
        """``(n/T, (n - 1)/T)``."""
        return time_of(n, self.T), time_of(n - 1, self.T)

    def std(self, n: Tensor) -> Tensor:
        """``sigma_n``, float64."""
        small = self._posterior_std(n.clamp_min(2))
        if self.variance == "small":
            return small
        return torch.where(n > 1, torch.as_tensor(self.process.transition(*self.times(n)).sigma), small)

    def weight(self, n: Tensor) -> Tensor:
        """What multiplies ``|x_0 - x0_hat|^2`` in the n-th term: the mean's slope in x_0, squared, over 2 sigma_n^2."""
        t, s = self.times(n)
        (_, sigma), (alpha_s, _) = self.process.scalars(t), self.process.scalars(s)
        slope = alpha_s * (torch.as_tensor(self.process.transition(t, s).sigma) / sigma) ** 2
        return slope**2 / (2 * self.std(n) ** 2)

    def term(self, x0: State, estimate: State, n: Tensor) -> Tensor:
        """The n-th term of the bound for each row, in nats.

        ``KL(q(x_{n-1} | x_n, x_0) || p)`` for n > 1, and the decoder's ``-log p(x_0 | x_1)`` at n = 1.
        """
        mean_error = self._sum(tree_map(Tensor.square, combine(1.0, x0, -1.0, estimate)))
        ratio = (self._posterior_std(n.clamp_min(2)) / self.std(n)) ** 2
        spread = (ratio - 1 - ratio.log()) / 2 * elements(x0)
        divergence = self.weight(n).to(mean_error) * mean_error + spread.to(mean_error)
        return torch.where(n.to(mean_error.device) > 1, divergence, self._decoder(x0, estimate))

    def prior_term(self, x0: State, cond: Condition) -> Tensor:
        """``KL(q(x_T | x_0) || p(x_T))`` for each row, in nats."""
        alpha, sigma = self.process.scalars(torch.ones((), dtype=torch.float64))
        prior = self.process.prior(x0, cond)
        if not isinstance(prior, Normal) or isinstance(prior.std, dict):
            raise Unsupported("the bound needs a Gaussian prior with one standard deviation")
        std = torch.as_tensor(prior.std, dtype=torch.float64)
        error = self._sum(tree_map(Tensor.square, combine(alpha, x0, -1.0, prior.mean)))
        ratio = (sigma / std) ** 2
        return error * float(0.5 / std**2) + float((ratio - 1 - ratio.log()) / 2) * elements(x0)

    def _decoder(self, x0: State, estimate: State) -> Tensor:
        std = self.std(torch.ones((), dtype=torch.int64))  # and the mean of the first step is the estimate itself
        if not self.levels:
            return -Normal(estimate, std).log_prob(x0)
        levels = self.levels
        logs = tree_map(lambda x, mean: log_level_probability(x, mean, std.to(mean), levels), x0, estimate)
        return -self._sum(logs)

    def _posterior_std(self, n: Tensor) -> Tensor:
        t, s = self.times(n)
        (_, sigma), (_, sigma_s) = self.process.scalars(t), self.process.scalars(s)
        return torch.as_tensor(self.process.transition(t, s).sigma) * sigma_s / sigma

    @staticmethod
    def _sum(x: State) -> Tensor:
        return torch.stack([v.flatten(1).sum(1) for _, v in leaves(x)]).sum(0)


def elements(x: State) -> int:
    """The number of elements of one sample."""
    return sum(v[0].numel() for _, v in leaves(x))


def bits_per_dim(nats: Tensor, x: State) -> Tensor:
    """Nats a sample as bits an element of x."""
    return nats / (elements(x) * math.log(2))


def check_levels(levels: int) -> str | None:
    """What is wrong with a number of levels, or None."""
    return None if levels == 0 or levels >= 2 else f"expected 0 or at least 2, got {levels}"
