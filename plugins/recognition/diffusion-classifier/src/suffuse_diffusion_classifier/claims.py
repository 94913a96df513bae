"""The paper's assertions, on overlapping Gaussian classes whose denoisers are known exactly."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, Literal, cast

import attrs
import torch
from suffuse_ddpm.linear import Linear
from suffuse_ddpm.vlb import VlbWeight
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Weighting
from suffuse.contracts.task import Claim, Measure
from suffuse.parts import UnitWeight
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle
from suffuse_diffusion_classifier.classify import Classify
from suffuse_diffusion_classifier.errors import errors, grid
from suffuse_diffusion_classifier.likelihood import Likelihood

__all__ = ["BeatsSamples", "Elimination", "LikelihoodRatio", "NearBayes", "SharedNoise", "UniformWeights"]

_PAPER = "Li et al. 2023, arXiv:2303.16203"
_CLASSES, _DIM, _POINTS = 10, 32, 1000


@cache
def _problem(seed: int) -> tuple[GaussianMixture, Tensor, Tensor]:
    """Ten classes N(m_k, I/4) in 32 dimensions with m_k = 0.3 N(0, I), test points and their labels."""
    g = torch.Generator().manual_seed(seed)
    mixture = GaussianMixture(
        weights=torch.full((_CLASSES,), 1 / _CLASSES, dtype=torch.float64),
        means=0.3 * torch.randn(_CLASSES, _DIM, generator=g, dtype=torch.float64),
        covariances=torch.full((_CLASSES,), 0.25, dtype=torch.float64),
        labels=torch.arange(_CLASSES),
    )
    return mixture, *mixture.sample_labelled(g, _POINTS)


def _system(mixture: GaussianMixture) -> System:
    return mixture_system(mixture, Linear())


def _run(seed: int, **settings: Any) -> dict[str, float]:  # noqa: ANN401
    """Accuracy and evaluations of the task."""
    mixture, x, label = _problem(seed)
    inputs = {"data": x, "candidates": {"label": torch.arange(_CLASSES)}, "label": label}
    return dict(Classify(**settings).run(_system(mixture), inputs, Rng.of(seed, _POINTS)).metrics)


def _fresh(seed: int, samples: int) -> float:
    """The accuracy with a noise of its own for each class: the estimate of each class's error alone is as good."""
    mixture, x, label = _problem(seed)
    rng, system, scores = Rng.of(seed, _POINTS), _system(mixture), []
    for k in range(_CLASSES):
        one = [Condition(label=torch.full((_POINTS,), k))]
        settings = {"loss": "l2", "weighting": UnitWeight(), "mean": True}
        table, _ = errors(system, x, one, grid(samples, 1000), range(samples), rng.at("fresh", k), **settings)
        scores.append(table[:, 0].mean(1))
    return float((torch.stack(scores, 1).argmin(1) == label).double().mean())


def _bayes(seed: int) -> float:
    mixture, x, label = _problem(seed)
    return float((mixture.class_log_prob(x).argmax(1) == label).double().mean())


@attrs.frozen(kw_only=True)
class LikelihoodRatio(Claim):
    """The pointwise I-MMSE relation."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "half the difference of two classes' expected errors of eps, integrated over log-SNR, is log p(x|c1) - "
        "log p(x|c2) for Gaussian classes (Kong et al. 2023, arXiv:2302.03792, eq. 8)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Quadrature of the weighting in time on a process from no noise to no signal; tolerance 1e-6.

        For N(m, s I) in d dimensions the expected squared error at signal a and noise b (variances) is
        ``(1 - b/v)^2 d + a b/v^2 |x - m|^2`` with ``v = a s + b``. Sabotaged, all times count alike.
        """
        g = torch.Generator().manual_seed(seed)
        x, m = torch.randn(3, 4, generator=g, dtype=torch.float64).split([1, 2])
        s = 0.5 + torch.rand(2, generator=g, dtype=torch.float64)
        process = Circle()
        # Gauss-Legendre in the logit of t: the weight's ends at t = 0 and 1 are integrable and smooth there.
        nodes, weights = _legendre(400, -20.0, 20.0)
        t = nodes.sigmoid()
        alpha, sigma = process.scalars(t)
        a, b = alpha**2, sigma**2
        v = a[:, None] * s + b[:, None]
        square = (x - m).square().sum(1)
        expected = (1 - b[:, None] / v) ** 2 * 4 + (a * b)[:, None] / v**2 * square
        rule: Weighting = UnitWeight() if sabotage else Likelihood()
        w = torch.as_tensor(rule.weight(process, t, (0.0, 1.0))) * weights * t * (1 - t)
        integral = (w[:, None] * expected).sum(0)
        log_p = -square / (2 * s) - 2 * s.log()
        error = float(((integral[1] - integral[0]) - (log_p[0] - log_p[1])).abs())
        return Measure(effect=1e-6 - error, numbers={"error": error, "log ratio": float(log_p[0] - log_p[1])})


def _legendre(n: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    import numpy as np

    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(n))
    return (high - low) / 2 * nodes + (high + low) / 2, (high - low) / 2 * weights


@attrs.frozen(kw_only=True)
class SharedNoise(Claim):
    """One set of noises for all classes."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "at 16 evaluations for each class, one noise for all classes is 0.15 more accurate than a fresh noise for each "
        f"({_PAPER}, section 3.2)"
    )
    margin: ClassVar[float] = 0.15

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Accuracy, shared less fresh; sabotaged, both are fresh."""
        shared = _fresh(seed + 1000, 16) if sabotage else _run(seed, stages=((16, 1),))["accuracy"]
        fresh = _fresh(seed + 1000 if sabotage else seed, 16)
        return Measure(effect=shared - fresh, numbers={"shared": shared, "fresh": fresh, "Bayes": _bayes(seed)})


@attrs.frozen(kw_only=True)
class BeatsSamples(Claim):
    """Against another way to make a classifier of the same model."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "64 evaluations for each class are more accurate than a logistic regression trained on 20 of the model's "
        f"samples for each class ({_PAPER}, table 1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference of accuracies; sabotaged, each class has its own noise."""
        from sklearn.linear_model import LogisticRegression

        mixture, x, label = _problem(seed)
        ours = _fresh(seed, 64) if sabotage else _run(seed, stages=((64, 1),))["accuracy"]
        g = torch.Generator().manual_seed(seed + 500)
        drawn = torch.cat([mixture.conditioned(k).sample(g, 20) for k in range(_CLASSES)])
        regression = LogisticRegression(max_iter=1000).fit(drawn.numpy(), torch.arange(_CLASSES).repeat_interleave(20))
        theirs = float(cast(Any, regression).score(x.numpy(), label.numpy()))
        return Measure(effect=ours - theirs, numbers={"ours": ours, "trained on samples": theirs})


@attrs.frozen(kw_only=True)
class NearBayes(Claim):
    """The limit of many evaluations."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with exact denoisers 64 evaluations for each class are within 0.02 of the Bayes classifier's accuracy, so the "
        f"error is a good likelihood's ({_PAPER}, section 3)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """0.02 less the loss of accuracy; sabotaged, each class has its own noise."""
        ours = _fresh(seed, 64) if sabotage else _run(seed, stages=((64, 1),))["accuracy"]
        bayes = _bayes(seed)
        return Measure(effect=0.02 - (bayes - ours), numbers={"ours": ours, "Bayes": bayes})


@attrs.frozen(kw_only=True)
class UniformWeights(Claim):
    """All noise levels count alike."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "at 16 evaluations unweighted errors of eps classify 0.03 better than errors with the variational bound's "
        f"weights ({_PAPER}, section 3.1)"
    )
    margin: ClassVar[float] = 0.03

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Accuracy, unweighted less weighted; numbers have l1 as well. Sabotaged, both are weighted."""
        bound = _run(seed, stages=((16, 1),), weighting=VlbWeight())["accuracy"]
        ours = bound if sabotage else _run(seed, stages=((16, 1),))["accuracy"]
        numbers = {"unweighted": ours, "bound": bound}
        if not sabotage:
            numbers["l1"] = _run(seed, stages=((16, 1),), loss="l1")["accuracy"]
        return Measure(effect=ours - bound, numbers=numbers)


@attrs.frozen(kw_only=True)
class Elimination(Claim):
    """Classes pruned in stages."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "keeping 3 of 10 classes after 8 of 64 times loses less than 0.02 of accuracy at less than 0.4 of the "
        f"evaluations ({_PAPER}, section 3.3)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smaller distance to a bound; sabotaged, the first stage prunes all but one."""
        whole = _run(seed, stages=((64, 1),))
        pruned = _run(seed, stages=((8, 1),) if sabotage else ((8, 3), (64, 1)))
        share = pruned["evaluations"] / whole["evaluations"]
        loss = whole["accuracy"] - pruned["accuracy"]
        numbers = {"whole": whole["accuracy"], "pruned": pruned["accuracy"], "share of evaluations": share}
        return Measure(effect=min(0.02 - loss, 0.4 - share), numbers=numbers)
