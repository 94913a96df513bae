"""Data with auxiliary variables: the space of such states, and the way from data there and back."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.network import Codec
from suffuse.contracts.part import setting
from suffuse.contracts.space import Space
from suffuse.errors import InvalidInput
from suffuse.parts import Identity
from suffuse.state import State
from suffuse_mdm.kernel import variables

__all__ = ["Augmented", "Lift"]

_K = "K, data included: as many as the process has"


def _sizes(shape: tuple[int, ...]) -> str | None:
    return None if shape and all(n >= 1 for n in shape) else f"expected sizes of at least 1, got {list(shape)}"


@attrs.frozen(kw_only=True)
class Augmented(Space):
    """``{"x", "v", "v2", ...}``: K real tensors of the data's shape."""

    provides: ClassVar[frozenset[str]] = frozenset({"flat"})

    shape: tuple[int, ...] = setting(doc="one datum's shape, such as [1, 8, 8]", check=_sizes)
    variables: int = setting(2, _K, ge=1)

    def like(self, n: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> State:
        """Zeros."""
        zeros = torch.zeros(n, *self.shape, dtype=dtype, device=device)
        return {name: zeros.clone() for name in variables(self.variables)}


@attrs.frozen(kw_only=True)
class Lift(Codec):
    """Data as ``x`` with auxiliary variables of zero, whose law the process's kernel has; decoding forgets them."""

    variables: int = setting(2, _K, ge=1)
    codec: Codec = setting(factory=Identity, doc="what stands between the data and x")

    def encode(self, data: State) -> State:
        """``{"x": data, "v": 0, ...}``."""
        x = self.codec.encode(data)
        if not isinstance(x, Tensor):
            raise InvalidInput(f"expected data of one tensor, got the leaves {sorted(x)}")
        return {name: x if name == "x" else torch.zeros_like(x) for name in variables(self.variables)}

    def decode(self, state: State) -> State:
        """The data."""
        if isinstance(state, Tensor) or "x" not in state:
            raise InvalidInput("expected a state with the leaf x")
        return self.codec.decode(state["x"])
