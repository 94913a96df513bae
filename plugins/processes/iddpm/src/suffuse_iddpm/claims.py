"""What the paper says of its variances and its importance sampling."""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.parameterization import Eps
from suffuse_mlp.backbone import Mlp
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Normal
from suffuse.contracts.objective import Batch, Objective
from suffuse.contracts.part import setting
from suffuse.contracts.sampler import Carry
from suffuse.contracts.task import Claim, Measure
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.fitting import seeded
from suffuse.testing.statistics import energy_distance
from suffuse_iddpm.ancestral import Ancestral
from suffuse_iddpm.bound import Bound
from suffuse_iddpm.denoiser import LearnedRange
from suffuse_iddpm.hybrid import Hybrid
from suffuse_iddpm.ring import CHAIN, RING, held, learned, ring_data
from suffuse_iddpm.spaced import Spaced
from suffuse_iddpm.vlb import Vlb

__all__ = [
    "BetterBound",
    "FewSteps",
    "FewStepsAgainstSmall",
    "HeldMean",
    "ImportanceSampling",
    "RespacedRange",
    "SameExpectation",
]

_PAPER = "arXiv:2102.09672"


@attrs.frozen(kw_only=True)
class RespacedRange(Claim):
    """The ends of the range, on sub-sequences."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "v = 1 and v = -1 sample with beta and beta-tilde of the respaced chain, 1 - alpha_bar_t/alpha_bar_s and that "
        f"times (1 - alpha_bar_s)/(1 - alpha_bar_t), for every sub-sequence ({_PAPER}, eqs. 15 and 19)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Relative errors of the variance, by K; sabotaged, the betas are those of the whole chain.

        The model works in float32: about ten roundings of a logarithm of size 20.
        """
        numbers = {}
        signal = torch.cat([torch.ones(1, dtype=torch.float64), CHAIN.alpha_bar])
        for K in (10, 25 + seed, 1000):
            times = Spaced().times(CHAIN, K)
            n, m = CHAIN.step_of(times[:-1]), CHAIN.step_of(times[1:])
            before = signal[n - 1] if sabotage else signal[m]
            beta = 1 - signal[n] / before
            for v, exact in ((1.0, beta), (-1.0, beta * (1 - before) / (1 - signal[n]))):
                law = _law(held(v), times[:-1], times[1:], seed)
                found = torch.as_tensor(law.std).double()[:, 0] ** 2
                numbers[f"K={K}, v={v:g}"] = float((found / exact - 1).abs().max())
        return Measure(effect=2e-5 - max(numbers.values()), numbers=numbers)


def _law(system: System, t: Tensor, s: Tensor, seed: int) -> Normal:
    """The transition from one random state at each time."""
    rng = Rng.of(seed, len(t))
    carry = Carry(x=rng.at("x").normal(torch.empty(len(t), 2)), cond=Condition())
    _, info = Ancestral().step(system, carry, t, s, rng)
    assert isinstance(info.transition, Normal)
    return info.transition


@attrs.frozen(kw_only=True)
class HeldMean(Claim):
    """The stop-gradient of the hybrid."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "the bound inside L_hybrid gives no gradient to the mean, and L_simple none to the variance "
        f"({_PAPER}, section 3.1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Differences to the gradients of the other term alone: zero to the bit. Sabotaged, the bound is the whole one.

        The network's last layer has two rows for the mean and two for v.
        """
        rng = Rng.of(seed, 64)
        with seeded(seed):
            net = Mlp(shape=(2,), width=16, depth=1, frequencies=4, outputs=4)
            torch.nn.init.normal_(net.last.weight)
        model = LearnedRange(model=Preconditioned(backbone=net, parameterization=Eps(), trained=CHAIN))
        system = attrs.evolve(held(0.0), model=model)
        batch = _batch(64, seed)

        def slopes(objective: Objective) -> Tensor:
            net.zero_grad()
            objective.loss("model", batch, system, objective.start(system, rng), rng).per_sample.mean().backward()
            assert net.last.weight.grad is not None
            return net.last.weight.grad.clone()

        simple, both = slopes(Hybrid(levels=0, weight=0.0)), slopes(Hybrid(levels=0))
        if sabotage:
            both = simple + 1e-3 * slopes(Vlb(levels=0, history=0))
        numbers = {
            "in the mean, from the bound": float((both - simple)[:2].abs().max()),
            "in v, from L_simple": float(simple[2:].abs().max()),
        }
        acts = float((both - simple)[2:].abs().max())
        return Measure(effect=1e-12 - sum(numbers.values()) if acts else -1.0, numbers={**numbers, "in v": acts})


def _batch(n: int, seed: int) -> Batch:
    return Batch(x=ring_data(n, seed), cond=Condition(), index=torch.arange(n))


def _estimates(system: System, objective: Vlb, warm: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n one-sample estimates of the bound, after ``warm`` batches of 256 have been seen; and T times the bare terms."""
    with torch.no_grad():
        state = objective.start(system, Rng.of(seed, 1))
        for step in range(warm):
            rng = Rng.of(seed, 256).at("warm", step)
            loss = objective.loss("model", _batch(256, 1000 * seed + step), system, state, rng)
            state = objective.after({**state, **loss.seen}, step + 1, system, rng)
        rng = Rng.of(seed, n).at("estimate")
        loss = objective.loss("model", _batch(n, 1000 * seed + 999), system, state, rng)
    assert isinstance(system.process, Discrete)
    return loss.per_sample.double(), system.process.T * loss.seen["losses"]


def _short(v: float) -> System:
    """The ring under a chain of 50 steps, which is warm after a few batches."""
    return attrs.evolve(held(v), process=Discrete(T=50, schedule="cosine"))


@attrs.frozen(kw_only=True)
class SameExpectation(Claim):
    """Importance sampling is unbiased."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "with steps drawn by importance the loss has the expectation that it has with uniform ones: the bound "
        f"({_PAPER}, eq. 18)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference to the bound by enumeration of all steps, in standard errors; at most five pass.

        Sabotaged, the weights 1/p_n are left out.
        """
        system = _short(0.3)
        weighted, bare = _estimates(system, Vlb(levels=0), 12, 4096, seed)
        found = bare if sabotage else weighted
        data = ring_data(512, 1000 * seed + 998)
        whole = Bound(levels=0).run(system, {"data": data}, Rng.of(seed + 100, 512))
        exact = whole.states["bound"] - whole.metrics["prior"]
        assert isinstance(exact, Tensor)
        error = math.hypot(float(found.std()) / 4096**0.5, float(exact.std()) / 512**0.5)
        off = float((found.mean() - exact.mean()).abs()) / error
        numbers = {"by importance": float(found.mean()), "by enumeration": float(exact.mean()), "off": off}
        return Measure(effect=5 - off, numbers=numbers)


@attrs.frozen(kw_only=True)
class ImportanceSampling(Claim):
    """Importance sampling makes the bound's gradient less noisy."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "drawing steps by the second moment of their latest losses, at one evaluation a sample, halves the variance of "
        f"the bound's estimate against uniform steps ({_PAPER}, section 3.3, figures 2 and 6)"
    )
    margin: ClassVar[float] = math.log(2)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """log of the ratio of variances, uniform over importance; sabotaged, both are uniform."""
        system = _short(0.3)
        plain, _ = _estimates(system, Vlb(levels=0, history=0), 0, 4096, seed)
        drawn, _ = _estimates(system, Vlb(levels=0, history=0 if sabotage else 10), 12, 4096, seed + 50)
        numbers = {"variance, uniform": float(plain.var()), "variance, importance": float(drawn.var())}
        return Measure(effect=math.log(float(plain.var() / drawn.var())), numbers=numbers)


@attrs.frozen(kw_only=True)
class BetterBound(Claim):
    """Learned variances bound the likelihood better than either fixed one."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with few steps the bound with a variance learned by L_hybrid is lower than with beta and with beta-tilde, for "
        f"one mean: by more than 0.1 bits/dim with 25 of 1000 steps on a ring of eight modes ({_PAPER}, section 3.1)"
    )
    margin: ClassVar[float] = 0.1

    steps: int = setting(120, "optimiser steps for v", ge=1)
    walk: int = setting(25, "steps of the chain's sub-sequence", ge=2)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Bits/dim below the better of the two; sabotaged, the bound has no weight in training, so v stays 0."""
        arms = {
            "learned": learned(seed, self.steps, 0.0 if sabotage else 1e-3),
            "beta": held(1.0),
            "beta-tilde": held(-1.0),
        }
        task, inputs = Bound(steps=self.walk, levels=0), {"data": ring_data(512, seed + 100)}
        bits = {name: task.run(arm, inputs, Rng.of(seed, 512)).metrics["bound"] for name, arm in arms.items()}
        return Measure(effect=min(bits["beta"], bits["beta-tilde"]) - bits["learned"], numbers=bits)


@cache
def _distances(seed: int) -> dict[str, float]:
    """Energy distance to the ring of 2000 samples in 10 steps, with the exact mean and three variances."""
    sampler = Ancestral(steps=10, grid=Spaced())
    arms = {
        "exact variance": mixture_system(RING, CHAIN, variance=True, sampler=sampler),
        "beta": attrs.evolve(held(1.0), sampler=sampler),
        "beta-tilde": attrs.evolve(held(-1.0), sampler=sampler),
    }
    found = {}
    for name, arm in arms.items():
        with torch.no_grad():
            x = arm.sample(2000, seed=seed)
        assert isinstance(x, Tensor)
        found[name] = energy_distance(x.double(), truth(RING, 2000, seed + 1000)).value
    return found


@attrs.frozen(kw_only=True)
class FewSteps(Claim):
    """The right variance keeps samples good in few steps."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with 10 of 1000 steps, samples with the variance that L_hybrid learns towards, the exact one, are nearer to "
        f"the data than with the fixed beta ({_PAPER}, section 4, figure 8)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference of energy distances; sabotaged, the variance is beta for both."""
        found = _distances(seed)
        mine = found["beta"] if sabotage else found["exact variance"]
        return Measure(effect=found["beta"] - mine, numbers=found)


@attrs.frozen(kw_only=True)
class FewStepsAgainstSmall(Claim):
    """The same, against beta-tilde."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with 10 of 1000 steps, samples with the exact variance are nearer to the data than with the fixed beta-tilde "
        f"({_PAPER}, section 4, figure 8)"
    )
    does_not_hold: ClassVar[str] = (
        "with an exact mean, eight narrow modes and the cosine schedule, beta-tilde samples as well in 10 steps: the "
        "true law of a long step has several modes, and a Gaussian of their joint variance puts mass between them"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference of energy distances; sabotaged, the variance is beta-tilde for both."""
        found = _distances(seed)
        mine = found["beta-tilde"] if sabotage else found["exact variance"]
        return Measure(effect=found["beta-tilde"] - mine, numbers=found)
