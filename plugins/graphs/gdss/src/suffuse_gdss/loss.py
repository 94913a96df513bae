"""The training objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress, Times
from suffuse.contracts.part import setting
from suffuse.errors import Unsupported
from suffuse.parts import UniformTimes
from suffuse.rng import Rng
from suffuse.state import combine, leaves
from suffuse.system import System

__all__ = ["PartialScores"]


@attrs.frozen(kw_only=True)
class PartialScores(Objective):
    """``1/2 sum_leaves |sigma_t s(x_t, t) + eps|^2``: denoising score matching of each leaf's score of the joint law.

    Jo et al. 2022, arXiv:2202.02514, eq. 6 and 7, with the weight ``sigma_t^2`` of the authors' code: the sum over all
    entries of X and of A, each pair of nodes twice, for t uniform. The terms' networks share no parameters, so one
    backward pass of the sum gives both their gradients.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"linear-gaussian", "mean|noise"})

    times: Times = setting(factory=UniformTimes, doc="the law of t")
    decay: float = setting(1.0, "factor of the learning rate from step to step", gt=0, le=1)

    def players(self, system: System) -> Mapping[str, Player]:
        """The model, with its decaying learning rate."""
        model = cast(nn.Module, system.model)
        return {"model": Player(modules=(model,), learning_rate_scale=lambda step: self.decay**step)}

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Streams: ``times``, the process's ``noise``, and ``model``. Logs have each leaf's term."""
        assert batch is not None
        assert system.process is not None
        t, weight = self.times.draw(system.process, rng.size, rng)
        corruption = system.process.corrupt(batch.x, t, rng=rng)
        if corruption.noise is None:
            raise Unsupported(f"score matching needs the noise of {type(system.process).__name__}, which gives none")
        prediction = system.plain(corruption.x_t, t, batch.cond, rng=rng.at("model"))
        errors = combine(1.0, prediction.eps, -1.0, corruption.noise)
        terms = {name: v.flatten(1).square().sum(1) / 2 for name, v in leaves(errors)}
        total: Tensor = torch.stack(list(terms.values())).sum(0)
        logs = {name: v.detach().mean() for name, v in terms.items() if name not in ("", "mask")}
        return Loss(total * weight.to(total), logs)
