"""What the paper asserts, on mixtures whose denoiser is known."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.linear import Linear
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry
from suffuse.contracts.task import Claim, Measure
from suffuse.parts import Uniform
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import energy_distance
from suffuse_ddim.grids import Leading
from suffuse_ddim.inversion import Invert
from suffuse_ddim.sampler import Ddim

__all__ = ["Ancestral", "FewSteps", "Order", "RoundTrip"]


@attrs.frozen(kw_only=True)
class Ancestral(Claim):
    """The family's end at eta = 1."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "at eta = 1 every step of the chain n -> n - 1, and every longer one, is a draw from the posterior "
        "q(x_s | x_t, x_0) at the predicted x_0: DDPM's ancestral sampling (arXiv:2010.02502, section 4.1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest error of mean and standard deviation; in float64, 1e-12 leaves two digits to rounding."""
        process = Discrete()
        system = mixture_system(
            GaussianMixture.random(dim=3, components=4, seed=seed), process, sampler=Ddim(eta=0.5 if sabotage else 1.0)
        )
        rng = Rng.of(seed, 256)
        n = rng.at("n").integers(2, 1001).double()
        before = (n - 1 - (n - 2) * rng.at("length").uniform(n).round()).floor()  # half go one step, half go to n = 1
        carry = Carry(x=_noise(rng, 3), cond=Condition())
        _, info = system.sampler.step(system, carry, n / 1000, before / 1000, rng)
        law = process.posterior(info.x_t, info.prediction.x0, n / 1000, before / 1000)
        numbers = {
            "error of the mean": float((info.transition.mean - law.mean).abs().max()),
            "error of the std": float((info.transition.std - law.std).abs().max()),
        }
        return Measure(effect=1e-12 - max(numbers.values()), numbers=numbers)


@attrs.frozen(kw_only=True)
class Order(Claim):
    """The family's end at eta = 0."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "at eta = 0 the sampler is an Euler method of the probability-flow ODE: on Gaussian data its error against "
        "the closed form falls like 1/steps (arXiv:2010.02502, equation 14 and proposition 1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """How far within 0.1 of 1 the order is."""
        rng = Rng.of(seed, 32)
        generator, process = torch.Generator().manual_seed(seed), Linear()
        mean = torch.randn(3, dtype=torch.float64, generator=generator)
        variance = (0.2 + 0.4 * torch.rand((), dtype=torch.float64, generator=generator)) ** 2
        start, end = as_time(1.0), as_time(0.02)
        (a, b), (c, d) = process.scalars(start), process.scalars(end)
        x = _noise(rng, 3)
        exact = c * mean + ((c**2 * variance + d**2) / (a**2 * variance + b**2)).sqrt() * (x - a * mean)
        system = mixture_system(
            GaussianMixture.single(mean, variance), process, sampler=Ddim(eta=1.0 if sabotage else 0.0)
        )
        errors = {}
        for steps in (200, 400, 800):
            times = torch.linspace(1.0, 0.02, steps + 1, dtype=torch.float64)
            found = system.sample(start=x, times=times, dtype=torch.float64, seed=seed)
            errors[steps] = float((found - exact).square().mean().sqrt())
        return _order(errors, 0.1)


@attrs.frozen(kw_only=True)
class RoundTrip(Claim):
    """Encoding is the inverse of sampling."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "encoding data along the reversed ODE and decoding the latent returns the data, with an error that falls "
        "like 1/steps, up to a logarithm (arXiv:2010.02502, section 5.4 and table 2, where it falls with the steps)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """How far within 0.2 of 1 the order is: sigma starts like sqrt(t), and ``log(N)/N`` has the order 1 - 1/log(N).

        Sabotaged, the decoder's grid starts elsewhere than the encoder's.
        """
        mixture = GaussianMixture.random(dim=3, components=4, seed=seed)
        data, rng = truth(mixture, 32, seed), Rng.of(seed, 32)
        errors = {}
        for steps in (200, 400, 800):
            system = mixture_system(mixture, Linear(), sampler=Ddim(steps=steps))
            result = Invert().run(system, {"data": data}, rng)
            if sabotage:
                other = attrs.evolve(system, sampler=Ddim(steps=steps, grid=Uniform(start=0.5)))
                found = other.sample(start=result.states["latent"], dtype=torch.float64)
                errors[steps] = float((found - data).square().mean().sqrt())
            else:
                errors[steps] = result.metrics["rmse"]
        return _order(errors, 0.2)


@attrs.frozen(kw_only=True)
class FewSteps(Claim):
    """Less noise is better where steps are few."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "at 10 and at 20 evaluations DDIM (eta = 0) is closer to the data than ancestral sampling (eta = 1) on the "
        "same grid, in energy distance on four overlapping Gaussians (arXiv:2010.02502, section 5.1 and table 1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smaller of the two gains in energy distance, of 2500 samples."""
        mixture, n = GaussianMixture.ring(4, radius=1.5, std=0.6), 2500
        data, numbers, gains = truth(mixture, n, seed), {}, []
        for steps in (10, 20):
            found = {}
            for eta in (1.0 if sabotage else 0.0, 1.0):
                sampler = Ddim(steps=steps, eta=eta, grid=Leading())
                x = mixture_system(mixture, Discrete(), sampler=sampler).sample(n, seed=seed, dtype=torch.float64)
                found[eta] = energy_distance(x, data).value
                numbers[f"energy distance, {steps} steps, eta={eta:g}"] = found[eta]
            gains.append(found[1.0] - found[min(found)])
        return Measure(effect=min(gains), numbers=numbers)


def _noise(rng: Rng, dim: int) -> Tensor:
    return rng.at("start").normal(torch.empty(rng.size, dim, dtype=torch.float64))


def _order(errors: dict[int, float], tolerance: float) -> Measure:
    """An error C/N (1 + c/N) has slopes with a bias of c/N; two of them, extrapolated, are free of it."""
    coarse, fine = (math.log2(a / b) for a, b in pairwise(errors.values()))
    order = 2 * fine - coarse
    numbers = {"order": order, **{f"rmse, {steps} steps": e for steps, e in errors.items()}}
    return Measure(effect=tolerance - abs(order - 1), numbers=numbers)
