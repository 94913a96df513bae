"""What the paper says: the gradients are right, truncation helps, and a gradient beats a policy gradient."""

from __future__ import annotations

import copy
import math
from functools import cache
from itertools import pairwise
from typing import ClassVar, Literal, cast

import attrs
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpo.claims import linear_system, ring_system
from suffuse_ddpo.policy_gradient import ImportanceSampling
from suffuse_ddpo.rewards import Quadratic
from suffuse_digits.classifier import shipped
from suffuse_digits.shipped import EDM
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Objective
from suffuse.contracts.process import Gaussian
from suffuse.contracts.task import Claim, Measure
from suffuse.parts import Uniform
from suffuse.pipeline import Pipeline
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse.testing.fitting import fit
from suffuse_draft.objectives import Draft, DraftLv
from suffuse_draft.rewards import ClassLikelihood

__all__ = ["BeatsPolicyGradient", "Gradient", "LowerVariance", "Truncation"]

_PAPER = "Clark et al. 2023, arXiv:2309.17400"
F64 = torch.float64


def closed_form(system: System, last: int | None, dim: int = 2) -> Tensor:
    """``d/dk E[-|x|^2]`` for ``x0 = k x_t``, k a constant in all but the last steps."""
    process, k = cast(Gaussian, system.process), next(system.model.parameters())
    one, zero = torch.ones(1, 1, dtype=F64), torch.zeros(1, 1, dtype=F64)
    v, steps = torch.ones((), dtype=F64), len(system.points) - 1
    for i, (t, s) in enumerate(pairwise(system.points)):
        a, b = (cast(Tensor, process.posterior(*pair, t, s).mean)[0, 0] for pair in ((one, zero), (zero, one)))
        std = torch.as_tensor(cast(float, process.posterior(one, one, t, s).std))
        acting = k if last is None or i >= steps - last else k.detach()
        v = (a + b * acting) ** 2 * v + std**2
    return torch.autograd.grad(-dim * v, k)[0]


@attrs.frozen(kw_only=True)
class Gradient(Claim):
    """Gradients through sampling."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "for a linear denoiser and a quadratic reward the mean gradients of DRaFT, DRaFT-2 and DRaFT-1 are the closed "
        f"form's, the steps before held constant, within five standard errors ({_PAPER})"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Five less the largest error in standard errors, of 40 batches of 500.

        Sabotaged, the truncated gradients are compared with that of the whole chain.
        """
        system, numbers = linear_system(0.6), {}
        for last in (None, 2, 1):
            objective, slopes = Draft(reward=Quadratic(), last=last), []
            for k in range(40):
                loss = objective.loss("model", None, system, {}, Rng.of(seed, 500).at(k)).per_sample.mean()
                slopes.append(-torch.autograd.grad(loss, list(system.model.parameters()))[0])
            found = torch.stack(slopes)
            exact = closed_form(system, None if sabotage else last)
            numbers[f"last={last}"] = float((found.mean() - exact).abs() / (found.std() / math.sqrt(len(found))))
        return Measure(effect=5 - max(numbers.values()), numbers=numbers)


_POINT = Quadratic(centre=(1.0, 0.0))


@cache
def _on_ring(last: int | None, seed: int) -> float:
    """Mean reward after 40 updates of 64 samples each, by 15 steps of DDIM without noise."""
    base = ring_system()
    sampler = Ddim(steps=15, grid=Uniform(start=0.98))
    system = attrs.evolve(base, model=copy.deepcopy(base.model), sampler=sampler)
    fit(system, Draft(reward=_POINT, last=last), None, steps=40, batch=64, seed=seed, learning_rate=3e-4)
    x = system.sample(2000, seed=10_000 + seed)
    return float(_POINT.value(x, Condition()).mean())


@attrs.frozen(kw_only=True)
class Truncation(Claim):
    """Fewer steps of gradient."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "at 2560 reward queries DRaFT-1 reaches a higher mean reward than the gradient through all 15 steps, on a ring "
        f"of eight Gaussians with minus the squared distance to one mode ({_PAPER})"
    )
    does_not_hold: ClassVar[str] = (
        "gradients through 15 steps of a small network do not explode, as those through 50 of a large one do: the full "
        "chain is better at equal queries, and also at equal network passes (106 updates of DRaFT-1); the gradients "
        "themselves are exact (claim gradient)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference in reward. Sabotaged, both go through all steps, from different seeds."""
        ours = _on_ring(None, (seed + 1) % self.seeds) if sabotage else _on_ring(1, seed)
        full = _on_ring(None, seed)
        return Measure(effect=ours - full, numbers={"DRaFT-1": ours, "DRaFT": full})


def _digits(eta: float = 0.0) -> System:
    """The shipped digits without labels, by 12 steps that are uniform in the time of a variance-preserving process.

    On the network's own grid the last step starts next to zero noise, where it does nothing.
    """
    base = _shipped()
    sampler = Ddim(steps=12, eta=eta, grid=Uniform(start=0.98))
    return attrs.evolve(base, model=copy.deepcopy(base.model), process=Cosine(), guidance=None, sampler=sampler)


@cache
def _shipped() -> System:
    return Pipeline.load(EDM).system


_SEVEN = ClassLikelihood(encoder=shipped(), label=7)


def _on_digits(objective: Objective, system: System, seed: int) -> float:
    """Mean log-probability of a seven over 200 digits, after four updates of 32."""
    fit(system, objective, None, steps=4, batch=32, seed=seed, learning_rate=3e-4)
    with torch.no_grad():
        x = system.sample(200, seed=10_000 + seed)
        return float(_SEVEN.value(x, Condition()).mean())


@cache
def _policy_gradient(seed: int) -> float:
    return _on_digits(ImportanceSampling(reward=_SEVEN, clip=0.003, minibatches=1), _digits(eta=1.0), seed)


@attrs.frozen(kw_only=True)
class LowerVariance(Claim):
    """The same trajectories, a better gradient."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "at one number of trajectories the gradient of DRaFT-LV with two further noisings of each sample has at most "
        f"0.9 of the variance of DRaFT-1's, for two more evaluations than its 12, on digits ({_PAPER})"
    )
    margin: ClassVar[float] = -math.log(0.9)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """log of the ratio of the variances of all weights together, over the same 16 batches of 16 trajectories.

        Sabotaged, no noisings.
        """
        system, variances = _digits(), []
        weights = list(system.model.requires_grad_().parameters())
        for copies in (0, 0 if sabotage else 2):
            objective, found = DraftLv(reward=_SEVEN, copies=copies), []
            for k in range(16):
                loss = objective.loss("model", None, system, {}, Rng.of(seed, 16).at(k)).per_sample.mean()
                slopes = torch.autograd.grad(loss, weights, allow_unused=True)
                found.append(torch.cat([g.flatten() for g in slopes if g is not None]))
            variances.append(float(torch.stack(found).var(0).sum()))
        numbers = {"variance, DRaFT-1": variances[0], "variance, DRaFT-LV": variances[1]}
        return Measure(effect=math.log(variances[0] / variances[1]), numbers=numbers)


@attrs.frozen(kw_only=True, eq=False)
class _Astray(ClassLikelihood):
    """The same numbers, with gradients of the same size that point nowhere: another sample's, with either sign."""

    def value(self, data: State, cond: Condition) -> Tensor:
        """As it is, but for the gradient."""
        x = cast(Tensor, data)
        with torch.enable_grad():
            other = x.detach().roll(1, 0).requires_grad_()
            (slope,) = torch.autograd.grad(super().value(other, cond).sum(), other)
        sign = 1 - 2 * (torch.arange(len(x)) % 2).to(x).view(-1, *[1] * (x.ndim - 1))
        return super().value(x.detach(), cond) + ((x - x.detach()) * sign * slope).flatten(1).sum(1)


@attrs.frozen(kw_only=True)
class BeatsPolicyGradient(Claim):
    """A gradient of the reward is worth more than its values."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "at 128 reward queries DRaFT reaches a higher log-probability of the wished-for class than DDPO, on digits "
        f"with the weights digits/edm and equal sampling steps ({_PAPER})"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference in nats. Sabotaged, the reward's gradient points nowhere."""
        reward = _Astray(encoder=shipped(), label=7) if sabotage else _SEVEN
        ours, theirs = _on_digits(Draft(reward=reward), _digits(), seed), _policy_gradient(seed)
        return Measure(effect=ours - theirs, numbers={"DRaFT": ours, "DDPO": theirs})
