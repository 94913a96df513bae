"""The baseline: of N whole samples the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.reward import Reward
from suffuse.contracts.sampler import stream
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import tree_map
from suffuse.system import System

__all__ = ["BestOf"]


@attrs.frozen(kw_only=True)
class BestOf(Task):
    """Draws ``samples`` whole samples for each row and keeps the one of the highest reward, for each row by itself.

    The baseline of Li et al., 2024, arXiv:2408.08252, at equal numbers of draws. (The authors' code pools the draws of
    all rows and keeps the best N-th part of them.) Inputs: ``cond``, if the model takes one.
    """

    reward: Reward = setting(doc="what chooses")
    samples: int = setting(10, "N, whole samples for each that is kept", ge=1)

    @torch.no_grad()
    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """State ``samples``, data of ``rng.size`` rows, and ``reward`` ``(B,)``; metrics ``reward`` and ``nfe``, a row.

        Raises ``InvalidInput`` for other inputs.
        """
        if unknown := set(inputs) - {"cond"}:
            raise InvalidInput(f"best-of takes cond, if the model does, got {sorted(unknown)}")
        cond = inputs.get("cond") or Condition()
        cond = (cond if isinstance(cond, Condition) else Condition(cond)).to(system.device)
        system.check(cond)
        if cond.size not in (None, rng.size):
            raise InvalidInput(f"expected a condition of {rng.size} rows, one for each stream, got {cond.size}")
        n, many = rng.size, Condition.cat([cond] * self.samples)
        weights = next(system.model.parameters(), torch.empty(0))
        like = system.space.like(n * self.samples, dtype=weights.dtype, device=system.device)
        nfe = 0
        for carry, info in stream(system, like, many, rng.repeat(self.samples)):
            x, nfe = carry.x, nfe + info.nfe * self.samples
        data = system.codec.decode(x)
        reward = self.reward.value(data, many).view(self.samples, n)
        at = reward.argmax(0) * n + torch.arange(n, device=reward.device)
        best: Tensor = reward.amax(0)
        kept = tree_map(lambda v: v[at], data)
        return Result(metrics={"reward": float(best.mean()), "nfe": nfe}, states={"samples": kept, "reward": best})
