"""Kernels without derivation, the bound's gap, and what learning the matrices is worth."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_ddpm.linear import Linear
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.process import as_time
from suffuse.contracts.task import Claim, Measure
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse_mdm.bound import Elbo
from suffuse_mdm.exact import ExactNoise
from suffuse_mdm.kernel import Multivariate
from suffuse_mdm.presets import cld, vpsde
from suffuse_mdm.process import LearnedSde, LinearSde
from suffuse_mdm.state import Augmented, Lift

__all__ = ["BoundGap", "ClosedForms", "LearnedMixes", "damped_covariance", "end_divergence"]

_PAPER = "Singhal et al. 2023, arXiv:2302.07261"


def damped_covariance(B: Tensor, M: float, v0: float) -> Tensor:
    """Critically damped Langevin's S from ``S_0 = diag(0, v0)`` in closed form (arXiv:2112.07068, appendix B.1)."""
    g = 2 * M**0.5
    grown = torch.expm1(4 * B / g)
    xx = grown - 4 * B / g - 8 * (B / g) ** 2 + 16 * B**2 / g**4 * v0
    xv = 4 * B / g**2 * v0 + 4 * B**2 / g - 8 * B**2 / g**3 * v0
    vv = g**2 / 4 * grown + B * g + v0 * (1 - 2 * B / g) ** 2 - 2 * B**2
    S = torch.stack([torch.stack([xx, xv], -1), torch.stack([xv, vv], -1)], -2)
    return S * torch.exp(-4 * B / g)[..., None, None]


@attrs.frozen(kw_only=True)
class ClosedForms(Claim):
    """The kernels that others derived."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "the automatic kernel of vpsde is that of the VP SDE, and the covariance of cld for any M and v0 is the "
        f"published closed form ({_PAPER}, section 4; arXiv:2112.07068, appendix B.1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """1000 random times; the tolerance is 1e-12. Sabotaged, the auxiliary variable begins at a point."""
        g = torch.Generator().manual_seed(seed)
        t = torch.rand(1000, generator=g, dtype=torch.float64)
        M, v0 = (float(v) for v in torch.rand(2, generator=g) * torch.tensor([3.0, 0.5]) + torch.tensor([0.3, 0.01]))
        process = cld(M=M, v0_variance=0.0 if sabotage else v0)
        _, L = process.moments(t)
        alpha, sigma = Linear(beta_min=0.1, beta_max=10.0).scalars(t)
        mean, spread = (m[:, 0, 0] for m in vpsde().moments(t))
        numbers = {
            "error, cld": float((L @ L.mT - damped_covariance(process.elapsed(t), M, v0)).abs().max()),
            "error, vpsde": float(torch.maximum((mean - alpha).abs(), (spread - sigma).abs()).max()),
        }
        return Measure(effect=1e-12 - max(numbers.values()), numbers=numbers)


def end_divergence(process: Multivariate, mean: Tensor, variance: float) -> Tensor:
    """``KL(p(u_1) || pi)`` in nats for data ``N(mean, variance I)``, differentiable in the process."""
    phi, L = process.moments(as_time(1.0))
    seen, prior = phi[:, :1], process.prior_variances()
    C = (L @ L.mT + variance * seen @ seen.mT) / prior[:, None]
    spread = (C.trace() - process.K - torch.linalg.slogdet(C)[1]) * mean.numel()
    return (spread + (seen.square().T / prior).sum() * mean.double().square().sum()) / 2


def _random_process(seed: int) -> LinearSde:
    """One to three variables that turn and diffuse at random; little time, so that the prior is missed."""
    g = torch.Generator().manual_seed(seed)
    k = 1 + seed % 3
    W, V = torch.randn(2, k, k, generator=g, dtype=torch.float64)
    Q, D = (W - W.T).tolist(), ((V @ V.T + (V @ V.T).T) / 2 + 0.1 * torch.eye(k)).tolist()
    return LinearSde(Q=tuple(map(tuple, Q)), D=tuple(map(tuple, D)), beta_max=1.0)


@attrs.frozen(kw_only=True)
class BoundGap(Claim):
    """What the bound misses."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "with the exact score the bound of Gaussian data exceeds their entropy by KL(p(u_1) || pi) and the decoder's "
        f"log(1 + var/c)/2, for random Q and D of one to three variables ({_PAPER}, section 4)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """20,000 rows of two elements, within five standard errors. Sabotaged, the divergence is left out."""
        n, c, mean = 20_000, 0.3, torch.tensor([1.5, -0.5], dtype=torch.float64)
        process = _random_process(seed)
        model = ExactNoise(mixture=GaussianMixture.single(mean, c))
        system = System(model=model, process=process, space=Augmented(shape=(2,), variables=process.K))
        x = mean + c**0.5 * Rng.of(seed, n).at("data").normal(torch.empty(n, 2, dtype=torch.float64))
        batch = Batch(x=Lift(variables=process.K).encode(x), cond=Condition(), index=torch.arange(n))
        objective = Elbo(t_min=1e-2)
        bits = objective.loss("model", batch, system, {}, Rng.of(seed, n)).per_sample
        phi, L = process.moments(as_time(objective.t_min))
        seen = torch.linalg.solve_triangular(L, phi[:, :1], upper=False).square().sum()
        nats = math.log(2 * math.pi * math.e * c) + float((1 + 1 / (seen * c)).log())
        gap = float(end_divergence(process, mean, c))
        expected = (nats + (0.0 if sabotage else gap)) / (2 * math.log(2))
        off = abs(float(bits.mean()) - expected) / (float(bits.std()) / n**0.5)
        return Measure(effect=5 - off, numbers={"off, in standard errors": off, "divergence": gap})


@attrs.frozen(kw_only=True)
class LearnedMixes(Claim):
    """Learned matrices against critically damped Langevin's, by the gap that the exact score leaves."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "at equal time and equal trace of D, matrices learned for two variables leave less than half the gap "
        f"KL(p(u_1) || pi) of critically damped Langevin diffusion, for B(1) of 1, 2, 3 and 5 ({_PAPER}, section 5)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The least ``log(gap of CLD / (2 gap learned))`` over B.

        Data ``N(m, 0.05)`` with m from U(0.5, 2.5); 150 steps of Adam on the gap itself. Sabotaged, nothing is learned:
        the matrices stay random.
        """
        g = torch.Generator().manual_seed(seed)
        mean = 0.5 + 2 * torch.rand(1, generator=g, dtype=torch.float64)
        numbers = {"mean": float(mean)}
        for B in (1.0, 2.0, 3.0, 5.0):
            fixed = cld(beta_min=B, beta_max=B)
            numbers[f"cld, B = {B:g}"] = float(end_divergence(fixed, mean, 0.05))
            found = self._learned(B, mean, seed, steps=0 if sabotage else 150)
            numbers[f"learned, B = {B:g}"] = float(end_divergence(found, mean, 0.05))
        effect = min(math.log(numbers[f"cld, B = {B}"] / (2 * numbers[f"learned, B = {B}"])) for B in (1, 2, 3, 5))
        return Measure(effect=effect, numbers=numbers)

    @staticmethod
    def _learned(B: float, mean: Tensor, seed: int, *, steps: int) -> LearnedSde:
        with seeded(seed):
            process = LearnedSde(full=True, trace=2.0, beta_min=B, beta_max=B)
        optimizer = torch.optim.Adam(process.parameters(), lr=0.05)
        for _ in range(steps):
            optimizer.zero_grad()
            end_divergence(process, mean, 0.05).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return process.requires_grad_(False)
