"""DDPM's simplified objective."""

from __future__ import annotations

from typing import ClassVar, cast

import attrs

from suffuse.contracts.objective import Batch, Loss, Objective, Progress, Times, Weighting
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.errors import InvalidInput
from suffuse.parts import UnitWeight
from suffuse.regression import denoising_loss
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_ddpm.times import Steps

__all__ = ["Simple"]


@attrs.frozen(kw_only=True)
class Simple(Objective):
    """``mean |F - q|^2`` at a random time: for a network that says eps, L_simple of arXiv:2006.11239, eq. 14.

    F is the network's raw output and q what it means (``ddpm/eps``, ``ddpm/v``, ...). The paper's ablation is this
    objective with ``ddpm/x0``, or with the weighting ``ddpm/vlb``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    times: Times = setting(factory=Steps, doc="the distribution of training times")
    weighting: Weighting = setting(factory=UnitWeight, doc="weight of the output's squared error")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """The weighted mean squared error for each sample. Streams: ``times``, ``noise``, ``model``."""
        if batch is None:
            raise InvalidInput("a denoising regression needs data")
        process = cast(Gaussian, system.process)  # by ``needs``
        t, importance = self.times.draw(process, len(batch.index), rng)
        loss = denoising_loss(system, batch, t, self.weighting.weight, rng)
        return Loss(loss.per_sample * importance.to(loss.per_sample), loss.logs)
