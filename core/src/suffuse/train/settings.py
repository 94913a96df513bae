"""What a training run is: an experiment file's contents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from suffuse.capabilities import Given, check
from suffuse.contracts.objective import Objective
from suffuse.contracts.part import setting
from suffuse.contracts.task import Dataset
from suffuse.errors import SpecError
from suffuse.system import System, parts_of

__all__ = ["Experiment", "Settings"]


@attrs.frozen(kw_only=True)
class Settings:
    """The optimisation: Adam(W) with linear warm-up, gradient clipping and an exponential moving average."""

    steps: int = setting(doc="optimiser steps of the first player", ge=1)
    batch: int = setting(128, "samples a step, over all devices", ge=1)
    learning_rate: float = setting(2e-4, "Adam's step size after the warm-up", gt=0)
    warmup: int = setting(0, "steps of linear warm-up", ge=0)
    decay: Literal["none", "cosine"] = setting("none", "learning rate after the warm-up", choices=("none", "cosine"))
    betas: tuple[float, float] = setting((0.9, 0.999), "Adam's decay rates")
    weight_decay: float = setting(0.0, "decoupled weight decay (AdamW)", ge=0)
    clip: float = setting(1.0, "largest gradient norm of a player", gt=0)
    ema: float = setting(0.9999, "decay of the moving average of the weights; ramps up as (1+n)/(10+n)", ge=0, lt=1)
    precision: Literal["no", "bf16", "fp16"] = setting("no", "mixed precision", choices=("no", "bf16", "fp16"))
    log_every: int = setting(50, "steps between log lines", ge=1)
    save_every: int = setting(1000, "steps between checkpoints", ge=1)
    keep: int = setting(2, "checkpoints kept", ge=1)


@attrs.frozen(eq=False, kw_only=True)
class Experiment:
    """An experiment file: what is trained, on what, how, and what the card says of the result.

    ``data`` is left out for an objective that draws its own batches. Raises ``IncompatibleComponents`` where the system
    lacks what the objective or one of its parts needs, and ``SpecError`` for an objective without the data it needs.
    """

    system: System
    objective: Objective
    train: Settings
    data: Dataset | None = None
    seed: int = setting(0, "of the initial weights, the batches and all noise", ge=0)
    card: Mapping[str, Any] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if self.data is None and self.objective.uses_data:
            raise SpecError(f"{type(self.objective).__name__} trains on data: this setting is required", path="data")
        parts = [*parts_of(self.system), ("objective", self.objective), *parts_of(self.objective, "objective")]
        check([Given(path, type(part).__name__, part.needs, part.gives) for path, part in parts])


def default_folder(file: Path) -> Path:
    """Where a run of this experiment file goes unless told otherwise."""
    return Path("runs") / file.stem
