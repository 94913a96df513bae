"""The paper's assertions, on data whose denoiser is known exactly."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian, Kernel, Process, as_time
from suffuse.contracts.sampler import Grid, Sampler
from suffuse.contracts.task import Claim, Measure
from suffuse.parts import Stop
from suffuse.state import State
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse_edm.ablation import Ablation
from suffuse_edm.deterministic import Euler, Heun
from suffuse_edm.grid import Rho
from suffuse_edm.precondition import Precondition
from suffuse_edm.process import Edm

__all__ = ["HeunBeatsEuler", "OneTrajectory", "Orders", "RhoSeven", "UnitVariance"]

_PAPER = "Karras et al. 2022, arXiv:2206.00364"
_RING = GaussianMixture.ring(8, 1.0, 0.05)
_PARTICLES = 300


@attrs.frozen(kw_only=True)
class Vp(Gaussian):
    """The baseline's process: ``sigma = sqrt(exp(B) - 1)``, ``s = exp(-B/2)``, ``B = beta_d t^2/2 + beta_min t``."""

    beta_d: float = setting(19.9, "the slope of beta", gt=0)
    beta_min: float = setting(0.1, "beta at t = 0", gt=0)

    def kernel(self, t: Tensor) -> Kernel:
        """``(exp(-B/2), sqrt(1 - exp(-B)))``."""
        t = as_time(t)
        b = self.beta_d * t**2 / 2 + self.beta_min * t
        return Kernel((-b / 2).exp(), (-torch.expm1(-b)).sqrt())

    def time(self, log_snr: Tensor) -> Tensor:
        """The positive root of ``B(t) = ln(1 + exp(-log_snr))``."""
        b = torch.logaddexp(-log_snr, torch.zeros_like(log_snr))
        return (2 * b / ((self.beta_min**2 + 2 * self.beta_d * b).sqrt() + self.beta_min)).clamp(0, 1)


@attrs.frozen(kw_only=True)
class Linear(Grid):
    """The baseline's grid: evenly spaced times from 1 to 0.001."""

    def times(self, process: Process, steps: int) -> Tensor:
        """``1 + i/(N-1) (0.001 - 1)``."""
        return torch.linspace(1.0, 1e-3, steps, dtype=torch.float64)


def _sample(process: Gaussian, sampler: Sampler, seed: int) -> Tensor:
    return _end(mixture_system(_RING, process, sampler=sampler).sample(_PARTICLES, seed=seed, dtype=torch.float64))


def _end(state: State) -> Tensor:
    assert isinstance(state, Tensor)  # a mixture's states are
    return state


def _rmse(x: Tensor, y: Tensor) -> float:
    return float((x - y).square().sum(1).mean().sqrt())


@attrs.frozen(kw_only=True)
class UnitVariance(Claim):
    """For data of standard deviation sigma_data the network's input and target have unit variance."""

    tier: ClassVar[Literal["exact", "claim", "parity"]] = "exact"
    statement: ClassVar[str] = f"Var[c_in x] = Var[target of F] = 1 at every noise level ({_PAPER}, appendix B.6)"

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest deviation over 1000 random levels, on two processes; the tolerance is 1e-12.

        Sabotaged, sigma_data is one percent off.
        """
        t = torch.rand(1000, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.999 + 0.001
        worst = 0.0
        for process in (Edm(), Vp()):
            for sd in (0.1, 0.5, 2.0):
                part = Precondition(sigma_data=sd * (1.01 if sabotage else 1))
                (a, b), (alpha, sigma) = part.mix(process, t), process.scalars(t)
                variances = (part.scaling(process, t).c_in ** 2 * ((alpha * sd) ** 2 + sigma**2), (a * sd) ** 2 + b**2)
                worst = max(worst, *(float((as_time(v) - 1).abs().max()) for v in variances))
        return Measure(effect=1e-12 - worst, numbers={"deviation": worst})


@attrs.frozen(kw_only=True)
class Orders(Claim):
    """The solvers' orders, against the closed form for Gaussian data."""

    tier: ClassVar[Literal["exact", "claim", "parity"]] = "exact"
    statement: ClassVar[str] = (
        "x(s) = x(t) sqrt((sd^2 + s^2)/(sd^2 + t^2)) for data N(0, sd^2); Euler's error falls with the first power of "
        f"the step and Heun's with the second ({_PAPER}, section 3)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Orders from three grids of 64, 128 and 256 steps, extrapolated to none; the tolerance is 0.005.

        An error ``C h^p (1 + c h + O(h^2))`` gives ratios of two grids that are off by ``O(h)``, their extrapolation by
        ``O(h^2)``, here about 1/64^2. Sabotaged, Heun's place is taken by Euler.
        """
        sd, low, high = 0.5, 0.002, 80.0
        x = high * torch.randn(1, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        exact = x * math.sqrt((sd**2 + low**2) / (sd**2 + high**2))
        numbers = {}
        for name, solver, order in (("euler", Euler, 1), ("heun", Euler if sabotage else Heun, 2)):
            errors = []
            for n in (65, 129, 257):
                sampler = solver(steps=n, grid=Rho(sigma_min=low, sigma_max=high), terminal=Stop())
                system = mixture_system(GaussianMixture.single([0.0], sd**2), Edm(sigma_max=high), sampler=sampler)
                errors.append(_rmse(_end(system.sample(start=x, dtype=torch.float64)), exact))
            p, q = (math.log2(errors[i] / errors[i + 1]) for i in (0, 1))
            numbers[name] = 2 * q - p
            numbers[f"{name}_off"] = abs(numbers[name] - order)
        return Measure(effect=0.005 - max(numbers["euler_off"], numbers["heun_off"]), numbers=numbers)


@attrs.frozen(kw_only=True)
class OneTrajectory(Claim):
    """Schedules differ only in how a solver walks the one trajectory."""

    tier: ClassVar[Literal["exact", "claim", "parity"]] = "exact"
    statement: ClassVar[str] = (
        "the VP process's trajectory divided by s(t) is that of sigma(t) = t from the same x/s, and solvers of order 2 "
        f"in either time approach each other with order 2 ({_PAPER}, section 3, equation 4)"
    )

    particles: int = setting(100, "how many trajectories", ge=1)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The extrapolated order of the difference of two end points over 64, 128 and 256 steps; tolerance 0.05.

        The ring's end points are compared at noise level 0.02, on grids of ``sigma`` from 20. Sabotaged, the
        VP trajectory starts at x instead of s x.
        """
        start = 20.0 * torch.randn(
            self.particles, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        edm, vp, gaps = Edm(), Vp(), []
        for n in (65, 129, 257):
            sampler = Ablation(steps=n, grid=Rho(sigma_min=0.02, sigma_max=20.0), terminal=Stop())
            ends = []
            for process in (edm, vp):
                system = mixture_system(_RING, process, sampler=sampler)
                times = sampler.times(process)
                (first, _), (last, _) = process.scalars(times[0]), process.scalars(times[-1])
                scale = 1.0 if sabotage else first
                ends.append(_end(system.sample(start=scale * start, times=times, dtype=torch.float64)) / last)
            gaps.append(_rmse(ends[0], ends[1]))
        p, q = (math.log2(gaps[i] / gaps[i + 1]) for i in (0, 1))
        return Measure(effect=0.05 - abs(2 * q - p - 2), numbers={"gap": gaps[-1], "order": 2 * q - p})


@attrs.frozen(kw_only=True)
class HeunBeatsEuler(Claim):
    """The second-order solver against the two Euler baselines."""

    tier: ClassVar[Literal["exact", "claim", "parity"]] = "claim"
    statement: ClassVar[str] = (
        "at 79 evaluations Heun is at least 2.5 times as close to the trajectory's end as Euler on the same grid and "
        f"as Euler on VP with uniform steps ({_PAPER}, section 3, figure 2); at 19 evaluations it need not be"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """``min`` of the two ratios of errors, less 2.5. Sabotage leaves out the second-order correction.

        300 particles, a ring of 8 Gaussians, the exact denoiser; errors are root mean squares against 600 steps of
        Heun from the same noise, for VP from its own level at t = 1.
        """
        edm, vp = Edm(), Vp()
        top = 1 / math.exp(float(vp.log_snr(as_time(1.0))) / 2)
        goal = _sample(edm, Heun(steps=600), seed)
        vp_goal = _sample(vp, Heun(steps=600, grid=Rho(sigma_max=top)), seed)
        numbers = {}
        for nfe in (19, 35, 79):
            numbers[f"heun_{nfe}"] = _rmse(_sample(edm, Heun(steps=(nfe + 1) // 2), seed), goal)
            numbers[f"euler_{nfe}"] = _rmse(_sample(edm, Euler(steps=nfe), seed), goal)
            vp_euler = _sample(vp, Ablation(steps=nfe, order=1, grid=Linear()), seed)
            numbers[f"vp_euler_{nfe}"] = _rmse(vp_euler, vp_goal)
        numbers["heun_over_euler_19"] = numbers["heun_19"] / numbers["euler_19"]
        tested = numbers["euler_79" if sabotage else "heun_79"]
        return Measure(effect=min(numbers["euler_79"], numbers["vp_euler_79"]) / tested - 2.5, numbers=numbers)


@attrs.frozen(kw_only=True)
class RhoSeven(Claim):
    """The grid's exponent."""

    tier: ClassVar[Literal["exact", "claim", "parity"]] = "claim"
    statement: ClassVar[str] = (
        "at 35 evaluations of Heun the grid with rho = 7 is at least 2 times as close to the trajectory's end as that "
        f"with rho = 3 ({_PAPER}, appendix D.1)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The ratio of errors less 2, as in ``HeunBeatsEuler``. Sabotage takes rho = 3 in place of 7."""
        edm = Edm()
        goal = _sample(edm, Heun(steps=600), seed)
        errors = {rho: _rmse(_sample(edm, Heun(steps=18, grid=Rho(rho=rho)), seed), goal) for rho in (1, 3, 5, 7, 10)}
        numbers = {f"rho_{rho}": error for rho, error in errors.items()}
        return Measure(effect=errors[3] / errors[3 if sabotage else 7] - 2, numbers=numbers)
