"""Epochs: rollouts drawn under the present weights, kept for a number of updates, then drawn again."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Progress
from suffuse.contracts.part import setting
from suffuse.contracts.reward import Reward
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_ddpo.advantages import by_prompt, normalised
from suffuse_ddpo.rollouts import Rollouts, draw

__all__ = ["Epochs", "conditions"]


@attrs.frozen(kw_only=True)
class Epochs:
    """Each epoch is ``updates`` steps on trajectories drawn at its start; a mixin in front of ``Objective``.

    An epoch draws ``updates`` times the run's batch. Prompts are class labels, drawn uniformly. Rewards become
    advantages by ``by_prompt``, or over the batch where there are no labels, and are clipped. All stands in the
    checkpointed progress.
    """

    uses_data = False

    reward: Reward = setting(doc="what is raised; it needs no gradient")
    classes: int = setting(0, "labels that prompts are drawn from; 0 for none", ge=0)
    fraction: float = setting(1.0, "share of a trajectory's steps in an update, drawn anew each time", gt=0, le=1)
    advantage_clip: float = setting(5.0, "largest absolute advantage", gt=0)
    history: int = setting(32, "latest rewards kept for each prompt", ge=1)
    history_least: int = setting(16, "rewards of a prompt before it is compared with itself", ge=1)

    @property
    def updates(self) -> int:
        """Steps on one epoch's trajectories."""
        return 1

    def start(self, system: System, rng: Rng) -> Progress:
        """The first epoch's rollouts."""
        return self._epoch(system, rng, torch.full((self.classes, self.history), math.nan))

    def after(self, state: Progress, step: int, system: System, rng: Rng) -> Progress:
        """The next minibatch, or the next epoch's rollouts."""
        if step % self.updates:
            return {**state, "update": step % self.updates}
        history = state["history"]
        assert isinstance(history, Tensor)
        return self._epoch(system, rng, history)

    def minibatch(self, state: Progress, n: int, rng: Rng) -> tuple[dict[str, Tensor], Tensor]:
        """This update's n trajectories, by name, and the steps ``(K, n)`` of each that it trains on."""
        at = slice(int(state["update"]) * n, (int(state["update"]) + 1) * n)
        found = {k: v for k, v in state.items() if isinstance(v, Tensor)}
        part = {k: v[:, at] if k in ("states", "log_prob") else v[at] for k, v in found.items() if k in _OF_ROWS}
        steps = found["steps"]
        count = max(1, round(self.fraction * len(steps)))
        if count == len(steps):
            order = torch.arange(count)[:, None].expand(count, n)
        else:
            order = rng.at("steps").permutation(len(steps))[:, :count].T
        part["log_prob"] = part["log_prob"].gather(0, order.to(part["log_prob"].device))
        return part, steps.to(order.device)[order]

    def _epoch(self, system: System, rng: Rng, history: Tensor) -> Progress:
        many = rng.repeat(self.updates)
        cond = conditions(self.classes, many)
        rollouts = draw(system, self.reward, cond, many)
        advantage, history = self._advantages(rollouts, cond, history)
        found = {"states": rollouts.states, "log_prob": rollouts.log_prob, "steps": rollouts.steps, "history": history}
        label = cond["label"] if self.classes else torch.zeros(many.size, dtype=torch.int64)
        return {**found, "label": label, "advantage": advantage, "reward": rollouts.reward, "update": 0}

    def _advantages(self, rollouts: Rollouts, cond: Condition, history: Tensor) -> tuple[Tensor, Tensor]:
        if self.classes:
            advantage, history = by_prompt(rollouts.reward, cond["label"], history, self.history_least)
        else:
            advantage = normalised(rollouts.reward)
        return advantage.clamp(-self.advantage_clip, self.advantage_clip), history


_OF_ROWS = ("states", "log_prob", "label", "advantage", "reward")


def conditions(classes: int, rng: Rng) -> Condition:
    """A label for each row, or nothing."""
    return Condition(label=rng.at("prompts").integers(0, classes)) if classes else Condition()
