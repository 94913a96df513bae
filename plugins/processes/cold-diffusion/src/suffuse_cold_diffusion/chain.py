"""What the deterministic degradations have in common: T whole steps, and straight lines between them."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Law
from suffuse.contracts.process import Corruption, as_time
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State, combine, promote

__all__ = ["Chain", "channels_like", "images"]

_NEAR = 1e-9  # n/T T may miss n by its rounding


class Chain:
    """``D(x, n/T)`` for n = 0 ... T, by ``at``; at other times the mean of two steps, weighted by nearness.

    Bansal et al., Cold Diffusion, 2022, arXiv:2208.09392, section 3.1. A mixin in front of ``Process``. What is random
    in a sample's degradation (a mask's place, the snow) is drawn once, by ``pattern``, and is the corruption's ``end``:
    the same end at every step makes one path.
    """

    T: int

    @abstractmethod
    def at(self, x0: Tensor, n: Tensor, end: State | None) -> Tensor:
        """``D(x_0, n/T)`` for whole steps n ``(B,)``, int64; x_0 is at least float32."""

    def pattern(self, x0: Tensor, rng: Rng) -> State | None:
        """What is drawn once for each sample; nothing by default."""
        return None

    def degrade(self, x0: State, t: Tensor, *, end: State | None = None) -> Tensor:
        """``D(x_0, t)``. Raises ``InvalidInput`` for states or times of a wrong shape, and for times outside [0, 1]."""
        x = promote(images(x0))
        u = as_time(t).detach() * self.T
        if u.shape not in ((), x.shape[:1]):
            raise InvalidInput(f"expected times () or ({len(x)},), one for each sample, got shape {tuple(u.shape)}")
        if bool(((u < -_NEAR) | (u > self.T + _NEAR)).any()):
            raise InvalidInput(f"expected times in [0, 1], got {as_time(t).tolist()}")
        u = u.expand(len(x))
        n = (u + _NEAR).floor().clamp(0, self.T)
        share = u - n
        first = self.at(x, n.long(), end)
        if not bool((share > _NEAR).any()):
            return first
        second = self.at(x, (n + 1).clamp_max(self.T).long(), end)
        mixed = combine(1 - share, first, share, second)
        assert isinstance(mixed, Tensor)
        return mixed

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """``D(x_0, t)`` at the given end, or at one drawn from the stream ``pattern``."""
        if end is None:
            end = self.pattern(images(x0), rng.at("pattern"))
        return Corruption(self.degrade(x0, t, end=end), x0, as_time(t), end=end)

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Law | None:
        """None: sampling starts from given states, degraded images."""
        return None


def images(x: State) -> Tensor:
    """The state as one tensor ``(B, C, H, W)``. Raises ``InvalidInput`` for anything else."""
    if not isinstance(x, Tensor) or x.ndim != 4:
        raise InvalidInput(f"expected images (batch, channels, height, width), got {_told(x)}")
    return x


def channels_like(weights: tuple[float, ...], x: Tensor) -> Tensor:
    """One weight for each channel ``(C, 1, 1)``; a single weight is that of the mean over all."""
    if len(weights) not in (1, x.shape[1]):
        raise InvalidInput(f"expected images of {len(weights)} channels, got {x.shape[1]}")
    every = weights if len(weights) == x.shape[1] else (weights[0] / x.shape[1],) * x.shape[1]
    return torch.tensor(every, dtype=x.dtype, device=x.device)[:, None, None]


def _told(x: State) -> str:
    return f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"leaves {sorted(x)}"
