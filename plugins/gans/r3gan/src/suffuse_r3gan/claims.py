"""The paper's assertions, on games whose equilibrium is known."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_digits.classifier import shipped
from suffuse_digits.dataset import Digits
from suffuse_digits.metrics import Frechet
from suffuse_wgan.latents import Gaussian
from suffuse_wgan.mlp import MlpCritic, MlpGenerator
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Generator, Latent
from suffuse.contracts.network import Critic
from suffuse.contracts.objective import Batch
from suffuse.contracts.part import module, setting
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Example, Measure
from suffuse.parts import Range
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse_r3gan.dirac import distance_after, eigenvalues, field
from suffuse_r3gan.loss import R3Gan

__all__ = ["DiracConverges", "DiracField", "PenaltiesStabilise", "Relativistic"]

_PAPER = "Huang et al. 2024, arXiv:2501.05441"


@module
class _Point(Generator):
    """The generator of the Dirac-GAN: always theta."""

    latent: Latent = setting(factory=lambda: Gaussian(dim=1), doc="ignored")

    def __attrs_post_init__(self) -> None:
        self.theta = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, z: State, cond: Condition, *, rng: Rng | None = None) -> Tensor:
        assert isinstance(z, Tensor)
        return self.theta + 0 * z


@module
class _Line(Critic):
    """The critic of the Dirac-GAN: ``psi x``."""

    def __attrs_post_init__(self) -> None:
        self.psi = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: State, cond: Condition) -> Tensor:
        assert isinstance(x, Tensor)
        return x[:, 0] * self.psi


def _descent(theta: Tensor, psi: Tensor, gamma: float) -> Tensor:
    """``(theta', psi')`` from the objective itself, by autograd, with a graph where the arguments have one."""
    generator, critic = _Point(), _Line()
    objective = R3Gan(critic=critic, gamma=(gamma, gamma))
    system = System(model=generator, space=Euclidean(shape=(1,)))
    with torch.no_grad():
        generator.theta.copy_(theta)
        critic.psi.copy_(psi)
    batch = Batch(x=torch.zeros(1, 1, dtype=torch.float64), cond=Condition(), index=torch.zeros(1, dtype=torch.long))
    found = []
    for player, weight in (("generator", generator.theta), ("critic", critic.psi)):
        loss = objective.loss(player, batch, system, {"step": 0}, Rng.of(0, 1)).per_sample.sum()
        found.append(-torch.autograd.grad(loss, weight)[0])
    return torch.cat(found)


@attrs.frozen(kw_only=True)
class DiracField(Claim):
    """The objective on the Dirac-GAN."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "with data at 0, samples at theta and D(x) = psi x both players' gradients are those of the closed form, whose "
        f"Jacobian at 0 has the eigenvalues -g/2 +- sqrt(g^2/4 - 1/4), g = 2 gamma ({_PAPER}, section 2.2)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Errors of the field (1e-12) and, by central differences of 1e-5, of the eigenvalues (1e-8).

        R1 and R2 are both psi^2, so ``gamma/2 (R1 + R2)`` has the slope ``2 gamma psi``. Sabotage leaves out R2.
        """
        g = torch.Generator().manual_seed(seed)
        gamma = float(torch.rand((), generator=g, dtype=torch.float64)) + 0.05
        total = gamma * (1 if sabotage else 2)
        at = torch.randn(2, generator=g, dtype=torch.float64)
        theta, psi = at.split(1)
        exact = torch.tensor(field(float(theta), float(psi), total), dtype=torch.float64)
        off = float((_descent(theta, psi, gamma) - exact).abs().max())
        h, columns = 1e-5, []
        for axis in (0, 1):
            ahead = torch.zeros(2, dtype=torch.float64)
            ahead[axis] = h
            there, back = (_descent(*(s * ahead).split(1), gamma) for s in (1, -1))
            columns.append((there - back) / (2 * h))
        values = torch.linalg.eigvals(torch.stack(columns, 1))
        known = torch.tensor(eigenvalues(total), dtype=torch.complex128)
        pairs = (values - known).abs().max(), (values - known.flip(0)).abs().max()
        apart = float(min(pairs))
        return Measure(effect=min(1e-12 - off, 1e-8 - apart), numbers={"field": off, "eigenvalues": apart})


@attrs.frozen(kw_only=True)
class Relativistic(Claim):
    """What the loss does not see, and what it sees twice."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "a constant added to D changes no loss, the generator's loss is the critic's with data and samples exchanged, "
        f"and for a linear D both penalties are |w|^2 ({_PAPER}, equation 2)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest error, in float64; the tolerance is 1e-12. Sabotage scores samples only."""
        rng = Rng.of(seed, 64)
        with seeded(seed):
            generator = MlpGenerator(latent=Gaussian(dim=2), shape=(3,), width=8).double()
            critic = _Affine(dim=3).double()
        system = System(model=generator, space=Euclidean(shape=(3,)))
        x = rng.at("x").normal(torch.empty(64, 3, dtype=torch.float64))
        batch = Batch(x=x, cond=Condition(), index=torch.arange(64))

        def losses(penalties: str) -> tuple[Tensor, Tensor]:
            objective = R3Gan(critic=critic, penalties=penalties, gamma=(2.0, 2.0))
            return tuple(objective.loss(p, batch, system, {"step": 0}, rng).per_sample for p in ("critic", "generator"))

        plain, made = losses("none")
        square = critic.layer.weight.square().sum()
        errors = [(losses(p)[0] - plain - square * n).abs().max() for p, n in (("r1", 1), ("r2", 1), ("both", 2))]
        # softplus(a) - softplus(-a) = a: the two losses differ by the gap that both see, with opposite signs.
        gap = critic(x, Condition()) - critic(generator(_latents(generator, rng), Condition()), Condition())
        errors.append((made - plain - (gap if not sabotage else gap + 1)).abs().max())
        with torch.no_grad():
            critic.layer.bias += 3.0
        errors += [(a - b).abs().max() for a, b in zip(losses("none"), (plain, made), strict=True)]
        worst = float(torch.stack([e.detach() for e in errors]).max())
        return Measure(effect=1e-12 - worst, numbers={"error": worst})


def _latents(generator: MlpGenerator, rng: Rng) -> State:
    return generator.latent.law(rng.size, dtype=torch.float64, device="cpu").sample(rng.at("latent"))


@module
class _Affine(Critic):
    """``w x + b``."""

    dim: int = setting(3, "of a sample", ge=1)

    def __attrs_post_init__(self) -> None:
        self.layer = nn.Linear(self.dim, 1)

    def forward(self, x: State, cond: Condition) -> Tensor:
        scores: Tensor = self.layer(x)[:, 0]
        return scores


@attrs.frozen(kw_only=True)
class DiracConverges(Claim):
    """Convergence, with and without penalties."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "from any start on the unit circle, 2000 Euler steps of 0.05 bring the penalised Dirac-GAN within 0.01 of its "
        f"equilibrium, while without penalties it stays beyond 0.3 ({_PAPER}, section 2.2)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smaller of ``log10(0.01/penalised)`` and ``log10(free/0.3)``; gamma 0.1. Sabotage has gamma 0."""
        angle = 2 * math.pi * float(torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
        start = math.cos(angle), math.sin(angle)
        found = {name: distance_after(*start, 0.0 if sabotage else 0.1 * n) for name, n in (("r1", 1), ("both", 2))}
        found["none"] = distance_after(*start, 0.0)
        worst = max(found["r1"], found["both"])
        return Measure(effect=min(math.log10(0.01 / worst), math.log10(found["none"] / 0.3)), numbers=found)


@attrs.frozen(kw_only=True)
class PenaltiesStabilise(Claim):
    """Real images."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with R1 and R2 the relativistic loss learns 8x8 digits better than without penalties, by the Fréchet distance "
        f"at equal time ({_PAPER}, section 2.3 and table 1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Logarithm of the ratio of Fréchet distances to the test digits, without penalties over with.

        Perceptrons of 128 units, batch 64, Adam at 2e-3, gamma 1; 200 steps with penalties and 250, which take as
        long, without. In sabotage no side has penalties, so both are one run.
        """
        free = _frechet(seed, "none", 250)
        held = free if sabotage else _frechet(seed, "both", 200)
        return Measure(effect=math.log(free / held), numbers={"none": free, "both": held})


def _frechet(seed: int, penalties: str, steps: int) -> float:
    """The distance between 1000 samples and the test digits, in the features of the digits' classifier."""
    with seeded(seed):
        generator = MlpGenerator(latent=Gaussian(dim=32), shape=(1, 8, 8), width=128, depth=2, slope=0.2, output="tanh")
        critic = MlpCritic(shape=(1, 8, 8), width=128, depth=2, slope=0.2)
    objective = R3Gan(
        critic=critic,
        penalties=penalties,
        gamma=(1.0, 1.0),
        burn_in=steps,
        rate=(1.0, 1.0),
        beta2=(0.99, 0.99),
        half_life=(0.0, 10.0),
    )
    system = System(model=generator, space=Euclidean(shape=(1, 8, 8)), codec=Range(low=0.0, high=16.0))
    data = rows_of(system.codec.encode(Digits(split="train").everything().x))
    fit(system, objective, data, steps=steps, batch=64, seed=seed, learning_rate=2e-3, clip=math.inf)
    found = Frechet(encoder=shipped()).measure(
        Example(x=system.sample(1000, seed=seed), cond=Condition()), Digits(split="test").everything()
    )
    return found["frechet"]
