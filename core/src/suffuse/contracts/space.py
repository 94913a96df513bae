"""What one sample is: names, shapes and kinds of the state's leaves, and the geometry that solvers move in."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import Part, setting
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State, combine, leaves, same_form, tree_map

__all__ = ["Euclidean", "Space", "Tokens"]


class Space(Part):
    """The space of states. Flat spaces give ``like`` alone; manifolds replace the moves, masked states ``project``.

    A graph's space projects node and edge noise onto its mask and symmetrises it; a Lie group's ``exp`` and ``log``
    turn an Euler step into a geodesic one. Solvers that declare the need ``flat`` may use plain arithmetic instead.
    """

    kind = "space"

    @abstractmethod
    def like(self, n: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> State:
        """A state of n samples, zeros, that fixes shapes, dtype and device."""

    def check(self, x: State) -> None:
        """Raise ``InvalidInput`` unless x is a batch of this space, with finite values."""
        first = next(v for _, v in leaves(x))
        if first.ndim == 0 or first.shape[0] == 0:
            raise InvalidInput(f"expected a batch of at least one sample, got shape {tuple(first.shape)}")
        same_form(x, self.like(first.shape[0]), "a batch of states")
        for name, v in leaves(x):
            if v.is_floating_point() and not bool(v.isfinite().all()):
                raise InvalidInput(f"the state{' ' + name if name else ''} has NaN or infinite values")

    def noise(self, like: State, rng: Rng) -> State:
        """Unit noise of this space; a leaf's stream has the leaf's name."""
        drawn = {name: rng.at(name).normal(v) for name, v in leaves(like)}
        return self.project(drawn[""] if isinstance(like, Tensor) else drawn)

    def project(self, x: State) -> State:
        """The nearest point of the space: masks applied, symmetries restored."""
        return x

    def exp(self, x: State, v: State) -> State:
        """Move from x along the tangent v."""
        return combine(1.0, x, 1.0, v)

    def log(self, x: State, y: State) -> State:
        """The tangent at x that leads to y."""
        return combine(1.0, y, -1.0, x)

    def sum_event(self, x: State) -> Tensor:
        """Sum over everything but the batch, ``(B,)``: what turns element-wise terms into log-densities."""
        sums = tree_map(lambda v: v.flatten(1).sum(1), x)
        return sums if isinstance(sums, Tensor) else torch.stack(list(sums.values())).sum(0)


def _sizes(shape: tuple[int, ...]) -> str | None:
    return None if shape and all(n >= 1 for n in shape) else f"expected sizes of at least 1, got {list(shape)}"


@attrs.frozen(kw_only=True)
class Euclidean(Space):
    """One real tensor of a fixed shape: images, vectors, latents."""

    provides: ClassVar[frozenset[str]] = frozenset({"flat"})

    shape: tuple[int, ...] = setting(doc="one sample's shape, such as [1, 8, 8]", check=_sizes)

    def like(self, n: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
        """Zeros of shape ``(n, *shape)``."""
        return torch.zeros(n, *self.shape, dtype=dtype, device=device)


@attrs.frozen(kw_only=True)
class Tokens(Space):
    """One integer tensor of a fixed shape: text, quantised images, codes. Symbols are 0 ... K - 1, the mask is K."""

    provides: ClassVar[frozenset[str]] = frozenset({"tokens"})

    shape: tuple[int, ...] = setting(doc="one sample's shape, such as [256]", check=_sizes)
    symbols: int = setting(doc="K, the number of symbols of data", ge=2)
    mask: bool = setting(False, "whether a state may hold the mask, K, too: to start sampling from masked data")

    def like(self, n: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
        """Zeros of shape ``(n, *shape)``; int64 whatever the dtype, which is that of real states."""
        return torch.zeros(n, *self.shape, dtype=torch.int64, device=device)

    def check(self, x: State) -> None:
        """Raise ``InvalidInput`` unless x is a batch of integers in the alphabet."""
        Space.check(self, x)
        (_, v), top = next(leaves(x)), self.symbols - 1 + self.mask
        if v.is_floating_point() or v.is_complex() or v.dtype == torch.bool:
            raise InvalidInput(f"expected integer tokens, got {v.dtype}")
        if bool(((v < 0) | (v > top)).any()):
            raise InvalidInput(f"expected tokens from 0 to {top}, got values from {int(v.min())} to {int(v.max())}")

    def noise(self, like: State, rng: Rng) -> Tensor:
        """Symbols drawn uniformly."""
        (_, v) = next(leaves(like))
        return rng.at("").integers(0, self.symbols, *v.shape[1:]).to(v.device)
