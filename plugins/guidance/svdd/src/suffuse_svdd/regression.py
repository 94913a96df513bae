"""SVDD-MC's training: the value of a state on the way is the reward that its sample came to."""

from __future__ import annotations

from typing import ClassVar, cast

import attrs
import torch
from suffuse_ddpo.epochs import conditions
from suffuse_ddpo.rollouts import evaluating
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress
from suffuse.contracts.part import setting
from suffuse.contracts.reward import Reward
from suffuse.contracts.sampler import stream
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.system import System, parts_of
from suffuse_svdd.guidance import unguided
from suffuse_svdd.values import Learned

__all__ = ["ValueRegression"]


@attrs.frozen(kw_only=True)
class ValueRegression(Objective):
    """``(v(x_s) - r(x_0))^2`` on trajectories of the unguided sampler, at all their states alike.

    The minimum is ``E[r(x_0) | x_s]``, the limit of the soft value for large alpha, and stands for it at any. Li et
    al., 2024, arXiv:2408.08252 (Monte Carlo regression). Trains the ``Learned`` value of the system's guidance, and
    nothing else. An epoch of trajectories is drawn at the start and again after every ``updates`` steps; it is kept in
    the checkpointed progress.

    Raises ``Unsupported`` unless the system has one learned value and states of one tensor.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"learned-value", "stochastic"})
    uses_data = False

    reward: Reward = setting(doc="what is raised; it needs no gradient")
    classes: int = setting(0, "labels that prompts are drawn from; 0 for none", ge=0)
    trajectories: int = setting(16, "an epoch's trajectories, for each row of a batch", ge=1)
    updates: int = setting(200, "steps on one epoch's trajectories", ge=1)

    def players(self, system: System) -> dict[str, Player]:
        """One, the value."""
        return {"value": Player(modules=(_learned(system),))}

    def start(self, system: System, rng: Rng) -> Progress:
        """The first epoch."""
        return self._epoch(system, rng)

    def after(self, state: Progress, step: int, system: System, rng: Rng) -> Progress:
        """The same epoch, or the next."""
        return state if step % self.updates else self._epoch(system, rng)

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Of one state of one trajectory a row, both drawn uniformly."""
        states, times, reward = (cast(Tensor, state[name]) for name in ("states", "times", "reward"))
        device = states.device
        at, row = (rng.at(name).integers(0, n).to(device) for name, n in zip(("step", "row"), times.shape, strict=True))
        cond = Condition(label=cast(Tensor, state["label"])[row]) if self.classes else Condition()
        value = _learned(system)(states[at, row], times[at, row], cond)
        return Loss((value - reward[row].to(value)).square(), {"reward": reward.mean()})

    @torch.no_grad()
    def _epoch(self, system: System, rng: Rng) -> Progress:
        """``states (T, N, *event)`` after each step with their ``times (T, N)``, ``reward`` and ``label`` ``(N,)``."""
        plain, many = unguided(system), rng.repeat(self.trajectories)
        cond = conditions(self.classes, many).to(system.device)
        weights = next(system.model.parameters(), torch.empty(0))
        like = system.space.like(many.size, dtype=weights.dtype, device=system.device)
        if not isinstance(like, Tensor):
            raise Unsupported("value regression takes states of one tensor")
        with evaluating(system.model):
            walk = [(cast(Tensor, carry.x), info.s) for carry, info in stream(plain, like, cond, many)]
        reward = self.reward.value(system.codec.decode(walk[-1][0]), cond)
        label = cond["label"] if self.classes else torch.zeros(many.size, dtype=torch.int64)
        return {
            "states": torch.stack([x for x, _ in walk]),
            "times": torch.stack([s.to(like.device).expand(many.size) for _, s in walk]),
            "reward": reward.detach(),
            "label": label,
        }


def _learned(system: System) -> Learned:
    found = [part for _, part in parts_of(system) if isinstance(part, Learned)]
    if len(found) != 1:
        raise Unsupported(f"value regression trains the one learned value of a guidance, got {len(found)} of them")
    return found[0]
