"""Closed forms of the paper, in float64."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Normal
from suffuse.contracts.model import Denoiser
from suffuse.contracts.objective import Batch
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.contracts.sampler import Carry
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Measure
from suffuse.rng import Rng
from suffuse.state import State, combine
from suffuse.system import System
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.chain import ReverseChain
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.linear import Linear
from suffuse_ddpm.simple import Simple
from suffuse_ddpm.vlb import VlbWeight

__all__ = ["Marginals", "MeanFromEps", "UnitGaussian", "WeightedLossIsDivergence"]

# A thousand steps of a few roundings each, in float64.
_ROUNDING = 1e-12


@attrs.frozen(kw_only=True)
class Marginals(Claim):
    """Composed steps have the closed-form marginal."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "steps x_n = sqrt(1 - beta_n) x_{n-1} + sqrt(beta_n) z compose to mean sqrt(alpha_bar_n) x_0 and variance "
        "1 - alpha_bar_n, which the process's kernel gives (arXiv:2006.11239, eq. 4)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Sabotaged, the kernel is that of the continuous limit, off by O(1/T)."""
        chain = Discrete(T=[1000, 100, 4000, 250, 500][seed % 5])
        mean, variance, means, variances = 1.0, 0.0, [], []
        for beta in chain.betas.tolist():
            mean, variance = mean * (1 - beta) ** 0.5, (1 - beta) * variance + beta
            means.append(mean)
            variances.append(variance)
        n = torch.arange(1, chain.T + 1)
        alpha, sigma = (Linear() if sabotage else chain).scalars(chain.time_of(n))
        numbers = {
            "error of the mean": float((alpha - torch.tensor(means, dtype=torch.float64)).abs().max()),
            "error of the variance": float((sigma**2 - torch.tensor(variances, dtype=torch.float64)).abs().max()),
        }
        return Measure(effect=_ROUNDING - max(numbers.values()), numbers=numbers)


@attrs.frozen(kw_only=True)
class MeanFromEps(Claim):
    """The posterior's mean, read from eps."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "mu_tilde(x_n, x0(eps)) = (x_n - beta_n/sqrt(1 - alpha_bar_n) eps)/sqrt(1 - beta_n) for any eps "
        "(arXiv:2006.11239, eqs. 10 and 11)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Sabotaged, the step is taken with the beta of the one before."""
        chain, rng = Discrete(), Rng.of(seed, 999)
        n = torch.arange(2, 1001)
        x, eps = _noise(rng.at("x"), 16), _noise(rng.at("eps"), 16)
        t, s = chain.time_of(n), chain.time_of(n - 1)
        prediction = Mean(value=eps, x_t=x, t=t, process=chain, mix=(0.0, 1.0))
        law = chain.posterior(x, prediction.x0, t, s)
        beta, alpha_bar = chain.betas[n - (2 if sabotage else 1), None], chain.alpha_bar[n - 1, None]
        error = float((law.mean - (x - beta / (1 - alpha_bar).sqrt() * eps) / (1 - beta).sqrt()).abs().max())
        return Measure(effect=_ROUNDING - error, numbers={"error": error})


@attrs.frozen(kw_only=True)
class UnitGaussian(Claim):
    """Data N(0, I)."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "for data N(0, I) L_simple of the exact model is the mean of alpha_bar_n, and ancestral sampling with variance "
        "beta_n keeps variance 1 at every step (arXiv:2006.11239, section 3.2)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """In units of the tolerances: rounding for the variance, five standard errors for the loss.

        Sabotaged, the variance is beta-tilde.
        """
        process = Discrete()
        sampler = Ancestral(variance="small" if sabotage else "large")
        system = System(model=_UnitNoise(), process=process, sampler=sampler, space=Euclidean(shape=(4,)))
        n = torch.arange(2, process.T + 1)
        rng = Rng.of(seed, len(n))
        carry = Carry(x=_noise(rng.at("x"), 4), cond=Condition())
        _, info = sampler.step(system, carry, process.time_of(n), process.time_of(n - 1), rng)
        assert isinstance(info.transition, Normal)
        slope = info.transition.mean / info.x_t
        std = torch.as_tensor(info.transition.std)[:, None]
        variance = float((slope**2 + std**2 - 1).abs().max())
        rng = Rng.of(seed, 4096).at("loss")
        batch = Batch(x=_noise(rng, 4), cond=Condition(), index=torch.arange(4096))
        loss = Simple().loss("model", batch, system, {}, rng).per_sample
        off = float((loss.mean() - process.alpha_bar.mean()).abs() / (loss.std() / 64))
        effect = min(1 - variance / _ROUNDING, 1 - off / 5)
        return Measure(effect=effect, numbers={"error of the variance": variance, "loss off, in standard errors": off})


@attrs.frozen(kw_only=True)
class WeightedLossIsDivergence(Claim):
    """The bound's weight."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "beta_n^2/(2 sigma_n^2 (1 - beta_n) (1 - alpha_bar_n)) |eps - eps_hat|^2 is the divergence of the n-th step's "
        "two Gaussians with a common variance sigma_n^2 (arXiv:2006.11239, eq. 12)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Relative errors, for both choices of sigma_n; sabotaged, the weight is 1."""
        process, numbers = Discrete(), {}
        n = torch.arange(2, process.T + 1)
        rng = Rng.of(seed, len(n))
        t, s = process.time_of(n), process.time_of(n - 1)
        x, eps = _noise(rng.at("x"), 16), _noise(rng.at("eps"), 16)
        guess = eps + 0.1 * _noise(rng.at("guess"), 16)
        means = [
            process.posterior(x, Mean(value=e, x_t=x, t=t, process=process, mix=(0.0, 1.0)).x0, t, s).mean
            for e in (eps, guess)
        ]
        for variance in ("small", "large"):
            std = ReverseChain.of(process, None, variance).std(n)[:, None]
            p, q = (torch.distributions.Normal(mean, std) for mean in means)
            divergence = torch.distributions.kl_divergence(p, q).sum(1)
            weight = VlbWeight(variance=variance).weight(process, t, (0.0, 1.0))
            weighted = (torch.ones_like(weight) if sabotage else weight) * (eps - guess).square().sum(1)
            numbers[f"relative error, {variance}"] = float((weighted / divergence - 1).abs().max())
        # The divergence is the square of a difference of two means: it keeps about half of the digits.
        return Measure(effect=1e-9 - max(numbers.values()), numbers=numbers)


class _UnitNoise(Denoiser):
    """The exact eps for data N(0, I): ``sigma_t x_t``."""

    provides: ClassVar[frozenset[str]] = frozenset({"mean"})

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Mean:
        """Read as eps."""
        assert isinstance(process, Gaussian)
        _, sigma = process.scalars(as_time(t))
        return Mean(value=combine(sigma, x_t, 0.0, x_t), x_t=x_t, t=as_time(t), process=process, mix=(0.0, 1.0))


def _noise(rng: Rng, dim: int) -> Tensor:
    return rng.normal(torch.empty(rng.size, dim, dtype=torch.float64))
