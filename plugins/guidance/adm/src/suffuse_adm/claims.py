"""What the paper says of its networks and of classifier guidance, on classes whose classifier is known."""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.linear import Linear
from suffuse_ddpm.parameterization import Eps
from suffuse_mlp.backbone import Mlp
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Normal
from suffuse.contracts.model import Denoiser
from suffuse.contracts.objective import Times
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Gaussian, Process
from suffuse.contracts.sampler import Carry
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Measure
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import energy_distance
from suffuse_adm.classifier import Classifier, GaussianClasses
from suffuse_adm.guidance import GuidedMean, GuidedScore
from suffuse_adm.half_unet import HalfUNet
from suffuse_adm.objective import NoisyClassifier
from suffuse_adm.published import CLASSIFIERS, IDDPM, UNETS, parameters
from suffuse_adm.unet import UNet

__all__ = [
    "ConditionalScore",
    "Diversity",
    "Fidelity",
    "MeanShift",
    "NoisyBeatsClean",
    "ParameterCounts",
]

_PAPER = "arXiv:2105.05233"
_CLASSES = GaussianMixture.ring(4, radius=1.5, std=0.6)
_EXACT = GaussianClasses(means=tuple(map(tuple, _CLASSES.means.tolist())), std=0.6)
_PROCESS = Linear()


def _states(seed: int, n: int) -> tuple[Tensor, Tensor, Condition, Rng]:
    """Noisy states at random times, and labels; float64."""
    rng = Rng.of(seed, n)
    t = 0.02 + 0.97 * rng.at("t").uniform(torch.empty(n, dtype=torch.float64))
    x = _PROCESS.corrupt(truth(_CLASSES, n, seed), t, rng=rng).x_t
    assert isinstance(x, Tensor)
    return x, t, Condition(label=rng.at("label").integers(0, 4)), rng


@attrs.frozen(kw_only=True)
class ConditionalScore(Claim):
    """The exact classifier makes an unconditional model conditional."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "the guided score of an unconditional model is s + w grad log p(y | x_t), which at w = 1 is the conditional "
        f"score at every noise level, and eps moves by -w sigma_t times the gradient ({_PAPER}, equations 11 to 14)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Relative errors over 64 states, float64. Sabotaged, the classifier is that of clean data."""
        x, t, cond, _ = _states(seed, 64)
        alpha, sigma = _PROCESS.scalars(t)
        s_u = _CLASSES.score(x, alpha, sigma)
        rows = zip(cond["label"].tolist(), x, alpha, sigma, strict=True)
        s_c = torch.cat([_CLASSES.conditioned(c).score(one[None], a, s) for c, one, a, s in rows])
        errors = {}
        for w in (-1.0, 1.0, 4.0):
            guidance = GuidedScore(classifier=_Clean() if sabotage else _EXACT, strength=w, alone=True)
            said = mixture_system(_CLASSES, _PROCESS, guidance=guidance).denoise(x, t, cond)
            wanted = s_u + w * (s_c - s_u)
            for name, found, goal in (("score", said.score, wanted), ("eps", said.eps, -sigma[:, None] * wanted)):
                assert isinstance(found, Tensor)
                errors[f"{name} at w={w:g}"] = float((found - goal).abs().max() / goal.abs().max())
        return Measure(effect=1e-9 - max(errors.values()), numbers=errors)


class _Clean(Denoiser):
    """The classifier of clean data, whatever the noise."""

    provides: ClassVar[frozenset[str]] = frozenset({"logits"})

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
        """The answer at t = 0."""
        said: Prediction = _EXACT(x_t, torch.zeros((), dtype=torch.float64), cond, process=process)
        return said


@attrs.frozen(kw_only=True)
class MeanShift(Claim):
    """Algorithm 1."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        f"a guided ancestral step is N(mu + w Sigma grad log p(y | x_t), Sigma) ({_PAPER}, algorithm 1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Errors of mean and variance over 64 states; sabotaged, the shift is by Sigma^(1/2)."""
        x, t, cond, rng = _states(seed, 64)
        s, errors = t / 2, {}
        x_in = x.clone().requires_grad_()
        log_p = _CLASSES.class_log_prob(x_in, *_PROCESS.scalars(t)).gather(1, cond["label"][:, None])
        (gradient,) = torch.autograd.grad(log_p.sum(), x_in)
        carry = Carry(x=x, cond=cond)
        for variance in ("small", "large"):
            sampler = Ancestral(variance=variance)
            plain = mixture_system(_CLASSES, _PROCESS, sampler=sampler)
            law = plain.step(plain, Carry(x=x, cond=Condition()), t, s, rng)[1].transition
            system = attrs.evolve(plain, guidance=GuidedMean(classifier=_EXACT, strength=2.5, alone=True))
            guided = system.step(system, carry, t, s, rng)[1].transition
            assert isinstance(law, Normal)
            assert isinstance(guided, Normal)
            std = torch.as_tensor(law.std)[:, None]
            wanted = law.mean + 2.5 * (std if sabotage else std**2) * gradient
            errors[f"mean, {variance}"] = float((guided.mean - wanted).abs().max())
            errors[f"deviation, {variance}"] = float(
                (torch.as_tensor(guided.std) - torch.as_tensor(law.std)).abs().max()
            )
        return Measure(effect=1e-9 - max(errors.values()), numbers=errors)


@attrs.frozen(kw_only=True)
class ParameterCounts(Claim):
    """The published networks."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "U-Nets and classifiers for ImageNet at 64, 128, 256 and 512 have the parameters of the published ones: 296M, "
        f"422M, 554M, 559M and 65M, 43M, 54M, 54M ({_PAPER}, appendix)"
    )
    seeds: ClassVar[int] = 1

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest difference; sabotaged, plain convolutions resample instead of BigGAN's blocks."""
        numbers, off = {}, 0
        every = [(f"unet {side}", UNet, *told) for side, told in UNETS.items()]
        every += [(f"classifier {side}", HalfUNet, *told) for side, told in CLASSIFIERS.items()]
        every += [(f"iddpm {name}", UNet, *told) for name, told in IDDPM.items()]
        for name, network, published, settings in every:
            found = parameters(network, {**settings, **({"resample": "conv"} if sabotage else {})})
            numbers[name], off = float(found), max(off, abs(found - published))
        return Measure(effect=0.5 - off, numbers=numbers)


def _distance(x: Tensor, label: Tensor, seed: int) -> float:
    """Mean over the classes of the energy distance to the true conditional law."""
    found = [energy_distance(x[label == c], truth(_CLASSES.conditioned(c), 1500, seed + c)).value for c in range(4)]
    return sum(found) / 4


def _guided(classifier: Denoiser, strength: float, seed: int) -> tuple[Tensor, Tensor]:
    """1500 samples of an exact unconditional model in 25 steps of DDIM, and the classes they were asked for."""
    guidance = GuidedScore(classifier=classifier, strength=strength, alone=True)
    system = mixture_system(_CLASSES, _PROCESS, sampler=Ddim(steps=25), guidance=guidance)
    label = torch.arange(1500) % 4
    x = system.sample(cond=Condition(label=label), seed=seed)
    assert isinstance(x, Tensor)
    return x.double(), label


@cache
def _arm(strength: float, seed: int) -> dict[str, float]:
    x, label = _guided(_EXACT, strength, seed)
    right = (_CLASSES.class_log_prob(x).argmax(1) == label).double().mean()
    spread = torch.stack([x[label == c].std(0).mean() for c in range(4)]).mean()
    return {"accuracy": float(right), "spread": float(spread), "distance": _distance(x, label, seed)}


def _numbers(arms: dict[float, dict[str, float]]) -> dict[str, float]:
    return {f"{name} at strength {w:g}": value for w, arm in arms.items() for name, value in arm.items()}


@attrs.frozen(kw_only=True)
class Fidelity(Claim):
    """Guidance trades diversity for fidelity: the gain."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "a stronger gradient raises fidelity: more samples belong to their class at strength 4 than at strength 1, at "
        f"equal evaluations ({_PAPER}, section 4.3, figures 3 and 4)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Accuracy of the Bayes classifier at strength 4 less that at 1."""
        arms = {w: _arm(1.0 if sabotage else w, seed) for w in (1.0, 2.0, 4.0)}
        return Measure(effect=arms[4.0]["accuracy"] - arms[1.0]["accuracy"], numbers=_numbers(arms))


@attrs.frozen(kw_only=True)
class Diversity(Claim):
    """Guidance trades diversity for fidelity: the price."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "a stronger gradient costs diversity: the standard deviation within a class falls from strength 1 to 2 and "
        f"from 2 to 4, by a tenth of it each ({_PAPER}, section 4.3, figure 4)"
    )
    margin: ClassVar[float] = 0.1

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smaller of the two falls, as a share."""
        arms = {w: _arm(1.0 if sabotage else w, seed) for w in (1.0, 2.0, 4.0)}
        falls = [1 - arms[2 * w]["spread"] / arms[w]["spread"] for w in (1.0, 2.0)]
        return Measure(effect=min(falls), numbers=_numbers(arms))


@attrs.frozen(kw_only=True)
class _Barely(Times):
    """Next to no noise."""

    def draw(self, process: Gaussian, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        t = torch.full((n,), 1e-3, dtype=torch.float64, device=rng.device)
        return t, torch.ones_like(t)


@attrs.frozen(kw_only=True)
class NoisyBeatsClean(Claim):
    """Why the classifier is trained on noisy states."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "at strength 1 samples guided by a classifier trained on noisy states are nearer to the conditional law than "
        f"with the same network trained as long on clean data ({_PAPER}, section 4)"
    )

    steps: int = setting(60, "optimiser steps of each", ge=1)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference of energy distances; sabotaged, both are trained on clean data."""
        arms = {"clean": self._trained(seed + 100, clean=True), "noisy": self._trained(seed, clean=sabotage)}
        numbers = {name: _distance(*_guided(classifier, 1.0, seed), seed) for name, classifier in arms.items()}
        return Measure(effect=numbers["clean"] - numbers["noisy"], numbers=numbers)

    def _trained(self, seed: int, *, clean: bool) -> Classifier:
        """A clean classifier is not told the time."""
        with seeded(seed):
            net = Mlp(shape=(2,), width=32, depth=1, frequencies=16, bandwidth=1e-3, outputs=4)
        told = Eps(scale=1e-9) if clean else Eps()
        model = Classifier(model=Preconditioned(backbone=net, parameterization=told, trained=_PROCESS))
        x, y = _CLASSES.sample_labelled(torch.Generator().manual_seed(seed), 4000)
        objective = NoisyClassifier(times=_Barely()) if clean else NoisyClassifier()
        system = System(model=model, space=Euclidean(shape=(2,)))
        data = rows_of(x.float(), label=y)
        fit(system, objective, data, steps=self.steps, batch=128, seed=seed, learning_rate=1e-2, decay=True)
        return model
