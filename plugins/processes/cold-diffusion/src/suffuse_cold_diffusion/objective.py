"""The restoration loss."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch

from suffuse.contracts.objective import Batch, Loss, Objective, Progress
from suffuse.contracts.process import Degradation, Process
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import combine, leaves, size
from suffuse.system import System

__all__ = ["L1"]


@attrs.frozen(kw_only=True)
class L1(Objective):
    """``E |R(D(x, t), t) - x|_1``, the mean over a sample's elements.

    Bansal et al. 2022, arXiv:2208.09392, section 3.1. t is uniform over the steps 1/T ... 1 of the
    process's chain, or on (0, 1] where it has none. A batch may bring its degradations' ends (the other images of a
    morph); else the process draws them.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"degradation"})

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Streams: ``times``, the process's own, ``model``."""
        process = system.process
        if batch is None:
            raise InvalidInput("a restoration is learned from data, got no batch")
        if not isinstance(process, Degradation) or not isinstance(process, Process):
            raise Unsupported(f"this objective needs a degradation, got {type(process).__name__}")
        steps, times = getattr(process, "T", None), rng.at("times")
        if steps is None:
            t = 1 - times.uniform(torch.empty(size(batch.x), dtype=torch.float64, device=rng.device))
        else:
            t = times.integers(1, steps + 1).double() / steps
        made = process.corrupt(batch.x, t, rng=rng, end=batch.end)
        prediction = system.plain(made.x_t, t, batch.cond, rng=rng.at("model"))
        errors = combine(1.0, prediction.x0, -1.0, batch.x)
        per_sample = torch.cat([e.abs().flatten(1) for _, e in leaves(errors)], dim=1).mean(1)
        return Loss(per_sample, {"l1": per_sample.detach().mean()})
