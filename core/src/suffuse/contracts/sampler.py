"""Samplers: frozen settings, an explicit carry, and one loop for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Law
from suffuse.contracts.part import Part, setting
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Process
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State

if TYPE_CHECKING:
    from suffuse.system import System

__all__ = ["Carry", "Grid", "Sampler", "Step", "StepInfo", "Terminal", "stream"]


@attrs.frozen(eq=False, kw_only=True)
class Carry:
    """All that passes from one step to the next. ``memory`` holds multistep history, momenta or weights."""

    x: State
    cond: Condition
    n: int = 0  # steps done
    memory: Mapping[str, Any] = attrs.field(factory=dict)

    def advance(self, x: State, memory: Mapping[str, Any] | None = None) -> Carry:
        """The carry after one more step."""
        return Carry(x=x, cond=self.cond, n=self.n + 1, memory=self.memory if memory is None else memory)


@attrs.frozen(eq=False, kw_only=True)
class StepInfo:
    """What one step did. ``transition`` is the law that x_s was drawn from, None for a deterministic step.

    Its ``log_prob(x_s)`` follows from the prediction, so it can be recomputed under other weights by repeating the
    step on the stored ``x_t`` (policy gradients) and inverted for the noise (edit-friendly inversion).
    """

    x_t: State
    x_s: State
    t: Tensor
    s: Tensor
    prediction: Prediction | None
    nfe: int
    transition: Law | None = None


class Step(Protocol):
    """A sampler's step, or one decorated by guidance."""

    def __call__(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """From time t to s."""


class Grid(Part):
    """Where a sampler stops on its way: ``steps`` decreasing times, the first at or below 1, the last above 0."""

    kind = "grid"

    @abstractmethod
    def times(self, process: Process, steps: int) -> Tensor:
        """Float64, ``(steps,)``, strictly decreasing, in (0, 1]."""


class Terminal(Part):
    """How a trajectory ends."""

    kind = "terminal"

    @abstractmethod
    def close(self, times: Tensor) -> Tensor:
        """The grid that the loop walks, from the grid's times."""

    def last(self, step: Step) -> Step:
        """Decorate the last step only."""
        return step


@attrs.frozen(kw_only=True)
class Sampler(Part, ABC):
    """A solver and its settings. It keeps nothing: interleaved trajectories cannot meet.

    ``step`` is pure. ``s < t`` samples; ``s > t`` (inversion, renoising) and ``s == t`` (correctors) are legal where
    the solver can. Times are float64 on the CPU, so a step can branch on them without stopping the device; there is
    no ``.item()`` on a state. Gradients are the caller's choice. A class with random steps provides ``stochastic``.
    """

    kind = "sampler"

    # The order of convergence to the probability flow, for deterministic solvers; a setting may give it.
    order: ClassVar[int | None] = None

    steps: int = setting(50, "grid points; the number of steps where the trajectory ends at t = 0", ge=1)
    grid: Grid = setting(factory=lambda: _default("Uniform"), doc="where the grid points lie")
    terminal: Terminal = setting(factory=lambda: _default("ToZero"), doc="how the trajectory ends")

    def times(self, process: Process) -> Tensor:
        """The closed grid, checked: float64, decreasing, within [0, 1]."""
        times = self.terminal.close(self.grid.times(process, self.steps))
        if len(times) < 2 or not bool((times.diff(dim=0) < 0).all()) or times[0] > 1 or times[-1] < 0:
            name = type(self.grid).__name__
            raise Unsupported(f"{name} with steps={self.steps} gives no decreasing grid in [0, 1]: {times.tolist()}")
        return times

    def init(self, system: System, like: State, cond: Condition, rng: Rng, t: Tensor) -> Carry:
        """The start at time t: a draw from the process's prior, stream ``prior``."""
        process = system.process
        law = None if process is None else process.prior(like, cond, t=t)
        if law is None:
            raise Unsupported("this process has no prior to start from: give sample(start=...)")
        return Carry(x=law.sample(rng.at("prior")), cond=cond)

    @abstractmethod
    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """One step from time t to s. ``rng`` belongs to this step; derive streams with ``rng.at(tag)``."""


def stream(
    system: System,
    like: State,
    cond: Condition,
    rng: Rng,
    *,
    start: State | None = None,
    times: Tensor | None = None,
) -> Iterator[tuple[Carry, StepInfo]]:
    """Walk the grid, one ``(carry, info)`` a step: previews, callbacks and early stops are the caller's loop.

    ``start`` replaces the draw from the prior at ``times[0]``; ``times`` replaces the sampler's own grid, and may
    rise (inversion).
    """
    sampler = system.sampler
    if sampler is None or system.process is None:
        raise Unsupported("this system has no sampler or no process to walk through")
    points = system.points if times is None else times.unbind()
    carry = Carry(x=start, cond=cond) if start is not None else sampler.init(system, like, cond, rng, points[0])
    step = system.step
    for i, (t, s) in enumerate(pairwise(points)):
        run = step if i + 2 < len(points) else sampler.terminal.last(step)
        carry, info = run(system, carry, t, s, rng.at("step", i))
        yield carry, info


def _default(name: str) -> Any:  # noqa: ANN401
    from suffuse import parts  # the core's own parts are built on these contracts

    return getattr(parts, name)()
