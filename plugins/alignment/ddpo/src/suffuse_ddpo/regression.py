"""The baseline: regression on one's own samples, weighted by their reward."""

from __future__ import annotations

import math
from typing import ClassVar, cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch, Loss, Objective, Progress, Times, Weighting
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.reward import Reward
from suffuse.contracts.sampler import stream
from suffuse.parts import UniformTimes, UnitWeight
from suffuse.regression import denoising_loss
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_ddpo.epochs import conditions
from suffuse_ddpo.rollouts import evaluating

__all__ = ["RewardWeighted"]


@attrs.frozen(kw_only=True)
class RewardWeighted(Objective):
    """The denoising loss on samples of the present weights, weighted by ``exp(r / temperature)`` (RWR).

    Weights have mean 1 over an epoch, of the run's batch and ``updates`` steps on it. With ``share`` they are instead
    equal for that share of best samples and 0 for all others (RWR-sparse). Lee et al., Aligning Text-to-Image Models
    using Human Feedback, 2023, arXiv:2302.12192; Black et al., 2023, arXiv:2305.13301, section 4.2.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    uses_data = False

    reward: Reward = setting(doc="what weighs samples")
    classes: int = setting(0, "labels that prompts are drawn from; 0 for none", ge=0)
    temperature: float = setting(0.2, "reward by which a weight grows e-fold", gt=0)
    share: float | None = setting(None, "share of best samples that are kept; by default all are weighted", gt=0, le=1)
    updates: int = setting(4, "steps on one epoch's samples", ge=1)
    times: Times = setting(factory=UniformTimes, doc="the distribution of training times")
    weighting: Weighting = setting(factory=UnitWeight, doc="weight of the output's squared error")

    def start(self, system: System, rng: Rng) -> Progress:
        """The first epoch's samples."""
        cond = conditions(self.classes, rng)
        with torch.no_grad(), evaluating(system.model):
            x = _states(system, cond, rng)
            reward = self.reward.value(system.codec.decode(x), cond)
        label = cond["label"] if self.classes else torch.zeros(rng.size, dtype=torch.int64)
        return {"x": x, "weight": self._weights(reward.detach()), "reward": reward.detach(), "label": label}

    def after(self, state: Progress, step: int, system: System, rng: Rng) -> Progress:
        """New samples after ``updates`` steps."""
        return state if step % self.updates else self.start(system, rng)

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """One term a sample."""
        x, weight, label, reward = (cast(Tensor, state[k]) for k in ("x", "weight", "label", "reward"))
        cond = Condition(label=label) if self.classes else Condition()
        rows = Batch(x=x, cond=cond, index=torch.arange(len(x)))
        t, importance = self.times.draw(cast(Gaussian, system.process), len(x), rng)
        found = denoising_loss(system, rows, t, self.weighting.weight, rng)
        return Loss(found.per_sample * (importance.to(weight) * weight), {"reward": reward.mean(), **found.logs})

    def _weights(self, reward: Tensor) -> Tensor:
        if self.share is None:
            return (reward / self.temperature).softmax(0) * len(reward)
        best = reward >= reward.topk(math.ceil(self.share * len(reward))).values[-1]
        return best / best.to(reward).mean()


def _states(system: System, cond: Condition, rng: Rng) -> Tensor:
    x: Tensor = system.space.like(rng.size, device=system.device)  # type: ignore[assignment]
    for carry, _ in stream(system, x, cond, rng):
        x = cast(Tensor, carry.x)
    return x
