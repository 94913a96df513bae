"""The core's own parts: grids, endings and combinators that belong to no paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoise
from suffuse.contracts.network import Codec
from suffuse.contracts.objective import Times, Weighting
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mean, Mix, Prediction
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.contracts.sampler import Carry, Grid, Step, StepInfo, Terminal
from suffuse.errors import SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, tree_map

if TYPE_CHECKING:
    from suffuse.system import System

__all__ = [
    "AtMean",
    "Chain",
    "Clip",
    "Identity",
    "Interval",
    "LogSnr",
    "Range",
    "Stop",
    "ToZero",
    "Uniform",
    "UniformTimes",
    "UnitWeight",
]


@attrs.frozen(kw_only=True)
class Uniform(Grid):
    """Evenly spaced times from ``start`` down to, but not including, 0: ``t_i = start (1 - i/steps)``."""

    start: float = setting(1.0, "the first time", gt=0, le=1)

    def times(self, process: Process, steps: int) -> Tensor:
        """``start (1 - i/steps)``, i = 0 .. steps - 1."""
        return self.start * (1 - torch.arange(steps, dtype=torch.float64) / steps)


@attrs.frozen(kw_only=True)
class LogSnr(Grid):
    """Evenly spaced log-SNR between two times (Lu et al., DPM-Solver, 2022, arXiv:2206.00927, section 3.3).

    Where the process ends with next to no signal the grid starts at the log-SNR ``lowest`` instead.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    start: float = setting(1.0, "the first time", gt=0, le=1)
    end: float = setting(1e-3, "the last time", gt=0, lt=1)
    lowest: float = setting(-10.0, "the least log-SNR to start from", lt=0)

    def times(self, process: Process, steps: int) -> Tensor:
        """The times of ``steps`` evenly spaced values of ``log_snr`` from ``start`` to ``end``."""
        if not isinstance(process, Gaussian):
            raise Unsupported("log-SNR grids need a Gaussian process")
        lo, hi = process.log_snr(as_time([self.start, self.end]))
        clipped = bool(lo < self.lowest)
        first, last = max(float(lo), self.lowest), float(hi)
        if not first < last < float("inf"):
            raise Unsupported(f"log-SNR is {first:g} at start={self.start} and {last:g} at end={self.end}")
        times = process.time(torch.linspace(first, last, steps, dtype=torch.float64))
        if not clipped:
            times[0] = self.start  # the inverse rounds
        return times


@attrs.frozen(kw_only=True)
class ToZero(Terminal):
    """One more step of the solver, to t = 0."""

    def close(self, times: Tensor) -> Tensor:
        """The grid and 0."""
        return torch.cat([times, times.new_zeros(1)])


@attrs.frozen(kw_only=True)
class Stop(Terminal):
    """End at the grid's last time: the state keeps the noise of that level."""

    def close(self, times: Tensor) -> Tensor:
        """The grid as it is."""
        return times


@attrs.frozen(kw_only=True)
class AtMean(Terminal):
    """End with the denoiser's data estimate at the grid's last time, without the solver."""

    def close(self, times: Tensor) -> Tensor:
        """The grid and 0."""
        return torch.cat([times, times.new_zeros(1)])

    def last(self, step: Step) -> Step:
        """Replace the last step by the prediction."""

        def mean(system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
            prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng)
            info = StepInfo(x_t=carry.x, x_s=prediction.x0, t=t, s=s, prediction=prediction, nfe=prediction.nfe)
            return carry.advance(prediction.x0), info

        return mean


@attrs.frozen(kw_only=True)
class Chain(Guidance):
    """Several guidances in order: the first is innermost. The order matters and is saved."""

    parts: tuple[Guidance, ...] = setting(doc="applied from first to last", check=lambda v: None if v else "is empty")

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """The last one's decoration of the ... of the first one's."""
        for part in self.parts:
            inner = part.denoiser(inner, system)
        return inner

    def step(self, inner: Step, system: System) -> Step:
        """Likewise for steps."""
        for part in self.parts:
            inner = part.step(inner, system)
        return inner


@attrs.frozen(kw_only=True)
class Interval(Guidance):
    """A guidance that acts for ``low <= t <= high`` only, and costs nothing elsewhere.

    Kynkäänniemi et al., Applying guidance in a limited interval, 2024, arXiv:2404.07724 (there in sigma).
    """

    guidance: Guidance = setting(doc="what acts inside the interval")
    low: float = setting(0.0, "lower end, in the process's time", ge=0, le=1)
    high: float = setting(1.0, "upper end, in the process's time", ge=0, le=1)

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            raise SpecError(f"low must be at most high, got low={self.low}, high={self.high}")

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """The guided denoiser inside, the plain one outside."""
        guided = self.guidance.denoiser(inner, system)

        def denoise(
            x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
        ) -> Prediction:
            return (guided if self._inside(t) else inner)(x_t, t, cond, s=s, rng=rng)

        return denoise

    def step(self, inner: Step, system: System) -> Step:
        """The guided step inside, the plain one outside, by the time it starts from."""
        guided = self.guidance.step(inner, system)

        def step(system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
            return (guided if self._inside(t) else inner)(system, carry, t, s, rng)

        return step

    def _inside(self, t: Tensor) -> bool:
        inside = (t >= self.low) & (t <= self.high)
        if bool(inside.all()) != bool(inside.any()):
            raise Unsupported("an interval needs all samples of a batch on one side of its ends")
        return bool(inside.all())


@attrs.frozen(kw_only=True)
class Clip(Guidance):
    """Clip the data estimate to the codec's range in state space; eps and all else follow from the clipped value.

    In the code of Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv:2006.11239, not in its text.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mean"})
    space: ClassVar[str] = "x0"

    low: float = setting(-1.0, "lowest value of a state")
    high: float = setting(1.0, "highest value of a state")

    def __attrs_post_init__(self) -> None:
        _ordered(self.low, self.high)

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """``x0 <- clip(x0)``."""

        def denoise(
            x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
        ) -> Prediction:
            prediction = inner(x_t, t, cond, s=s, rng=rng)
            if not isinstance(prediction, Mean):
                raise Unsupported(f"only a mean can be clipped, got a prediction of kind '{prediction.name}'")
            return prediction.with_x0(tree_map(lambda v: v.clamp(self.low, self.high), prediction.x0))

        return denoise


@attrs.frozen(kw_only=True)
class Identity(Codec):
    """States are data."""

    def encode(self, data: State) -> State:
        """The data."""
        return data

    def decode(self, state: State) -> State:
        """The state."""
        return state


@attrs.frozen(kw_only=True)
class Range(Codec):
    """Data in [low, high] as states in [-1, 1]. Decoding clips: a sample outside the range is no datum."""

    low: float = setting(0.0, "the data's lowest value")  # type: ignore[misc]
    high: float = setting(1.0, "the data's highest value")  # type: ignore[misc]

    def __attrs_post_init__(self) -> None:
        _ordered(self.low, self.high)

    def encode(self, data: State) -> State:
        """``2 (d - low)/(high - low) - 1``."""
        scale = 2 / (self.high - self.low)
        return tree_map(lambda d: (d - self.low) * scale - 1, data)

    def decode(self, state: State) -> State:
        """The inverse, clipped to the range."""
        half = (self.high - self.low) / 2
        return tree_map(lambda x: ((x + 1) * half + self.low).clamp(self.low, self.high), state)


@attrs.frozen(kw_only=True)
class UniformTimes(Times):
    """``t ~ U(0, 1]``, each sample's time its own."""

    def draw(self, process: Process, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Times and unit weights."""
        t = 1 - rng.at("times").uniform(torch.empty(n, dtype=torch.float64, device=rng.device))
        return t, torch.ones_like(t)


@attrs.frozen(kw_only=True)
class UnitWeight(Weighting):
    """Every noise level counts alike."""

    def weight(self, process: Gaussian, t: Tensor, mix: Mix) -> Tensor:
        """Ones."""
        return torch.ones_like(as_time(t))


def _ordered(low: float, high: float) -> None:
    if not low < high:
        raise SpecError(f"low must be below high, got low={low}, high={high}")
