"""Data of a few levels, as tokens."""

from __future__ import annotations

import attrs
from torch import Tensor

from suffuse.contracts.network import Codec
from suffuse.contracts.part import setting
from suffuse.errors import SpecError
from suffuse.state import State, tree_map

__all__ = ["Levels"]


@attrs.frozen(kw_only=True)
class Levels(Codec):
    """Values from ``low`` to ``high`` at ``symbols`` even levels, such as grey values, as tokens 0 ... K - 1.

    Values between two levels go to the nearest.
    """

    low: float = setting(0.0, "the value of token 0")  # type: ignore[misc]
    high: float = setting(16.0, "the value of token K - 1")  # type: ignore[misc]
    symbols: int = setting(17, "K, the number of levels", ge=2)

    def __attrs_post_init__(self) -> None:
        if not self.low < self.high:
            raise SpecError(f"low must be below high, got low={self.low}, high={self.high}")

    def encode(self, data: State) -> State:
        """The nearest level's number, int64; outside the range the end's."""
        top, width = self.symbols - 1, self.high - self.low

        def leaf(v: Tensor) -> Tensor:
            return ((v - self.low) * (top / width)).round().clamp(0, top).long()

        return tree_map(leaf, data)

    def decode(self, state: State) -> State:
        """The level's value, float32."""
        scale = (self.high - self.low) / (self.symbols - 1)
        return tree_map(lambda v: v.float() * scale + self.low, state)
