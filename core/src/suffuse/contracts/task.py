"""Tasks, data sets, metrics and claims: what systems are used for and judged by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import Part
from suffuse.rng import Rng
from suffuse.state import State

if TYPE_CHECKING:
    from suffuse.system import System

__all__ = ["Claim", "Dataset", "Example", "Measure", "Metric", "NotHere", "Result", "Task"]


@attrs.frozen(eq=False, kw_only=True)
class Example:
    """Rows of a data set: data (not yet encoded) and what is known of them."""

    x: State
    cond: Condition
    end: State | None = None


class Dataset(Part):
    """Map-style data. The trainer chooses indices from (seed, step), so that a resumed run sees the same batches."""

    kind = "dataset"

    @abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    @abstractmethod
    def rows(self, index: Tensor, rng: Rng) -> Example:
        """These rows. ``rng`` has one stream for each, for augmentation."""


@attrs.frozen(eq=False, kw_only=True)
class Result:
    """What a task found: numbers, tables (rows of named cells), and pictures ``(C, H, W)`` in [0, 1]."""

    metrics: Mapping[str, float] = attrs.field(factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = attrs.field(factory=dict)
    pictures: Mapping[str, Tensor] = attrs.field(factory=dict)
    states: Mapping[str, State] = attrs.field(factory=dict)


class Task(Part):
    """Uses a system: sampling, classifying, restoring, searching, measuring.

    It asks for capabilities by ``needs``, never for classes; a task that never samples does not need a sampler.
    """

    kind = "task"

    @abstractmethod
    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Do it. ``inputs`` are the task's own; unknown or missing ones raise ``InvalidInput``."""


class Metric(Part):
    """A number (or a few) from samples and a reference."""

    kind = "metric"

    @abstractmethod
    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """Named values; the docstring says which direction is better."""


@attrs.frozen(kw_only=True)
class Measure:
    """One measurement of a claim: ``effect`` is positive in the claim's favour; ``numbers`` say what went into it."""

    effect: float
    numbers: Mapping[str, float] = attrs.field(factory=dict)


class NotHere(Exception):
    """Raised by a claim that cannot be measured on this machine (network, accelerator, data), with the reason."""


class Claim(Part, ABC):
    """An executable assertion.

    ``exact``: a closed form or a limit; ``measure`` returns how far inside its tolerance the method is, for one seed,
    and with ``sabotage=True``, the formula broken, how far outside.
    ``claim``: the paper's assertion against its baseline at equal cost, judged over at least five seeds by an
    interval that must lie above ``margin``; with ``sabotage=True``, the method's own idea switched off, it must not.
    ``parity``: equality with an independent implementation or official weights.
    """

    kind = "claim"

    tier: ClassVar[Literal["exact", "claim", "parity"]]
    statement: ClassVar[str]  # what is asserted, with its source
    margin: ClassVar[float] = 0.0
    seeds: ClassVar[int] = 5
    # Why it does not show at this scale, where that was tried and looked into; empty for a claim that must hold.
    does_not_hold: ClassVar[str] = ""

    @abstractmethod
    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """One run. Deterministic given the seed."""
