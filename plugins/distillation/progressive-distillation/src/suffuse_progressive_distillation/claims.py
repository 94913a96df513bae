"""What the paper asserts, on closed forms and with small networks."""

from __future__ import annotations

import copy
from typing import ClassVar, Literal, cast

import attrs
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.parameterization import V
from suffuse_ddpm.simple import Simple
from suffuse_mlp.backbone import Mlp
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Measure
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.state import State, combine
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse_progressive_distillation.objective import Progressive
from suffuse_progressive_distillation.target import two_step_target

__all__ = ["GaussianStudent", "OneStep", "Target"]

_PAPER = "arXiv:2202.00512"
_F64 = torch.float64
_COSINE = Cosine(s=0.0)  # alpha = cos(pi t/2), with log-SNR at least -20


@attrs.frozen(kw_only=True)
class Target(Claim):
    """The regression target."""

    tier: ClassVar[Literal["exact", "claim", "parity"]] = "exact"
    statement: ClassVar[str] = (
        "one DDIM step at the student's target ends exactly where two of the teacher's end, at every i of every N "
        f"({_PAPER}, appendix G)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest distance on an exact mixture, N from 1 to 64, tolerance 1e-10. Sabotaged: the teacher's own x0.

        Rounding of 1e-16 is divided by ``alpha_s - r alpha_t``, which is about 1/N^2 at the noisy end.
        """
        system = mixture_system(GaussianMixture.random(dim=3, components=4, seed=seed), _COSINE)
        rng, cond, worst = Rng.of(seed, 256), Condition(), 0.0
        x_t = rng.at("x").normal(torch.empty(256, 3, dtype=_F64))
        for n in (1, 2, 4, 16, 64):
            i = rng.at("i", n).integers(1, n + 1).double()
            t, middle, s = i / n, (i - 0.5) / n, (i - 1) / n
            ends = [_ddim(system, _ddim(system, x_t, t, middle), middle, s)]
            x0 = two_step_target(system.denoise, _COSINE, x_t, t, middle, s, cond)
            if sabotage:
                x0 = system.denoise(x_t, t, cond).x0
            told = Mean(value=x0, x_t=x_t, t=t, process=_COSINE)
            alpha, sigma = _COSINE.scalars(s)
            ends.append(cast(Tensor, combine(alpha, told.x0, sigma, told.eps)))
            worst = max(worst, float((ends[0] - ends[1]).abs().max()))
        return Measure(effect=1e-10 - worst, numbers={"distance": worst})


def _ddim(system: System, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    p, (alpha, sigma) = system.denoise(x, t, Condition()), cast(Gaussian, system.process).scalars(s)
    return cast(Tensor, combine(alpha, p.x0, sigma, p.eps))


@module
class Student(Denoiser):
    """``x0 = k(t) x_t`` for data N(0, variance I): what is left of two steps of 1/(2N) of the exact teacher."""

    provides: ClassVar[frozenset[str]] = frozenset({"mean"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    variance: float = setting(doc="of the data", gt=0)
    n: int = setting(doc="N, the student's steps", ge=1)

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
        """The closed form."""
        assert isinstance(process, Gaussian)
        t = as_time(t)
        middle, end = t - 0.5 / self.n, (t - 1 / self.n).clamp_min(0)
        (alpha, sigma), (alpha_s, sigma_s) = process.scalars(t), process.scalars(end)
        ratio = sigma_s / sigma
        gain = self._factor(process, t, middle) * self._factor(process, middle, end)
        k = (gain - ratio) / (alpha_s - ratio * alpha)
        return Mean(value=combine(k, x_t, 0.0, x_t), x_t=x_t, t=t, process=process)

    def _factor(self, process: Gaussian, t: Tensor, s: Tensor) -> Tensor:
        """What one exact DDIM step multiplies a state by."""
        (alpha, sigma), (alpha_s, sigma_s) = process.scalars(t), process.scalars(s)
        c = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        return alpha_s * c + sigma_s / sigma * (1 - alpha * c)


@attrs.frozen(kw_only=True)
class GaussianStudent(Claim):
    """A perfect student."""

    tier: ClassVar[Literal["exact", "claim", "parity"]] = "exact"
    statement: ClassVar[str] = (
        "for data N(0, vI) the target is k(t, N) x_t in closed form, and a student that says so has in N steps the "
        f"exact teacher's samples of 2N steps ({_PAPER}, algorithm 2)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest difference of 64 samples, N from 1 to 16, tolerance 1e-10. Sabotaged: the teacher in N steps."""
        variance = float(0.1 + torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=_F64))
        law, worst = GaussianMixture.single([0.0, 0.0], variance), 0.0
        for n in (1, 2, 4, 16):
            teacher = mixture_system(law, _COSINE, sampler=Ddim(steps=2 * n))
            student = attrs.evolve(teacher, model=Student(variance=variance, n=n), sampler=Ddim(steps=n))
            if sabotage:
                student = attrs.evolve(teacher, sampler=Ddim(steps=n))
            x, y = (cast(Tensor, s.sample(64, seed=seed, dtype=_F64)) for s in (teacher, student))
            worst = max(worst, float((x - y).abs().max()))
        return Measure(effect=1e-10 - worst, numbers={"difference": worst})


@attrs.frozen(kw_only=True)
class OneStep(Claim):
    """Distillation with networks."""

    tier: ClassVar[Literal["exact", "claim", "parity"]] = "claim"
    statement: ClassVar[str] = (
        "after distillation 8 -> 4 -> 2 -> 1 the one-step samples are at most a third as far from the teacher's "
        f"64-step samples of the same noise as the teacher's own one-step samples ({_PAPER}, section 5)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """One third less the ratio of root mean squares, of 1000 samples of a ring of 8 Gaussians.

        Sabotaged, the student goes on with its teacher's own objective for as many updates.
        """
        data = rows_of(GaussianMixture.ring(8, std=0.08).sample(torch.Generator().manual_seed(seed), 4000).float())
        with seeded(seed):
            net = Mlp(width=64, depth=1, frequencies=16)
        model = Preconditioned(backbone=net, parameterization=V(scale=1.0, shift=0.0), trained=_COSINE)
        student = System(model=model, space=Euclidean(shape=(2,)))
        fit(student, Simple(), data, steps=200, batch=128, seed=seed, learning_rate=3e-3, decay=True)
        teacher = attrs.evolve(student, model=copy.deepcopy(model))
        distillation = Progressive(first=4, updates=70, last_updates=70)
        objective = Simple() if sabotage else distillation
        fit(student, objective, data, steps=distillation.total, batch=128, seed=100 + seed, learning_rate=2e-3)
        goal = _samples(teacher, 64, seed)
        both = {"student": student, "teacher": teacher}
        numbers = {f"{name}, 1 step": _rmse(_samples(system, 1, seed), goal) for name, system in both.items()}
        return Measure(effect=1 / 3 - numbers["student, 1 step"] / numbers["teacher, 1 step"], numbers=numbers)


def _samples(system: System, steps: int, seed: int) -> Tensor:
    return cast(Tensor, attrs.evolve(system, sampler=Ddim(steps=steps)).sample(1000, seed=seed))


def _rmse(x: Tensor, y: Tensor) -> float:
    return float((x - y).square().sum(1).mean().sqrt())
