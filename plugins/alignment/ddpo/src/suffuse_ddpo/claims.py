"""What the paper says: the estimator is the gradient, and beats regression on one's own samples."""

from __future__ import annotations

import copy
import math
from functools import cache
from typing import ClassVar, Literal, cast

import attrs
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.parameterization import Eps
from suffuse_ddpm.simple import Simple
from suffuse_mlp.backbone import Mlp
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.objective import Batch, Loss, Objective, Progress
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Measure
from suffuse.parts import Stop, Uniform
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.state import State, combine
from suffuse.system import System
from suffuse.testing.exact import truth
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse_ddpo.policy_gradient import ImportanceSampling, ScoreFunction
from suffuse_ddpo.regression import RewardWeighted
from suffuse_ddpo.rewards import Bump, Quadratic

__all__ = ["BeatsRegression", "BeatsScoreFunction", "FirstUpdate", "Gradient"]

_PAPER = "Black et al. 2023, arXiv:2305.13301"
F64 = torch.float64


class Linear(Denoiser):
    """``x0 = k x_t``: samples are Gaussian, and their variance is a polynomial in k."""

    provides: ClassVar[frozenset[str]] = frozenset({"mean"})

    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.tensor(k, dtype=F64))

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
        """Read as x0."""
        assert isinstance(process, Gaussian)
        return Mean(value=combine(self.k, x_t, 0.0, x_t), x_t=x_t, t=as_time(t), process=process, mix=(1.0, 0.0))


def linear_system(k: float, dim: int = 2) -> System:
    """Every step is random: the walk ends at t = 0.25."""
    return System(
        model=Linear(k),
        process=Cosine(),
        sampler=Ancestral(steps=4, variance="small", terminal=Stop()),
        space=Euclidean(shape=(dim,)),
    )


def expected_quadratic(system: System, dim: int = 2) -> Tensor:
    """``E[-|x|^2]`` of the linear system's samples, differentiable in k: ``v <- (a + b k)^2 v + sigma^2``."""
    process, k = cast(Gaussian, system.process), cast(Linear, system.model).k
    one, zero = torch.ones(1, 1, dtype=F64), torch.zeros(1, 1, dtype=F64)
    v = torch.ones((), dtype=F64)
    for t, s in zip(system.points[:-1], system.points[1:], strict=True):
        a, b = (cast(Tensor, process.posterior(*pair, t, s).mean)[0, 0] for pair in ((one, zero), (zero, one)))
        std = torch.as_tensor(cast(float, process.posterior(one, one, t, s).std))
        v = (a + b * k) ** 2 * v + std**2
    return -dim * v


@attrs.frozen(kw_only=True)
class Gradient(Claim):
    """The policy gradient theorem, on denoising steps."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "for a linear denoiser and a quadratic reward the score-function estimator is the closed-form gradient of the "
        f"expected reward, within five standard errors ({_PAPER}, section 4.3)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Five less the error in standard errors, over 40 epochs of 500. Sabotaged, the last action alone is credited.

        The objective's scale is undone: it divides by the reward's deviation and by the numbers of steps and elements,
        and a mean that contains the sample shrinks it by ``1 - 1/n``.
        """
        n, system = 500, linear_system(0.6)
        objective = ScoreFunction(reward=Quadratic(), advantage_clip=math.inf)
        slopes = []
        for epoch in range(40):
            rng = Rng.of(seed, n).at(epoch)
            state = dict(objective.start(system, rng))
            if sabotage:
                state |= {name: cast(Tensor, state[name])[-1:] for name in ("steps", "log_prob")}
            loss = objective.loss("model", None, system, state, rng).per_sample.mean()
            scale = len(cast(Tensor, state["steps"])) * 2 * float(cast(Tensor, state["reward"]).std(correction=0))
            slopes.append(-torch.autograd.grad(loss, list(system.model.parameters()))[0] * scale * n / (n - 1))
        exact = torch.autograd.grad(expected_quadratic(system), list(system.model.parameters()))[0]
        found = torch.stack(slopes)
        error = float((found.mean() - exact).abs() / (found.std() / math.sqrt(len(found))))
        numbers = {"estimate": float(found.mean()), "closed form": float(exact), "error, in standard errors": error}
        return Measure(effect=5 - error, numbers=numbers)


@attrs.frozen(kw_only=True)
class FirstUpdate(Claim):
    """Ratios of 1."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "on trajectories of the present weights every ratio is 1, and the gradient of the clipped surrogate is the "
        f"score function's ({_PAPER}, section 4.3)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The gradients' relative difference, in float64. Sabotaged, the weights have moved since the trajectories."""
        rng, slopes = Rng.of(seed, 200), []
        for objective in (ScoreFunction(reward=Quadratic()), ImportanceSampling(reward=Quadratic(), minibatches=1)):
            system = linear_system(0.6)
            state = objective.start(system, rng)
            if sabotage:
                with torch.no_grad():
                    next(system.model.parameters()).add_(0.05)
            loss = objective.loss("model", None, system, state, rng).per_sample.mean()
            slopes.append(float(torch.autograd.grad(loss, list(system.model.parameters()))[0]))
        error = abs(slopes[1] / slopes[0] - 1)
        return Measure(effect=1e-9 - error, numbers={"relative difference": error})


_RING = GaussianMixture.ring(8, 1.0, 0.1)
_BUMP = Bump(centre=(1.0, 0.0), width=0.3)


@cache
def ring_system() -> System:
    """A network on the ring, trained once."""
    with seeded(0):
        net = Mlp(shape=(2,), width=128, depth=3)
    process = Cosine()
    model = Preconditioned(backbone=net, parameterization=Eps(scale=1.0, shift=0.0), trained=process)
    sampler = Ddim(steps=15, eta=1.0, grid=Uniform(start=0.98))
    system = System(model=model, space=Euclidean(shape=(2,)), sampler=sampler)
    data = rows_of(truth(_RING, 4096, seed=0).float())
    fit(system, Simple(), data, steps=1000, batch=128, seed=0, learning_rate=2e-3, decay=True)
    return system


def tuned(objective: Objective, seed: int, *, steps: int, batch: int) -> dict[str, float]:
    """Mean reward of 2000 samples after tuning, and the share of them off the ring (beyond four deviations)."""
    base = ring_system()
    system = attrs.evolve(base, model=copy.deepcopy(base.model))
    fit(system, objective, None, steps=steps, batch=batch, seed=seed, learning_rate=3e-4)
    x = cast(Tensor, system.sample(2000, seed=10_000 + seed))
    off = torch.cdist(x.double(), _RING.means).amin(1) > 0.4
    return {"reward": float(_BUMP.value(x, Condition()).mean()), "off": float(off.double().mean())}


@cache
def _importance(seed: int) -> dict[str, float]:
    return tuned(ImportanceSampling(reward=_BUMP, clip=0.1), seed, steps=40, batch=64)


@attrs.frozen(kw_only=True)
class BeatsScoreFunction(Claim):
    """Several updates from each epoch's trajectories."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "at 2560 reward queries and one learning rate DDPO-IS, with four updates an epoch, reaches a mean reward "
        f"higher by at least 0.1 than DDPO-SF ({_PAPER}), for a bump on one of eight modes"
    )
    margin: ClassVar[float] = 0.1

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference in reward after 10 epochs of 256. Sabotaged, each epoch allows one update, on all of it."""
        single = ImportanceSampling(reward=_BUMP, clip=0.1, minibatches=1)
        ours = tuned(single, seed, steps=10, batch=256) if sabotage else _importance(seed)
        theirs = tuned(ScoreFunction(reward=_BUMP), seed, steps=10, batch=256)
        numbers = {"DDPO-IS": ours["reward"], "DDPO-SF": theirs["reward"], "DDPO-IS, off the ring": ours["off"]}
        return Measure(effect=ours["reward"] - theirs["reward"], numbers=numbers)


@attrs.frozen(kw_only=True)
class _Shuffled(ImportanceSampling):
    """Each trajectory gets another one's advantage."""

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """As the method's."""
        other = cast(Tensor, state["advantage"]).roll(1)
        return ImportanceSampling.loss(self, player, batch, system, {**state, "advantage": other}, rng)


@attrs.frozen(kw_only=True)
class BeatsRegression(Claim):
    """Against regression on one's own best samples."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "at 2560 reward queries and one learning rate DDPO-IS reaches a mean reward higher by at least 0.02 than "
        f"reward-weighted regression and its sparse form ({_PAPER}), for a bump on one of "
        "eight Gaussians"
    )
    margin: ClassVar[float] = 0.02

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference to the better regression after 10 epochs of 256.

        Sabotaged, trajectories get each other's advantages.
        """
        ours = tuned(_Shuffled(reward=_BUMP, clip=0.1), seed, steps=40, batch=64) if sabotage else _importance(seed)
        theirs = _regressions(seed)
        numbers = {"DDPO-IS": ours["reward"], "DDPO-IS, off the ring": ours["off"], **theirs}
        return Measure(effect=ours["reward"] - max(theirs.values()), numbers=numbers)


@cache
def _regressions(seed: int) -> dict[str, float]:
    arms = {"RWR": RewardWeighted(reward=_BUMP), "RWR-sparse": RewardWeighted(reward=_BUMP, share=0.1)}
    return {name: tuned(arm, seed, steps=40, batch=256)["reward"] for name, arm in arms.items()}
