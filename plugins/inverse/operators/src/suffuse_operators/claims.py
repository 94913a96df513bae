"""What can be relied on: decompositions, and the judge of posteriors."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoise
from suffuse.contracts.operator import SvdOperator
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mean, Prediction
from suffuse.contracts.process import Gaussian
from suffuse.contracts.task import Claim, Measure
from suffuse.parts import Uniform
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, FirstOrder
from suffuse_operators.dense import CompressedSensing, Matrix, Tomography, matrix_of
from suffuse_operators.fourier import Fourier, MotionBlur
from suffuse_operators.masks import Box, Inpaint
from suffuse_operators.noise import GaussianNoise
from suffuse_operators.posterior import Posterior, problem_of
from suffuse_operators.separable import GaussianBlur, SuperResolution

__all__ = ["Decompositions", "ExactPosterior"]


@attrs.frozen(kw_only=True)
class Decompositions(Claim):
    """Closed forms against dense linear algebra."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "the closed-form singular values of every linear operator, with random settings, are those of its matrix, and "
        "its pseudo-inverse is the Moore-Penrose inverse of that matrix"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest relative error; 8x8 images in float64, whose decompositions round at 1e-13.

        Sabotaged, the pseudo-inverse is the adjoint.
        """
        u = Rng.of(seed, 1).at("settings").uniform(torch.empty(1, 4, dtype=torch.float64))[0].tolist()
        operators: list[SvdOperator] = [
            Inpaint(keep=0.2 + 0.6 * u[0], seed=seed),
            Box(share=0.2 + 0.6 * u[1]),
            SuperResolution(factor=2),
            SuperResolution(factor=4, kernel="average"),
            GaussianBlur(std=0.4 + 0.4 * u[2]),
            MotionBlur(length=2 + 4 * u[3], seed=seed),
            Fourier(keep=0.2 + 0.6 * u[0], seed=seed),
            CompressedSensing(ratio=0.2 + 0.6 * u[1], seed=seed),
            Tomography(size=8, views=2 + int(4 * u[2])),
        ]
        numbers = {}
        for operator in operators:
            a = matrix_of(operator, (1, 8, 8))
            d = operator.svd(torch.zeros(1, 1, 8, 8, dtype=torch.float64))
            values = torch.linalg.svdvals(a)[: len(d.s)]
            y = torch.eye(len(a), dtype=torch.float64).reshape(len(a), *operator.A(torch.zeros(1, 1, 8, 8)).shape[1:])
            inverse = (operator.A_adjoint(y) if sabotage else operator.A_dagger(y)).flatten(1).mT
            dense = torch.linalg.pinv(a, rtol=1e-7)
            error = max(_relative(d.s.sort(descending=True)[0], values), _relative(inverse, dense))
            name = type(operator).__name__
            numbers[name] = max(error, numbers.get(name, 0.0))
        return Measure(effect=1e-7 - max(numbers.values()), numbers=numbers)


def _relative(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).abs().max() / exact.abs().max())


@attrs.frozen(kw_only=True)
class ExactGuidance(Guidance):
    """``E[x_0 | x_t, y]`` in place of ``E[x_0 | x_t]``: what every guidance by a measurement approximates."""

    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    operator: SvdOperator = setting(doc="a linear operator with Gaussian noise")

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """Exact, for mixtures of vectors."""
        mixture = getattr(system.model, "mixture", None)
        assert isinstance(mixture, GaussianMixture)
        problem = problem_of(mixture, self.operator, (mixture.dim,))

        def denoise(
            x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
        ) -> Prediction:
            prediction, process = inner(x_t, t, cond, s=s, rng=rng), system.process
            assert isinstance(prediction, Mean)
            assert isinstance(process, Gaussian)
            assert isinstance(x_t, Tensor)
            return prediction.with_x0(problem.denoise(x_t, cond["y"].to(x_t), *process.scalars(t)))

        return denoise


@attrs.frozen(kw_only=True)
class ExactPosterior(Claim):
    """The judge knows a right sampler from a wrong one."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "samples guided by the exact conditional mean E[x_0 | x_t, y] pass operators/posterior: their energy distance "
        "to exact posterior draws is below a twentieth of that of samples that ignore the measurement"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """How far the ratio is below 1/20; 24 measurements, 48 samples each, 100 steps. Sabotaged, guidance is off."""
        mixture = GaussianMixture.random(dim=3, components=4, seed=seed)
        operator = Matrix(rows=((1.0, 0.5, 0.0), (0.0, 1.0, -1.0)), noise=GaussianNoise(std=0.3))
        sampler = FirstOrder(steps=100, grid=Uniform(start=0.999))
        system = mixture_system(mixture, Circle(), sampler=sampler, guidance=Blind(operator=operator))
        inputs = {"n": 48, "measurements": 24}
        blind = Posterior().run(system, inputs, Rng.of(seed, 1)).metrics
        if not sabotage:
            system = attrs.evolve(system, guidance=ExactGuidance(operator=operator))
        guided = blind if sabotage else Posterior().run(system, inputs, Rng.of(seed, 1)).metrics
        numbers = {f"{k}, {name}": v for name, m in (("guided", guided), ("blind", blind)) for k, v in m.items()}
        return Measure(effect=0.05 - guided["energy"] / blind["energy"], numbers=numbers)


@attrs.frozen(kw_only=True)
class Blind(Guidance):
    """Takes the measurement and ignores it."""

    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    operator: SvdOperator = setting(doc="what measured")
