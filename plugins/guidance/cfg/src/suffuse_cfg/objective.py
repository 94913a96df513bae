"""Training with and without the condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import torch

from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress
from suffuse.contracts.part import setting
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System

__all__ = ["Drop"]


@attrs.frozen(kw_only=True)
class Drop(Objective):
    """Another objective, with the condition of each sample dropped with probability ``p_uncond``.

    So one network learns the conditional and the unconditional denoiser: Ho and Salimans, Classifier-Free Diffusion
    Guidance, 2022, arXiv:2207.12598, algorithm 1. The named entries of a sample go together. The draw is a function
    of the sample's own stream (``drop``); the inner objective's noise is what it would be alone. Everything else is
    the inner objective's.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"conditional"})

    objective: Objective = setting(doc="what is trained")
    p_uncond: float = setting(0.1, "probability that a sample is trained without its condition", ge=0, le=1)
    entries: tuple[str, ...] = setting((), "the condition's entries that are dropped; all if none is named")

    @property
    def uses_data(self) -> bool:
        """As the inner objective."""
        return self.objective.uses_data

    def players(self, system: System) -> Mapping[str, Player]:
        """Those of the inner objective."""
        return self.objective.players(system)

    def start(self, system: System, rng: Rng) -> Progress:
        """As the inner objective."""
        return self.objective.start(system, rng)

    def after(self, state: Progress, step: int, system: System, rng: Rng) -> Progress:
        """As the inner objective."""
        return self.objective.after(state, step, system, rng)

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """The inner loss on the batch with some conditions dropped.

        Raises ``InvalidInput`` for a batch without conditions; where the inner objective makes its own batches,
        nothing is dropped.
        """
        if batch is not None:
            if not batch.cond:
                raise InvalidInput("cfg/drop needs data with a condition to drop, got a batch without one")
            device = next(iter(batch.cond.values())).device
            u = rng.at("drop").uniform(torch.empty(rng.size, dtype=torch.float64, device=device))
            batch = attrs.evolve(batch, cond=batch.cond.drop(*self.entries, where=u < self.p_uncond))
        return self.objective.loss(player, batch, system, state, rng)
