"""A critic of single states, made one of steps."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Critic
from suffuse.contracts.part import module, setting
from suffuse.errors import InvalidInput
from suffuse.state import State
from suffuse_ddgan.chain import one_hot, planes, step_of

__all__ = ["StepCritic"]

_READS = ("x_t", "t")


@module
class StepCritic(Critic):
    """``D(x_s, x_t, t)``, a logit of being a step of the forward process, s = t - 1/T.

    The inner critic sees the channels of x_s, of x_t, and T constant ones, of which the one of t = k/T is 1
    (Xiao et al. 2022, arXiv:2112.07804, appendix C, joins the two images alike and embeds the time): of ``2 C + T``
    channels it may be any, such as ``MlpCritic(shape=(2 * 2 + T,))`` or a convolutional one. The condition holds
    ``x_t`` ``(B, C, *size)`` and ``t`` ``(B,)`` beside what the inner critic takes.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"transitions", "conditional"})

    critic: Critic = setting(doc="scores the joint channels; without batch normalisation")
    T: int = setting(4, "steps of the chain", ge=1)

    @property
    def gives(self) -> frozenset[str]:
        """``transitions``, and ``conditional`` where the inner critic takes labels."""
        return frozenset({"transitions"}) | (self.critic.gives & {"conditional"})

    def check(self, cond: Condition) -> None:
        """What the inner critic takes, beside ``x_t`` and ``t``."""
        self.critic.check(cond.without(_READS))

    def forward(self, x: State, cond: Condition) -> Tensor:
        """``(B,)``, at states x_s."""
        if missing := set(_READS) - set(cond):
            raise InvalidInput(f"a critic of steps needs x_t and t in its condition, {sorted(missing)} missing")
        x_t, t = cond["x_t"], cond["t"]
        if not isinstance(x, Tensor) or x.shape != x_t.shape or t.shape != x.shape[:1]:
            got = f"{getattr(x, 'shape', type(x).__name__)}, {tuple(x_t.shape)} and t {tuple(t.shape)}"
            raise InvalidInput(f"expected x_s and x_t of one shape and t (batch,), got {got}")
        step = planes(one_hot(step_of(t, self.T), self.T).to(x.device), x)
        scores: Tensor = self.critic(torch.cat([x, x_t.to(x.dtype), step], dim=1), cond.without(_READS))
        return scores
