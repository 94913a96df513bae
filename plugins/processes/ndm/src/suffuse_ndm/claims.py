"""The bound's limit, the marginals, and what a learned transform is worth."""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_mlp.backbone import Mlp
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.objective import Batch
from suffuse.contracts.part import module
from suffuse.contracts.prediction import Endpoint
from suffuse.contracts.process import Process, as_time
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Measure
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import covariance_within, mean_within
from suffuse_ndm.bound import Continuous, Discrete
from suffuse_ndm.predictor import Predictor
from suffuse_ndm.process import Gamma, NeuralDiffusion

__all__ = ["Limit", "Marginals", "Tighter", "stirred"]

_PAPER = "Bartosh et al. 2023, arXiv:2310.08337"


def stirred(seed: int, dim: int = 2) -> NeuralDiffusion:
    """A process in float64 whose transform is far from the identity."""
    with seeded(seed):
        network = Mlp(shape=(dim,), width=16, depth=1, frequencies=4, bandwidth=0.5).double()
        for p in network.parameters():
            torch.nn.init.normal_(p, std=0.5)
    schedule = Gamma(gamma_min=-6.0, gamma_max=6.0)
    return NeuralDiffusion(network=network.requires_grad_(False), schedule=schedule, scale=1.0, shift=0.0)


@module
class _Constant(Denoiser):
    """Tells the same data whatever it sees."""

    provides: ClassVar[frozenset[str]] = frozenset({"endpoint"})

    x_hat: tuple[float, ...]

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Endpoint:
        """The constant."""
        assert isinstance(x_t, Tensor)
        value = torch.tensor(self.x_hat, dtype=torch.float64).expand_as(x_t)
        return Endpoint(value=value, x_t=x_t, t=as_time(t))


@attrs.frozen(kw_only=True)
class Limit(Claim):
    """Many steps."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "the sum of T divergences tends to the integral of e^-gamma gamma'/2 |dF - dF'/gamma'|^2, for a random "
        f"nonlinear transform ({_PAPER}, sections 3.2 and 3.3)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Sums at T = 1000 and 2000, extrapolated to 1/T = 0, against 4000 midpoints: relative tolerance 1e-4.

        The error left is of order ``1/T^2`` times the fourth power of gamma's range over that of t, 12 here. Sabotaged,
        the two terms are added.
        """
        process, x = stirred(seed, 1), torch.tensor([[0.7]], dtype=torch.float64)
        system = System(model=_Constant(x_hat=(-0.4,)), process=process, space=Euclidean(shape=(1,)))

        def batch(n: int) -> Batch:
            return Batch(x=x.expand(n, 1), cond=Condition(), index=torch.arange(n))

        sums = [
            float(Discrete(T=T).divergence(system, batch(T), torch.arange(1, T + 1), Rng.of(0, T)).sum())
            for T in (1000, 2000)
        ]
        t = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
        if sabotage:
            value, slope = process.moving(torch.cat([x.expand(4000, 1), -0.4 + 0 * x.expand(4000, 1)]), t.repeat(2))
            snr = process.schedule.log_snr(t).exp()
            added = (value[:4000] - value[4000:]) + (slope[:4000] - slope[4000:]) / 12
            integral = float((6 * snr[:, None] * added.square()).detach().mean())
        else:
            integral = float(Continuous().integrand(system, batch(4000), t, Rng.of(0, 4000)).detach().mean())
        off = abs((2 * sums[1] - sums[0]) / integral - 1)
        numbers = {"relative error": off, "sum, T = 2000": sums[1], "integral": integral}
        return Measure(effect=1e-4 - off, numbers=numbers)


@attrs.frozen(kw_only=True)
class Marginals(Claim):
    """Any posterior of the family."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "z_t ~ q(z_t | x) and z_s ~ q(z_s | z_t, x) give q(z_s | x), for eta of 0, 1/2 and 1 and a random nonlinear "
        f"transform ({_PAPER}, equation 8)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Means and covariances of 20,000 draws, within five standard errors. Sabotaged, F stays that of t."""
        process, n, worst = stirred(seed), 20_000, 0.0
        x = torch.tensor([[0.7, -0.3]], dtype=torch.float64).expand(n, 2)
        for i, (t, s, eta) in enumerate(((0.9, 0.5, 1.0), (0.5, 0.1, 0.5), (0.4, 0.39, 0.0))):
            rng, time, earlier = Rng.of(seed, n).at(i), as_time(t), as_time(s)
            z_t = process.corrupt(x, time, rng=rng).x_t
            z_s = process.posterior(z_t, x, time, earlier, eta=eta).sample(rng.at("posterior"))
            assert isinstance(z_s, Tensor)
            alpha, sigma = process.schedule.scalars(earlier)
            mean = alpha * process.transform(x[:1], time if sabotage else earlier)[0]
            found = mean_within(z_s, mean), covariance_within(z_s, sigma**2 * torch.eye(2, dtype=torch.float64))
            worst = max(worst, *(w.worst for w in found))
        return Measure(effect=5 - worst, numbers={"off, in standard errors": worst})


@attrs.frozen(kw_only=True)
class Tighter(Claim):
    """Few steps."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with T = 5 steps a learned transform brings the bound to less than 0.75 of that of the same diffusion without "
        f"one, whose network has as many weights as both networks together ({_PAPER}, section 5)"
    )
    margin: ClassVar[float] = -math.log(0.75)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Log of the ratio of bounds in bits/dim on new data, all steps. Sabotaged, F is the identity.

        A ring of eight Gaussians, gamma from -6 to 6; residual networks, 220 steps of 128 rows.
        """
        fixed = _bound(seed, width=68, transform=0)
        learned = _bound(seed, width=48, transform=0 if sabotage else 48)
        data = GaussianMixture.ring(8, radius=2**0.5, std=2**0.5 / 8)
        entropy = -float(data.log_prob(data.sample(torch.Generator().manual_seed(0), 20_000)).mean())
        numbers = {"bits/dim, fixed": fixed, "bits/dim, learned": learned, "entropy": entropy / (2 * math.log(2))}
        return Measure(effect=math.log(fixed / learned), numbers=numbers)


@cache
def _bound(seed: int, *, width: int, transform: int) -> float:
    data, T = GaussianMixture.ring(8, radius=2**0.5, std=2**0.5 / 8), 5
    with seeded(seed):
        predicts = Mlp(shape=(2,), width=width, depth=1, frequencies=16)
        moves = Mlp(shape=(2,), width=transform, depth=1, frequencies=16) if transform else None
    schedule = Gamma(gamma_min=-6.0, gamma_max=6.0)
    system = System(
        model=Predictor(backbone=predicts, scale=1.0, shift=0.0),
        process=NeuralDiffusion(network=moves, schedule=schedule, scale=1.0, shift=0.0),
        space=Euclidean(shape=(2,)),
    )
    rows = rows_of(data.sample(torch.Generator().manual_seed(seed), 20_000).float())
    objective = Discrete(T=T)
    fit(system, objective, rows, steps=220, batch=128, seed=seed, learning_rate=8e-3, decay=True)
    test = data.sample(torch.Generator().manual_seed(seed + 1000), 4000).float()
    batch = Batch(x=test, cond=Condition(), index=torch.arange(4000))
    rng = Rng.of(seed, 4000).at("test")
    with torch.no_grad():
        once = objective.loss("model", batch, system, {}, rng)
        steps = [objective.divergence(system, batch, torch.tensor(n), rng.at(n)).mean() for n in range(1, T + 1)]
    return float(once.logs["prior"] + once.logs["data"] + sum(steps) / (2 * math.log(2)))
