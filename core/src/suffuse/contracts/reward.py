"""Rewards: what alignment objectives raise."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import Part
from suffuse.state import State

__all__ = ["Reward"]


class Reward(Part):
    """Says how good data are under their condition. Gives ``differentiable`` where its gradient in the data is right.

    A reward sees decoded data, in the codec's range, as metrics do.
    """

    kind = "reward"

    @abstractmethod
    def value(self, data: State, cond: Condition) -> Tensor:
        """``r(x, c)`` of each row, ``(B,)``: higher is better."""
