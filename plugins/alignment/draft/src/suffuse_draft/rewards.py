"""A reward from any classifier."""

from __future__ import annotations

from typing import ClassVar

import attrs
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Encoder
from suffuse.contracts.part import setting
from suffuse.contracts.reward import Reward
from suffuse.errors import InvalidInput
from suffuse.state import State

__all__ = ["ClassLikelihood"]


@attrs.frozen(kw_only=True, eq=False)
class ClassLikelihood(Reward):
    """``log p(label | x)`` by an encoder with logits."""

    provides: ClassVar[frozenset[str]] = frozenset({"differentiable"})

    encoder: Encoder = setting(doc="a classifier of data")
    label: int = setting(doc="the class that is wished for", ge=0)

    def value(self, data: State, cond: Condition) -> Tensor:
        """In nats. Raises ``InvalidInput`` for an encoder without logits or with too few."""
        if not isinstance(data, Tensor):
            raise InvalidInput("a classifier takes data that are one tensor")
        logits = self.encoder(data).logits
        if logits is None or logits.shape[1] <= self.label:
            got = "no logits" if logits is None else f"{logits.shape[1]} classes"
            raise InvalidInput(f"label={self.label} needs a classifier that knows it, got {got}")
        value: Tensor = logits.log_softmax(1)[:, self.label]
        return value
