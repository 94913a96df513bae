"""What the paper asserts, on labelled Gaussian mixtures whose conditional and unconditional scores are known."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
import torch

from suffuse.contracts.condition import Condition
from suffuse.contracts.task import Claim, Measure
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, FirstOrder
from suffuse.testing.statistics import energy_distance
from suffuse_cfg.guidance import Cfg

__all__ = ["Departure", "Fidelity", "GuidedScore"]


@attrs.frozen(kw_only=True)
class GuidedScore(Claim):
    """Equation 6 in closed form."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "the guided score is s_u + w (s_c - s_u) for w in {-1, 0, 1, 1.5, 4} at every noise level "
        "(arXiv:2207.12598, equation 6)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest relative error over 64 states at random times; float64, so 1e-9 leaves four digits' room."""
        mixture, process = GaussianMixture.random(dim=3, components=6, seed=seed), Circle()
        rng = Rng.of(seed, 64)
        t = 0.05 + 0.95 * rng.at("t").uniform(torch.empty(64, dtype=torch.float64))
        x = process.corrupt(truth(mixture, 64, seed), t, rng=rng).x_t
        label = rng.at("label").integers(0, 6)
        alpha, sigma = process.scalars(t)
        s_u = mixture.score(x, alpha, sigma)
        rows = zip(label.tolist(), x, alpha, sigma, strict=True)
        s_c = torch.cat([mixture.conditioned(c).score(x_i[None], a, s) for c, x_i, a, s in rows])
        errors = {}
        for w in (-1.0, 0.0, 1.0, 1.5, 4.0):
            system = mixture_system(mixture, process, guidance=Cfg(scale=1.0 if sabotage else w))
            guided = system.denoise(x, t, Condition(label=label)).score
            wanted = s_u + w * (s_c - s_u)
            errors[f"error at w={w:g}"] = float((guided - wanted).abs().max() / wanted.abs().max())
        return Measure(effect=1e-9 - max(errors.values()), numbers=errors)


def _arm(w: float, seed: int) -> tuple[float, float]:
    """Class accuracy and energy distance to the true conditional law at 50 evaluations a sample."""
    mixture = GaussianMixture.ring(4, radius=1.5, std=0.6)
    guidance = Cfg(scale=w)
    steps = 50 if w == 1 else 25  # the guided arm pays two evaluations a step
    system = mixture_system(mixture, Circle(), sampler=FirstOrder(steps=steps), guidance=guidance)
    label = torch.arange(1500) % 4
    x = system.sample(cond=Condition(label=label), seed=seed, dtype=torch.float64)
    correct = mixture.class_log_prob(x).argmax(1) == label
    distances = [energy_distance(x[label == c], truth(mixture.conditioned(c), 1500, seed)).value for c in range(4)]
    return float(correct.double().mean()), sum(distances) / 4


@attrs.frozen(kw_only=True)
class Fidelity(Claim):
    """Guidance trades diversity for fidelity: the gain."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "guidance raises fidelity: with the exact scores of four overlapping classes, more samples at w = 4 than at "
        "w = 1 belong to the class that was asked for, at equal evaluations (arXiv:2207.12598, section 4)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Accuracy of the Bayes classifier at w = 4 less that at w = 1."""
        return _difference(seed, 0, sabotage=sabotage)


@attrs.frozen(kw_only=True)
class Departure(Claim):
    """Guidance trades diversity for fidelity: the price."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "guided samples are not samples of the conditional law: with exact scores their energy distance to it is "
        "larger at w = 4 than at w = 1, at equal evaluations (arXiv:2207.12598, section 3.2 and figure 2)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Energy distance at w = 4 less that at w = 1."""
        return _difference(seed, 1, sabotage=sabotage)


def _difference(seed: int, which: int, *, sabotage: bool) -> Measure:
    arms = {w: _arm(1.0 if sabotage else w, seed) for w in (1.0, 2.0, 4.0)}
    numbers = {f"{name} at w={w:g}": arm[i] for w, arm in arms.items() for i, name in enumerate(("accuracy", "energy"))}
    return Measure(effect=arms[4.0][which] - arms[1.0][which], numbers=numbers)
