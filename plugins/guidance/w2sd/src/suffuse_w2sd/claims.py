"""What the paper asserts, on pairs of modes whose weights the strong and the weak model have wrong."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import attrs
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.linear import Linear
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.sampler import Carry
from suffuse.contracts.task import Claim, Measure
from suffuse.rng import Rng
from suffuse.testing.exact import ExactDenoiser, mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse_w2sd.reflection import Reflection

__all__ = ["Displacement", "Roles", "TowardsTheData", "WrongProxy"]

_PAPER = "Bai et al. 2025, arXiv:2502.00473"


def _modes(*weights: float) -> GaussianMixture:
    """Modes of standard deviation 0.3 at -2, 2 and, where there are three, 0."""
    means = [-2.0, 2.0, 0.0][: len(weights)]
    return GaussianMixture(
        weights=torch.tensor(weights, dtype=torch.float64),
        means=torch.tensor(means, dtype=torch.float64)[:, None],
        covariances=torch.tensor(0.09, dtype=torch.float64).expand(len(weights)),
    )


def _masses(
    strong: GaussianMixture, guidance: Reflection | None, seed: int, *, steps: int = 50, samples: int = 2000
) -> Tensor:
    """The shares of the samples that are nearest to each mode, and the evaluations of one sample."""
    spent = []
    system = mixture_system(strong, Linear(), sampler=Ddim(steps=steps), guidance=guidance)
    x = cast(
        Tensor,
        system.sample(samples, seed=seed, dtype=torch.float64, on_step=lambda _, info: spent.append(info.nfe)),
    )
    nearest = (x - strong.means[:, 0]).abs().argmin(1)
    return torch.cat([torch.bincount(nearest, minlength=len(strong.means)) / samples, torch.tensor([sum(spent)])])


def _by(weak: GaussianMixture, reflected: int | None = None) -> Reflection:
    return Reflection(weak=ExactDenoiser(mixture=weak), reflected=reflected)


@attrs.frozen(kw_only=True)
class Displacement(Claim):
    """One reflection, against its closed form."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "a reflection adds (sigma_t - sigma_s alpha_t/alpha_s) (eps_weak(y) - eps_strong(x)) to the state, and nothing "
        f"where the weak model answers what the strong one did ({_PAPER}, section 3)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest error over both levels that the weak model may be told; tolerance 1e-12.

        Sabotaged, the weak model's answer is taken at x instead of y.
        """
        process, errors = Linear(), {}
        strong, weak = (GaussianMixture.random(dim=3, components=4, seed=seed + i) for i in (0, 100))
        x = Rng.of(seed, 64).normal(torch.empty(64, 3, dtype=torch.float64))
        t, s = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
        (a_t, s_t), (a_s, s_s) = process.scalars(t), process.scalars(s)
        e_s = -s_t * strong.score(x, a_t, s_t)
        y = a_s * strong.denoise(x, a_t, s_t) + s_s * e_s
        for level, told in (("t", (a_t, s_t)), ("s", (a_s, s_s))):
            guidance = Reflection(weak=ExactDenoiser(mixture=weak), level=cast(Literal["t", "s"], level))
            system = mixture_system(strong, process, guidance=guidance, sampler=Ddim())
            moved: list[Tensor] = []
            step = guidance.step(_stop(moved), system)
            step(system, Carry(x=x, cond=Condition()), t, s, Rng.of(seed, 64))
            e_w = -told[1] * weak.score(x if sabotage else y, *told)
            wanted = (s_t - s_s * a_t / a_s) * (e_w - e_s)
            errors[f"error, level {level}"] = float((moved[0] - x - wanted).abs().max())
        return Measure(effect=1e-12 - max(errors.values()), numbers=errors)


def _stop(seen: list[Tensor]):  # noqa: ANN202 - a step
    """A step that keeps the state it is given."""
    ddim = Ddim()

    def step(system, carry, t, s, rng):  # noqa: ANN001, ANN202
        seen.append(carry.x)
        return ddim.step(system, carry, t, s, rng)

    return step


@attrs.frozen(kw_only=True)
class TowardsTheData(Claim):
    """Two modes of equal weight; both models give one too much, the weak one more of it."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with models that give a mode of weight 0.5 the weights 0.7 and 0.9, or 0.6 and 0.7, reflection at least "
        f"halves the error of the strong model, which three times its steps do not change ({_PAPER}, section 3)"
    )

    samples: int = setting(2000, "samples of each arm", ge=1)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smaller of the two errors' ratios, less 2; 50 reflected or 148 plain steps of DDIM: 148 evaluations.

        Sabotaged, the weak model is the strong one. An error below the samples' own standard error counts as that.
        """
        numbers, ratios = {}, []
        floor = 0.5 / self.samples**0.5
        for p, q in ((0.7, 0.9), (0.6, 0.7)):
            strong, weak = _modes(p, 1 - p), _modes(p if sabotage else q, 1 - (p if sabotage else q))
            arms = {
                "plain": _masses(strong, None, seed, steps=148, samples=self.samples),
                "half": _masses(strong, _by(weak, 25), seed, samples=self.samples),
                "reflected": _masses(strong, _by(weak), seed, samples=self.samples),
            }
            numbers |= {f"mass at {p:g}/{q:g}, {name}": float(m[0]) for name, m in arms.items()}
            numbers |= {f"evaluations, {name}": float(m[-1]) for name, m in arms.items()}
            off = {name: abs(float(m[0]) - 0.5) for name, m in arms.items()}
            ratios.append(off["plain"] / max(off["reflected"], floor))
        return Measure(effect=min(ratios) - 2, numbers=numbers)


@attrs.frozen(kw_only=True)
class Roles(Claim):
    """It is the difference of the two that counts."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        f"more reflected steps correct more, and with the roles of the two models swapped the error grows ({_PAPER}, "
        "section 4: weak-to-strong against strong-to-weak)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smaller of the two gaps in a mode's mass between 0, 25 and 49 reflected steps, and of the swapped arm's.

        Sabotaged, both models are the strong one.
        """
        strong, weak = _modes(0.7, 0.3), _modes(0.7, 0.3) if sabotage else _modes(0.9, 0.1)
        none, half, all_, swapped = (
            float(_masses(model, guidance, seed)[0])
            for model, guidance in (
                (strong, None),
                (strong, _by(weak, 25)),
                (strong, _by(weak)),
                (weak, _by(strong)),
            )
        )
        alone = float(_masses(weak, None, seed)[0])
        numbers = {"none": none, "half": half, "all": all_, "swapped": swapped, "the weak model alone": alone}
        return Measure(effect=min(none - half, half - all_, swapped - alone) - 0.02, numbers=numbers)


@attrs.frozen(kw_only=True)
class WrongProxy(Claim):
    """Where the weak model errs elsewhere, its distance to the strong one points elsewhere too."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "three modes of equal weight, a strong model that gives the first too much and a weak one that gives the "
        f"second too much: reflection increases the total variation, so what {_PAPER}, section 3, assumes is needed"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Total variation of the masses, reflected less plain; sabotaged, the weak model errs as the strong does."""
        strong = _modes(0.5, 0.25, 0.25)
        weak = _modes(0.7, 0.15, 0.15) if sabotage else _modes(0.2, 0.6, 0.2)
        off = [float((_masses(strong, g, seed)[:3] - 1 / 3).abs().sum() / 2) for g in (_by(weak), None)]
        return Measure(effect=off[0] - off[1], numbers={"reflected": off[0], "plain": off[1]})
