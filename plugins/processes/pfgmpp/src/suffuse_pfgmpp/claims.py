"""The field behind the flow, its limit, and what heavy tails are good for."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_edm.deterministic import Heun
from suffuse_edm.process import Edm
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Measure
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import energy_distance
from suffuse_pfgmpp.exact import ExactStudent, point_weights
from suffuse_pfgmpp.inject import Inject
from suffuse_pfgmpp.process import Pfgmpp

__all__ = ["DiffusionLimit", "Field", "PointDenoiser", "Robust"]

_PAPER = "Xu et al. 2023, arXiv:2302.04265"


@module
class PointDenoiser(Denoiser):
    """The exact denoiser of finitely many equal points, under ``Pfgmpp`` or a Gaussian process."""

    provides: ClassVar[frozenset[str]] = frozenset({"mean"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    points: tuple[tuple[float, ...], ...]

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
        """``sum_i w_i y_i`` at ``x/alpha`` and ``sigma/alpha``."""
        if not isinstance(process, Gaussian) or not isinstance(x_t, Tensor):
            raise Unsupported("this exact denoiser takes a tensor state of a process with a scalar kernel")
        alpha, sigma = process.scalars(as_time(t))
        y = torch.tensor(self.points, dtype=torch.float64)
        D = process.D if isinstance(process, Pfgmpp) else math.inf
        w = point_weights(x_t / alpha.reshape(-1, 1), y, sigma / alpha, D)
        return Mean(value=(w @ y).to(x_t), x_t=x_t, t=as_time(t), process=process, mix=(1.0, 0.0))


@attrs.frozen(kw_only=True)
class Field(Claim):
    """The electric field."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "(x - E[y | x, r])/r is E_x/E_r, the direction of the field of the data's charges in N + D dimensions "
        f"({_PAPER}, section 3)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """200 states, 7 charges, D of 1, 5.5 and 64; relative tolerance 1e-10. Sabotaged, weights are Gaussian."""
        g = torch.Generator().manual_seed(seed)
        x, y = 2 * torch.randn(200, 3, generator=g, dtype=torch.float64), torch.randn(7, 3, generator=g).double()
        r, worst = 0.1 + 5 * torch.rand(200, generator=g, dtype=torch.float64), 0.0
        for D in (1.0, 5.5, 64.0):
            offset = torch.cat([x[:, None] - y, r[:, None, None].expand(200, 7, 1)], 2)
            d = offset.norm(dim=2, keepdim=True)
            E = (offset / (d / d.amin(1, keepdim=True)) ** (3 + D)).sum(1)  # each row up to a factor
            w = point_weights(x, y, r / D**0.5, math.inf if sabotage else D)
            flow = (x - w @ y) / r[:, None]
            worst = max(worst, float(((flow - E[:, :3] / E[:, 3:]).abs() / (1 + flow.abs())).max()))
        return Measure(effect=1e-10 - worst, numbers={"deviation": worst})


@attrs.frozen(kw_only=True)
class DiffusionLimit(Claim):
    """Many dimensions."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        f"with D = 1e8 trajectories are those of EDM from the same noise, at every step ({_PAPER}, section 4)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """In units of ``1 + sigma``, to 1e-3: c/D is off 1 by 1.4e-4. Sabotaged, D = 100."""
        points = tuple(map(tuple, (2 * torch.eye(3)).tolist()))
        paths = []
        for process in (Pfgmpp(D=100.0 if sabotage else 1e8), Edm()):
            system = System(
                model=PointDenoiser(points=points), process=process, space=Euclidean(shape=(3,)), sampler=Heun()
            )
            steps = [info for _, info in system.stream(200, seed=seed, dtype=torch.float64)]
            paths.append(torch.stack([i.x_t / (1 + 80 * i.t) for i in steps] + [steps[-1].x_s]))
        worst = float((paths[0] - paths[1]).abs().max())
        return Measure(effect=1e-3 - worst, numbers={"deviation": worst})


@attrs.frozen(kw_only=True)
class Robust(Claim):
    """Noise on the way."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with noise of 0.3 sigma injected before every step, samples with D = N are closer to the data than those of "
        "diffusion, both with their exact denoisers and the same sampler: their excess of -log p is at least a fifth "
        f"less ({_PAPER}, section 5.2, figure 4)"
    )
    margin: ClassVar[float] = math.log(1.25)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Log of the ratio of excesses of ``-log p`` over that of the data, diffusion's over that of D = 16.

        Two components of 16 decaying variances, 150 samples, 18 steps of Heun. Sabotaged, D is infinite: diffusion
        with other noise. Without injection (alpha = 0) both excesses are the solver's; they are told too.
        """
        numbers: dict[str, float] = {}
        for alpha in (0.0, 0.3):
            for name, process in (("diffusion", Edm()), ("D", Edm() if sabotage else Pfgmpp(D=16.0))):
                excess, distance = self._harm(process, alpha, seed + (1000 if name == "D" else 0))
                numbers[f"excess, {name}, alpha = {alpha:g}"] = excess
                numbers[f"energy distance, {name}, alpha = {alpha:g}"] = distance
        ratio = numbers["excess, diffusion, alpha = 0.3"] / numbers["excess, D, alpha = 0.3"]
        return Measure(effect=math.log(ratio), numbers=numbers)

    @staticmethod
    def _harm(process: Gaussian, alpha: float, seed: int) -> tuple[float, float]:
        mixture = _decaying()
        system = System(
            model=ExactStudent(mixture=mixture),
            process=process,
            space=Euclidean(shape=(16,)),
            sampler=Heun(),
            guidance=Inject(alpha=alpha),
        )
        x, y = system.sample(150, seed=seed, dtype=torch.float64), mixture.sample(_generator(1), 4000)
        assert isinstance(x, Tensor)
        excess = float(mixture.log_prob(y).mean() - mixture.log_prob(x).mean())
        return excess, float(energy_distance(x, y).value)


def _decaying() -> GaussianMixture:
    """Two components in 16 dimensions whose variances decay, ``0.5 i^-1.5``."""
    means = 0.5 * torch.randn(2, 16, generator=_generator(0), dtype=torch.float64)
    variances = 0.5 * torch.arange(1, 17, dtype=torch.float64) ** -1.5
    return GaussianMixture(weights=torch.ones(2), means=means, covariances=variances.expand(2, 16).clone())


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
