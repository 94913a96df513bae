"""Objectives: what the trainer minimises, for how many players, and how the plan changes on the way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import Part
from suffuse.contracts.process import Gaussian, Process
from suffuse.rng import Rng
from suffuse.state import State, rows

if TYPE_CHECKING:
    from suffuse.contracts.prediction import Mix
    from suffuse.system import System

__all__ = ["Batch", "Coupling", "Loss", "Objective", "Player", "Progress", "Times", "Weighting"]


@attrs.frozen(eq=False, kw_only=True)
class Batch:
    """Encoded data with its conditions; ``index`` says which rows of the data set they are."""

    x: State
    cond: Condition
    index: Tensor
    end: State | None = None  # the other end, for bridges and paired data

    def select(self, at: Tensor) -> Batch:
        """These rows, labels included: what a coupling's permutation is applied with."""
        end = None if self.end is None else rows(self.end, at)
        return Batch(x=rows(self.x, at), cond=self.cond.index(at), index=self.index[at], end=end)


@attrs.frozen(eq=False)
class Loss:
    """``per_sample`` ``(B,)``: the trainer reduces. ``logs`` are detached scalars.

    ``seen`` are detached tensors ``(B, ...)`` that ``after`` finds in its state under these names, of the whole batch
    over all processes: what an objective learns from its own losses.
    """

    per_sample: Tensor
    logs: Mapping[str, Tensor] = attrs.field(factory=dict)
    seen: Mapping[str, Tensor] = attrs.field(factory=dict)


@attrs.frozen(eq=False, kw_only=True)
class Player:
    """One set of parameters with its own optimiser. It plays at steps divisible by ``every``, ``repeats`` times.

    The learning rate is the run's times ``learning_rate_scale``, for ``adam`` (AdamW) with the run's ``betas`` unless
    the player has its own, and for ``rmsprop`` (Tieleman and Hinton 2012) with torch's defaults. What is a function is
    asked at every step, counted from 0.
    """

    modules: tuple[nn.Module, ...]
    every: int = 1
    repeats: int | Callable[[int], int] = 1
    learning_rate_scale: float | Callable[[int], float] = 1.0
    optimizer: Literal["adam", "rmsprop"] = "adam"
    betas: tuple[float, float] | Callable[[int], tuple[float, float]] | None = None

    def turns(self, step: int) -> int:
        """How often it plays at this step."""
        if step % self.every:
            return 0
        return self.repeats(step) if callable(self.repeats) else self.repeats


# Checkpointed with everything else: numbers and tensors by name.
Progress = Mapping[str, "int | float | Tensor"]


class Objective(Part, ABC):
    """A training objective. Networks of its own (a critic, a teacher) are fields that are Modules.

    It is saved with every checkpoint: its modules' weights and its ``Progress``. ``uses_data`` is False where batches
    are drawn by a sampler or from an energy; then ``loss`` gets an empty batch's place, None.
    """

    kind = "objective"
    uses_data = True

    def players(self, system: System) -> Mapping[str, Player]:
        """Who trains what; by default one player, the model."""
        assert isinstance(system.model, nn.Module)
        return {"model": Player(modules=(system.model,))}

    def start(self, system: System, rng: Rng) -> Progress:
        """The state at step 0."""
        return {}

    @abstractmethod
    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """The player's loss on a batch. ``rng`` has one stream for each sample of it."""

    def project(self, player: str, system: System) -> None:
        """Put the player's parameters back where they must lie (a box, a ball), in place, after each update of them.

        Called without gradients. What is no parameter of this player must not change.
        """

    def ema(self, step: int) -> float | None:
        """The decay of the moving average of the system's weights after this step, counted from 0.

        None leaves it to the run's settings.
        """
        return None

    def after(self, state: Progress, step: int, system: System, rng: Rng) -> Progress:
        """What changes after a step: a teacher replaced, a grid halved, an average kept, new rollouts drawn."""
        return state


class Times(Part):
    """The distribution of training times.

    ``joint`` times are drawn for a batch as a whole (stratified): then a row's time depends on its neighbours.
    """

    kind = "times"

    joint: ClassVar[bool] = False

    @abstractmethod
    def draw(self, process: Process, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Times ``(n,)`` in float64 and importance weights ``(n,)`` that keep the objective's expectation.

        One time for each frame or token is ``(n, frames)``, with one weight a sample all the same.
        """


class Weighting(Part):
    """The loss weight of a noise level, for the squared error of the network's raw output.

    An output error of a mix ``a x_0 + b eps`` is ``-(alpha b - sigma a)/sigma`` times the error in x_0 at the same
    x_t, so a weight published for one reading converts to any other.
    """

    kind = "weighting"

    @abstractmethod
    def weight(self, process: Gaussian, t: Tensor, mix: Mix) -> Tensor:
        """Float64, of the shape of t, finite and non-negative, for an output that means ``mix``."""


class Coupling(Part):
    """Pairs data with the other end (noise or a second data set) and returns indices, so that labels follow."""

    kind = "coupling"

    @abstractmethod
    def pair(self, x0: State, x1: State, rng: Rng) -> tuple[Tensor, Tensor]:
        """Row indices into x0 and x1."""
