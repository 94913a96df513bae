"""The paper's assertions, on Gaussian mixtures whose denoising laws are known."""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.linear import Linear
from suffuse_mlp.backbone import Mlp
from suffuse_wgan.latents import Gaussian
from suffuse_wgan.mlp import MlpCritic
from suffuse_wgan.modes import coverage
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Draw, Prediction
from suffuse.contracts.process import Process, as_time
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Measure
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import compare, sliced_wasserstein
from suffuse_ddgan.chain import published
from suffuse_ddgan.critic import StepCritic
from suffuse_ddgan.generator import LatentGenerator
from suffuse_ddgan.objective import DenoisingGan

__all__ = ["Chain", "DrawsAreExact", "FewSteps", "OneStep", "PairLaw"]

_PAPER = "Xiao et al. 2022, arXiv:2112.07804"


def _ring() -> GaussianMixture:
    """Four Gaussians of about unit variance together."""
    return GaussianMixture.ring(4, radius=1.4, std=0.2)


@attrs.frozen(kw_only=True)
class Chain(Claim):
    """The published schedule."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "for T = 1 ... 8 the published betas of T steps, multiplied up, and the posterior with their coefficients, are "
        f"those of ddpm/linear with the rates of published() at k/T ({_PAPER}, section 3 and its code)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest error of ``A_k``, and of the posterior's mean and variance; tolerance 1e-10.

        Sabotage leaves out the chain's offset of 1e-3.
        """
        process = Linear() if sabotage else published()
        x_t, x0 = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        worst = 0.0
        for T in range(1, 9):
            u = 1e-3 + (1 - 1e-3) * torch.arange(T + 1, dtype=torch.float64) / T
            a = torch.exp(-0.5 * u**2 * (20 - 0.1) - u * 0.1)
            beta = 1 - a[1:] / a[:-1]
            A = torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])
            for k in range(1, T + 1):
                t, s = as_time(k / T), as_time((k - 1) / T)
                b = beta[k - 1]
                mean = b * A[k - 1].sqrt() / (1 - A[k]) * x0 + (1 - A[k - 1]) * (1 - b).sqrt() / (1 - A[k]) * x_t
                law = process.posterior(x_t, x0, t, s)
                errors = [
                    process.scalars(t)[0] ** 2 - A[k],
                    (law.mean - mean).abs().max(),  # type: ignore[operator]
                    torch.as_tensor(law.std) ** 2 - b * (1 - A[k - 1]) / (1 - A[k]),
                ]
                worst = max(worst, *(abs(float(e)) for e in errors))
        return Measure(effect=1e-10 - worst, numbers={"error": worst})


@attrs.frozen(kw_only=True)
class PairLaw(Claim):
    """What the discriminator takes for real."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "given x_0, the objective's pair (x_s, x_t) has the means, variances and covariance of two neighbours on one "
        f"path: alpha_s, alpha_t, sigma_s^2, sigma_t^2 and alpha_ts sigma_s^2 ({_PAPER}, section 3.2)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """6 standard errors less the largest deviation in them, over 20000 pairs, T = 4.

        Sabotage pairs each x_t with the parent of another one at the same step.
        """
        n, T = 20_000, 4
        process = published()
        x0 = torch.full((n, 1), 0.7, dtype=torch.float64)
        critic = MlpCritic(shape=(1,), width=2, depth=1)
        pair = DenoisingGan(critic=critic, T=T).pair(x0, process, Rng.of(seed, n))
        worst = 0.0
        for k in range(1, T + 1):
            at = (pair.t * T - k).abs() < 1e-9
            t, s = as_time(k / T), as_time((k - 1) / T)
            (a_t, s_t), (a_s, s_s) = process.scalars(t), process.scalars(s)
            x_s, x_t = pair.x_s[at, 0] - a_s * 0.7, pair.x_t[at, 0] - a_t * 0.7
            x_s = x_s.roll(1) if sabotage else x_s
            terms = {"mean": (x_t, 0.0), "square": (x_t**2, s_t**2), "joint": (x_s * x_t, a_t / a_s * s_s**2)}
            for value, expected in terms.values():
                error = value.std() / math.sqrt(len(value)) + 1e-12
                worst = max(worst, float((value.mean() - expected).abs() / error))
        return Measure(effect=6 - worst, numbers={"standard errors": worst})


@module
class _ExactDraws(Denoiser):
    """Exact draws from ``p(x_0 | x_t)`` of a mixture."""

    provides: ClassVar[frozenset[str]] = frozenset({"draw"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    mixture: GaussianMixture

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Draw:
        assert isinstance(process, Linear) and isinstance(x_t, Tensor) and rng is not None  # noqa: PT018
        law = self.mixture.posterior(x_t, *process.scalars(t))
        u, z = rng.at("component").uniform(x_t[:, :1]), rng.at("noise").normal(x_t)
        return Draw(value=law.transform(u, z[:, None])[:, 0], x_t=x_t, t=t)


@attrs.frozen(kw_only=True)
class DrawsAreExact(Claim):
    """Why a random x_0 allows long steps."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "two ancestral steps with exact draws of x_0 give the data's law, since q(x_s | x_t) is the mean of "
        f"q(x_s | x_t, x_0) over p(x_0 | x_t); with the exact mean of x_0 they do not ({_PAPER}, section 3.1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The p-value of a permutation test on 400 samples less 1e-3, and sabotage takes the mean.

        The chain starts from q(x_1), not from the prior, which differs from it.
        """
        ring, process, n = _ring(), published(), 400
        sampler = Ancestral(steps=2, variance="small")
        drawn = System(model=_ExactDraws(mixture=ring), process=process, space=Euclidean(shape=(2,)), sampler=sampler)
        system = mixture_system(ring, process, sampler=sampler) if sabotage else drawn
        start = process.corrupt(truth(ring, n, seed), as_time(1.0), rng=Rng.of(seed + 100, n)).x_t
        x = system.sample(start=start, seed=seed, dtype=torch.float64)
        assert isinstance(x, Tensor)
        p = compare(x, truth(ring, n, seed + 200), "energy", permutations=1999, seed=seed).p_value or 0.0
        return Measure(effect=p - 1e-3, numbers={"p-value": p})


@module
class _Averaged(Denoiser):
    """The mean of a random denoiser's draws: what is left of it as a Gaussian step."""

    provides: ClassVar[frozenset[str]] = frozenset({"draw"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    inner: Denoiser = setting(doc="the random one")
    draws: int = setting(32, "draws")

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Prediction:
        assert isinstance(x_t, Tensor) and rng is not None  # noqa: PT018
        many = self.inner(x_t.repeat(self.draws, 1), t, cond, process=process, rng=rng.repeat(self.draws))
        return Draw(value=many.x0.view(self.draws, *x_t.shape).mean(0), x_t=x_t, t=t)


@cache
def _trained(seed: int, T: int) -> System:
    """200 steps of 256 pairs. So few want a fast discriminator without momentum, held by a penalty at every step."""
    with seeded(seed):
        backbone = Mlp(shape=(10,), outputs=2, width=64, depth=1, frequencies=8)
        model = LatentGenerator(backbone=backbone, latent=Gaussian(dim=4), T=T, width=8, depth=0, output="linear")
        critic = StepCritic(critic=MlpCritic(shape=(4 + T,), width=64, depth=3, slope=0.2), T=T)
    system = System(model=model, space=Euclidean(shape=(2,)), sampler=Ancestral(steps=T, variance="small"))
    objective = DenoisingGan(critic=critic, T=T, gamma=0.2, lazy=1, critic_rate=2.0, betas=(0.0, 0.9))
    data = rows_of(truth(_ring(), 4000, seed).float())
    settings = {"steps": 200, "batch": 256, "learning_rate": 4e-3, "clip": math.inf, "decay": True, "ema": 0.95}
    fit(system, objective, data, seed=seed, **settings)  # type: ignore[arg-type]
    return system


def _distance(system: System, seed: int) -> dict[str, float]:
    """Sliced W1 to the ring from 1000 samples, modes reached and the share near a mode."""
    x = system.sample(1000, seed=seed + 1000)
    assert isinstance(x, Tensor)
    found = coverage(x, _ring())
    true = truth(_ring(), 1000, seed + 2000)
    distance = sliced_wasserstein(x.double(), true, order=1, directions=32, groups=2).value
    return {"distance": distance, "modes": float(found.modes), "near": found.quality}


@attrs.frozen(kw_only=True)
class FewSteps(Claim):
    """Two long steps."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "two steps of a denoising diffusion GAN end less than half as far (sliced W1) from a ring of four Gaussians as "
        f"two Gaussian steps of the same process with the exact mean of x_0 ({_PAPER}, sections 1 and 5.2)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """0.5 less the ratio of distances. Sabotage takes the mean of 32 of the generator's draws for x_0."""
        system = _trained(seed, 2)
        ours = attrs.evolve(system, model=_Averaged(inner=system.model), process=system.process) if sabotage else system
        gaussian = mixture_system(_ring(), published(), sampler=Ancestral(steps=2, variance="small"))
        a, b = _distance(ours, seed), _distance(gaussian, seed)
        numbers = {**a, **{f"Gaussian {k}": v for k, v in b.items()}}
        return Measure(effect=0.5 - a["distance"] / b["distance"], numbers=numbers)


@attrs.frozen(kw_only=True)
class OneStep(Claim):
    """Against a plain GAN."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "two steps come nearer to a ring of four Gaussians (sliced W1) than one, which is a conditional GAN from "
        f"x_1, trained as long ({_PAPER}, table 2)"
    )
    does_not_hold: ClassVar[str] = (
        "on rings of four and of eight Gaussians the plain GAN reaches all modes too, and has one law to learn in its "
        "steps instead of two: mode collapse, which the paper's images have, does not show in two dimensions"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference of distances, one step less two. Sabotage takes one step of another seed for the two."""
        ours = _distance(_trained(seed + 1, 1), seed) if sabotage else _distance(_trained(seed, 2), seed)
        one = _distance(_trained(seed, 1), seed)
        numbers = {**ours, **{f"one step {k}": v for k, v in one.items()}}
        return Measure(effect=one["distance"] - ours["distance"], numbers=numbers)
