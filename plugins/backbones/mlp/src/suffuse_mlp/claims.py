"""What the Fourier features and the network are good for."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Parameterization, Scaling
from suffuse.contracts.objective import Batch
from suffuse.contracts.prediction import Mix
from suffuse.contracts.process import Gaussian
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Measure
from suffuse.parts import UnitWeight
from suffuse.preconditioned import Preconditioned
from suffuse.regression import denoising_loss
from suffuse.rng import Rng
from suffuse.state import expand
from suffuse.system import System
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle
from suffuse_mlp.backbone import Mlp

__all__ = ["Denoises", "Features"]


@attrs.frozen(kw_only=True)
class Features(Claim):
    """Fast functions of a low-dimensional input."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with Fourier features of enough bandwidth the network learns a fast function of c_noise (ten periods) sooner "
        "than with slow features, at equal size and steps (arXiv:2006.10739, section 6)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """log of the ratio of squared errors after 200 steps: bandwidth 0.1 over bandwidth 10."""
        slow, fast = (_sine_error(seed, b) for b in (0.1, 0.1 if sabotage else 10.0))
        return Measure(effect=math.log(slow / fast), numbers={"error, slow": slow, "error, fast": fast})


def _sine_error(seed: int, bandwidth: float) -> float:
    net = _network(seed, shape=(1,), width=64, depth=2, bandwidth=bandwidth)
    optimizer, rng = torch.optim.Adam(net.parameters(), lr=2e-3), torch.Generator().manual_seed(seed)

    def error(c_noise: Tensor) -> Tensor:
        out = net(torch.zeros(len(c_noise), 1), c_noise, Condition())[:, 0]
        return (out - torch.sin(20 * math.pi * c_noise)).square().mean()

    for _ in range(200):
        optimizer.zero_grad()
        error(torch.rand(256, generator=rng)).backward()
        optimizer.step()
    with torch.no_grad():
        return float(error(torch.linspace(0, 1, 2000)))


@attrs.frozen(kw_only=True)
class Denoises(Claim):
    """A trained network against the exact denoiser."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "trained for 500 steps on a ring of eight Gaussians, the network's excess risk over the exact denoiser is "
        "below a quarter of that of the best denoiser that is affine at every noise level"
    )
    margin: ClassVar[float] = math.log(4)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """log of the ratio of excess risks, affine over network. Sabotage: a network blind to c_noise."""
        mixture, process = GaussianMixture.ring(8, radius=1.5, std=0.3), Circle()
        network = self._train(mixture, process, seed, blind=sabotage)
        rng = Rng.of(seed, 4096).at("test")
        t = _times(rng)
        x_t = process.corrupt(truth(mixture, rng.size, seed).float(), t, rng=rng).x_t
        exact = mixture_system(mixture, process).plain(x_t, t, Condition()).v
        with torch.no_grad():
            learned = network.plain(x_t, t, Condition()).v
        numbers = {
            "excess risk": float((learned - exact).square().mean()),
            "excess risk, affine": float((_affine(mixture, process, x_t, t) - exact).square().mean()),
        }
        return Measure(effect=math.log(numbers["excess risk, affine"] / numbers["excess risk"]), numbers=numbers)

    def _train(self, mixture: GaussianMixture, process: Gaussian, seed: int, *, blind: bool) -> System:
        net = _network(seed, width=64, depth=3, bandwidth=1e-9 if blind else 1.0)
        model = Preconditioned(backbone=net, parameterization=_Velocity(), trained=process)
        system = System(model=model, space=Euclidean(shape=(2,)))
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
        data = truth(mixture, 8192, seed + 1).float()
        for step in range(500):
            rng = Rng.of(seed, 256).at("train", step)
            index = rng.at("data").integers(0, len(data))
            batch = Batch(x=data[index], cond=Condition(), index=index)
            loss = denoising_loss(system, batch, _times(rng), UnitWeight().weight, rng)
            optimizer.zero_grad()
            loss.per_sample.mean().backward()
            optimizer.step()
            schedule.step()
        return system


@attrs.frozen(kw_only=True)
class _Velocity(Parameterization):
    """The output is v, the conditioning t."""

    def mix(self, process: Gaussian, t: Tensor) -> Mix:
        alpha, sigma = process.scalars(t)
        return -sigma, alpha

    def scaling(self, process: Gaussian, t: Tensor) -> Scaling:
        return Scaling(1.0, t)


def _network(seed: int, **settings: int | float | tuple[int, ...]) -> Mlp:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Mlp(**settings)


def _times(rng: Rng) -> Tensor:
    """Uniform on [0.02, 0.98]."""
    return 0.02 + 0.96 * rng.at("times").uniform(torch.empty(rng.size, dtype=torch.float64))


def _affine(mixture: GaussianMixture, process: Gaussian, x_t: Tensor, t: Tensor) -> Tensor:
    """The exact v of a Gaussian with the ring's moments, mean 0 and covariance c I: the best affine one."""
    c = mixture.moments()[1][0, 0]
    alpha, sigma = process.scalars(t)
    # x0 = alpha c x_t / (alpha^2 c + sigma^2), eps = sigma x_t / (...), v = alpha eps - sigma x0.
    return x_t * expand(alpha * sigma * (1 - c) / (alpha**2 * c + sigma**2), x_t)
