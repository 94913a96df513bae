"""The paper's assertions, on laws small enough to list and on a Gaussian, where the soft value is known exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import attrs
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.cosine import Cosine
from suffuse_md4.sampler import Ancestral
from suffuse_md4.schedules import Linear
from suffuse_md4.transformer import Transformer
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.law import Normal
from suffuse.contracts.model import Denoiser
from suffuse.contracts.objective import Batch, Loss, Progress
from suffuse.contracts.part import module
from suffuse.contracts.prediction import Logits
from suffuse.contracts.process import Process, as_time
from suffuse.contracts.reward import Reward
from suffuse.contracts.sampler import Carry
from suffuse.contracts.space import Tokens
from suffuse.contracts.task import Claim, Measure
from suffuse.parts import ToZero, Uniform
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse.testing.discrete import ExactTokens, Joint, chi_square, total_variation, variation_bound
from suffuse.testing.exact import mixture_system
from suffuse.testing.fitting import fit, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import mean_within
from suffuse_svdd.best_of import BestOf
from suffuse_svdd.guidance import Svdd
from suffuse_svdd.regression import ValueRegression
from suffuse_svdd.values import Learned, PosteriorMean, Value

__all__ = ["BeatsBestOf", "Choice", "Gaussian", "LearnedBeatsBestOf", "Tilted"]

_PAPER = "Li et al. 2024, arXiv:2408.08252"
_SYMBOLS = 3
F64 = torch.float64


@attrs.frozen(kw_only=True)
class Places(Reward):
    """The number of 2s at even places and the longest run of 0s: no gradient, and no sum over the places."""

    def value(self, data: State, cond: Condition) -> Tensor:
        """An integer from 0 to the length."""
        assert isinstance(data, Tensor)
        run, longest = torch.zeros(len(data)), torch.zeros(len(data))
        for column in data.unbind(1):
            run = (run + 1) * (column == 0)
            longest = torch.maximum(longest, run)
        return (data[:, ::2] == 2).sum(1) + longest


def place_of(x: Tensor, symbols: int) -> Tensor:
    """The place of sequences ``(B, L)`` in the list of all."""
    place = torch.zeros(len(x), dtype=torch.int64)
    for column in x.unbind(1):
        place = place * symbols + column
    return place


def every_state(length: int) -> Tensor:
    """All sequences of symbols and masks, ``(4^L, L)``."""
    return torch.cartesian_prod(*[torch.arange(_SYMBOLS + 1)] * length)


@module
class Tabled(Denoiser):
    """The exact denoiser of a masked process, whose answer does not depend on the time, looked up."""

    provides: ClassVar[frozenset[str]] = frozenset({"logits"})
    needs: ClassVar[frozenset[str]] = frozenset({"masked"})

    table: Tensor

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Logits:
        """The row of each state."""
        assert isinstance(x_t, Tensor)
        return Logits(value=self.table[place_of(x_t, _SYMBOLS + 1)], x_t=x_t, t=as_time(t))


def token_system(joint: Joint, steps: int, guidance: Guidance | None = None) -> System:
    """Masked diffusion with the exact denoiser, in steps that each reveal several tokens by themselves."""
    process, every = Linear(symbols=_SYMBOLS, eps=0.0), every_state(joint.length)
    exact = ExactTokens(joint=joint)(every, torch.tensor(0.5, dtype=F64), Condition(), process=process)
    sampler = Ancestral(steps=steps, grid=Uniform(), terminal=ToZero())
    space = Tokens(shape=(joint.length,), symbols=_SYMBOLS)
    return System(model=Tabled(table=exact.value), process=process, space=space, sampler=sampler, guidance=guidance)


def selected(p: Tensor, log_weight: Tensor, m: int) -> Tensor:
    """The law of the one chosen by weight w among m draws of each law of ``p (R, N)``.

    ``q(x) = p(x) w(x) m E[1/(w(x) + W_2 + .. + W_m)] = p(x) w(x) m int e^{-u w(x)} E[e^{-u W}]^{m-1} du``.
    """
    z = torch.linspace(-60, 60, 2401, dtype=F64)
    w = (log_weight - log_weight[log_weight.isfinite()].max()).exp()
    laplace = torch.exp(-w[:, None] * z.exp())  # (N, Z)
    kernel = (p @ laplace).pow(m - 1) * z.exp() * (z[1] - z[0])
    return p * w * m * (kernel @ laplace.T)


@attrs.frozen(eq=False, kw_only=True)
class Chain:
    """The unguided sampler as matrices over all states, its soft values, and what follows from them."""

    system: System
    reward: Tensor  # (N,), 0 for states with masks
    moves: tuple[Tensor, ...]  # (N, N) a step
    times: tuple[float, ...]  # where each leads to

    @classmethod
    def of(cls, seed: int, length: int = 3, steps: int = 3) -> Chain:
        """Of a random law of sequences."""
        system, every = token_system(Joint.random(length, _SYMBOLS, seed), steps), every_state(length)
        rng, moves = Rng.of(0, len(every)), []
        for t, s in pairwise(system.points):
            _, info = system.step(system, Carry(x=every, cond=Condition()), t, s, rng)
            assert info.transition is not None
            moves.append(torch.stack([info.transition.log_prob(x.expand_as(every)) for x in every], 1).double().exp())
        reward = torch.where((every < _SYMBOLS).all(1), Places().value(every, Condition()), 0.0).double()
        return cls(system=system, reward=reward, moves=tuple(moves), times=tuple(map(float, system.points[1:])))

    def soft_values(self, alpha: float) -> tuple[Tensor, ...]:
        """``alpha log E[exp(r(x_0)/alpha) | x_s]`` at each step's end, ``(N,)``."""
        values = [self.reward]
        for move in reversed(self.moves[1:]):
            values.append(alpha * (move @ (values[-1] / alpha).exp()).log())
        return tuple(reversed(values))

    def law(self, alpha: float, candidates: int) -> Tensor:
        """That of the guided samples, as a table, by the quadrature of ``selected``."""
        p = torch.zeros(1, len(self.reward), dtype=F64)
        p[0, -1] = 1  # all masks
        for move, value in zip(self.moves, self.soft_values(alpha), strict=True):
            p = p @ selected(move, value / alpha, candidates)
        return p.view((_SYMBOLS + 1,) * round(math.log(len(self.reward), _SYMBOLS + 1)))

    def tilted(self, alpha: float) -> Tensor:
        """``p(x_0) exp(r(x_0)/alpha)``, normalised, with the p of the unguided sampler."""
        p = self.law(alpha, 1)
        tilted = p * (self.reward / alpha).exp().view(p.shape)
        return tilted / tilted.sum()

    def draw(self, n: int, seed: int, *, values: tuple[Tensor, ...], alpha: float, candidates: int) -> Tensor:
        """n guided samples."""
        known = Listed(tables=dict(zip(self.times, values, strict=True)))
        guidance = Svdd(value=known, alpha=alpha, candidates=candidates)
        return cast(Tensor, attrs.evolve(self.system, guidance=guidance).sample(n, seed=seed))


@attrs.frozen(eq=False, kw_only=True)
class Listed(Value):
    """Values by time and state."""

    tables: Mapping[float, Tensor]

    def value(self, system: System, x: State, s: Tensor, cond: Condition, rng: Rng) -> tuple[Tensor, int]:
        """Looked up."""
        assert isinstance(x, Tensor)
        return self.tables[float(s)][place_of(x, _SYMBOLS + 1)], 0


@attrs.frozen(kw_only=True)
class Choice(Claim):
    """The law of what is chosen among few."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "after three steps of masked diffusion with 4 candidates, chosen by exp(v/alpha) for alpha = 0.5, samples have "
        f"the law that the weighted choice gives in closed form (chi-square, p above 1e-4; {_PAPER}, algorithm 1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The p-value of 10000 samples. Sabotaged, the temperature is left out."""
        chain, alpha = Chain.of(seed), 0.5
        values = chain.soft_values(alpha)
        x = chain.draw(10_000, seed, values=values, alpha=1.0 if sabotage else alpha, candidates=4)
        p = chi_square(x, chain.law(alpha, 4)).p_value or 0.0
        return Measure(effect=p - 1e-4, numbers={"p-value": p})


@attrs.frozen(kw_only=True)
class Tilted(Claim):
    """The limit of many candidates."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "with the soft value and 64 candidates samples are those of p(x_0) exp(r(x_0)/alpha), up to the total "
        f"variation that the weighted choice has left, 2 % at most, and that of 5000 draws ({_PAPER})"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The bound less the total variation, or 0.02 less what is left, if that is smaller.

        Sabotaged, the value is the same for all states.
        """
        chain, alpha, n = Chain.of(seed), 0.5, 5000
        values, tilted = chain.soft_values(alpha), chain.tilted(alpha)
        left = {m: total_variation(chain.law(alpha, m), tilted) for m in (1, 4, 16, 64)}
        known = tuple(torch.zeros_like(v) for v in values) if sabotage else values
        x = chain.draw(n, seed, values=known, alpha=alpha, candidates=64)
        found = torch.bincount(place_of(x, _SYMBOLS + 1), minlength=tilted.numel()).view(tilted.shape) / n
        off = total_variation(found, tilted)
        numbers = {f"left by {m} candidates": v for m, v in left.items()} | {"total variation": off}
        bound = variation_bound(tilted, n) + left[64]
        return Measure(effect=min(bound - off, 0.02 - left[64]), numbers=numbers)


_SLOPE = torch.tensor([2.0, 1.0], dtype=F64)


@attrs.frozen(kw_only=True)
class Slope(Value):
    """The soft value of ``r(x) = b x`` up to what depends on s alone: ``g_s b x``, for a chain linear in its states."""

    gains: Mapping[float, float]

    def value(self, system: System, x: State, s: Tensor, cond: Condition, rng: Rng) -> tuple[Tensor, int]:
        """Linear."""
        assert isinstance(x, Tensor)
        return self.gains[float(s)] * (x.double() @ _SLOPE), 0


def gaussian_walk() -> tuple[System, list[tuple[float, float, float]]]:
    """DDIM at eta = 1 on ``N(0, 1/4)``, and of each random step ``(s, g_s, c)``: gain to x_0 and deviation."""
    mixture = GaussianMixture.single(torch.zeros(2), 0.25)
    system = mixture_system(mixture, Cosine(), sampler=Ddim(steps=8, eta=1.0, grid=Uniform(start=0.98)))
    one = Carry(x=torch.ones(1, 2, dtype=F64), cond=Condition())
    found: list[tuple[float, float, float]] = []
    for t, s in pairwise(system.points):
        _, info = system.step(system, one, t, s, Rng.of(0, 1))
        law = info.transition
        mean, std = (law.mean, float(cast(Tensor, law.std))) if isinstance(law, Normal) else (info.x_s, 0.0)
        found.append((float(s), float(cast(Tensor, mean)[0, 0]), std))
    gain, walk = 1.0, []
    for time, factor, std in reversed(found):
        if std:
            walk.append((time, gain, std))
        gain *= factor
    return system, walk


def chosen_mean(slope: float, candidates: int) -> float:
    """The mean of the one chosen among standard normals z by ``exp(slope z)``."""
    z = torch.linspace(-9, 9, 1201, dtype=F64)
    p = (-(z**2) / 2).exp()
    return float(selected(p[None] / p.sum(), slope * z, candidates)[0] @ z)


@attrs.frozen(kw_only=True)
class Gaussian(Claim):
    """Real states."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "with Gaussian steps and a linear reward the mean of the samples is that of the weighted choice in closed "
        f"form, for 2 and 32 candidates, within five standard errors ({_PAPER}, algorithm 1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Five less the worst error, in standard errors, of 5000 samples. Sabotaged, candidates count alike."""
        (system, walk), alpha, norm = gaussian_walk(), 1.0, float(_SLOPE.norm())
        value, worst = Slope(gains={s: g for s, g, _ in walk}), 0.0
        numbers: dict[str, float] = {}
        for m in (2, 32):
            guidance = Svdd(value=value, alpha=math.inf if sabotage else alpha, candidates=m)
            x = attrs.evolve(system, guidance=guidance).sample(5000, seed=seed, dtype=F64)
            shift = sum(g * c * chosen_mean(g * c * norm / alpha, m) for _, g, c in walk)
            along = cast(Tensor, x) @ torch.stack([_SLOPE / norm, torch.tensor([-1.0, 2.0], dtype=F64) / norm], 1)
            within = mean_within(along, torch.tensor([shift, 0.0], dtype=F64))
            worst = max(worst, within.worst)
            numbers |= {f"mean, {m} candidates": float(along[:, 0].mean()), f"closed form, {m} candidates": shift}
        numbers["mean of the tilted law"] = sum((g * c) ** 2 for _, g, c in walk) * norm / alpha
        return Measure(effect=5 - worst, numbers={**numbers, "worst error, in standard errors": worst})


_LENGTH, _STEPS, _SAMPLES = 6, 6, 1000


@cache
def random_chain(seed: int) -> tuple[Joint, System]:
    """A law ``p(x) ~ exp(sum_i W_i[x_i, x_{i+1}])`` with standard normal W, and its unguided system."""
    g = torch.Generator().manual_seed(seed)
    energy = torch.zeros((_SYMBOLS,) * _LENGTH, dtype=F64)
    for i in range(_LENGTH - 1):
        w = torch.randn(_SYMBOLS, _SYMBOLS, generator=g, dtype=F64)
        energy += w.view([_SYMBOLS if d in (i, i + 1) else 1 for d in range(_LENGTH)])
    joint = Joint(energy.flatten().softmax(0).view(energy.shape))
    return joint, token_system(joint, _STEPS)


def told(joint: Joint, name: str, x: Tensor) -> dict[str, float]:
    """Mean reward and mean log-probability of samples under the law itself."""
    reward = float(Places().value(x, Condition()).mean())
    return {f"reward, {name}": reward, f"log p, {name}": float(joint.log_prob(x).mean())}


def arm(system: System, seed: int, guidance: Guidance | None = None) -> Tensor:
    """Samples of one arm."""
    return cast(Tensor, attrs.evolve(system, guidance=guidance).sample(_SAMPLES, seed=seed))


def best_of(system: System, seed: int, n: int) -> Tensor:
    """The baseline's samples."""
    return cast(Tensor, BestOf(reward=Places(), samples=n).run(system, {}, Rng.of(seed, _SAMPLES)).states["samples"])


@attrs.frozen(kw_only=True)
class Elsewhere(Value):
    """Each candidate gets the value of another sample's: what is left of a method without its idea."""

    inner: Value

    def value(self, system: System, x: State, s: Tensor, cond: Condition, rng: Rng) -> tuple[Tensor, int]:
        """Moved on by one row."""
        values, nfe = self.inner.value(system, x, s, cond, rng)
        return values.view(-1, rng.size).roll(1, 1).flatten() if rng.size > 1 else values, nfe


@attrs.frozen(kw_only=True)
class BeatsBestOf(Claim):
    """SVDD-PM."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "on masked diffusion of 6 tokens in 6 steps SVDD-PM with 10 candidates has a higher mean reward than the best "
        f"of 11 samples, as many evaluations, and one higher by 1 than unguided samples ({_PAPER}), over "
        "ten random laws"
    )
    seeds: ClassVar[int] = 10

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smaller of the two differences, of 1000 samples. Sabotaged, values are of other samples' candidates."""
        joint, system = random_chain(seed)
        value: Value = PosteriorMean(reward=Places())
        guided = arm(system, seed, Svdd(value=Elsewhere(inner=value) if sabotage else value))
        soft = arm(system, seed, Svdd(value=value, alpha=0.5))
        numbers = told(joint, "SVDD-PM", guided) | told(joint, "SVDD-PM, alpha 0.5", soft)
        numbers |= told(joint, "best of 11", best_of(system, seed, 11)) | told(joint, "unguided", arm(system, seed))
        ours = numbers["reward, SVDD-PM"]
        effect = min(ours - numbers["reward, best of 11"], ours - numbers["reward, unguided"] - 1)
        return Measure(effect=effect, numbers=numbers)


@attrs.frozen(kw_only=True)
class _Shuffled(ValueRegression):
    """Trajectories get each other's rewards."""

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """As the method's."""
        other = cast(Tensor, state["reward"]).roll(1)
        return ValueRegression.loss(self, player, batch, system, {**state, "reward": other}, rng)


@attrs.frozen(kw_only=True)
class LearnedBeatsBestOf(Claim):
    """SVDD-MC."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "on masked diffusion of 6 tokens in 6 steps SVDD-MC with 10 candidates, its value a small transformer trained "
        "on 2048 unguided samples, has a mean reward higher by 0.1 than the best of 10, with a tenth of its denoiser's "
        f"evaluations ({_PAPER})"
    )
    margin: ClassVar[float] = 0.1

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference, of 1000 samples. Sabotaged, the value is trained on other samples' rewards."""
        joint, system = random_chain(seed)
        with seeded(seed):
            network = Transformer(symbols=_SYMBOLS, shape=(_LENGTH,), width=32, depth=1, heads=2)
        guidance = Svdd(value=Learned(backbone=network, shift=2.5, scale=2.0))
        objective: Any = (_Shuffled if sabotage else ValueRegression)(reward=Places(), trajectories=32, updates=1000)
        trained = attrs.evolve(system, guidance=guidance)
        fit(trained, objective, None, steps=200, batch=64, seed=seed, learning_rate=5e-3, decay=True)
        numbers = told(joint, "SVDD-MC", cast(Tensor, trained.sample(_SAMPLES, seed=seed)))
        numbers |= told(joint, "best of 10", best_of(system, seed, 10)) | told(joint, "unguided", arm(system, seed))
        return Measure(effect=numbers["reward, SVDD-MC"] - numbers["reward, best of 10"], numbers=numbers)
