"""Probability laws over states, with explicit randomness: priors, posteriors and transitions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import attrs
import torch
from torch import Tensor

from suffuse.rng import Rng
from suffuse.state import Coefficient, State, combine, expand, leaves, promote, tree_map

__all__ = ["Categorical", "Law", "Normal", "Point"]


class Law(ABC):
    """A batch of distributions over states."""

    @abstractmethod
    def sample(self, rng: Rng) -> State:
        """One draw for each row; row i depends on stream i of ``rng`` alone."""

    @abstractmethod
    def log_prob(self, x: State) -> Tensor:
        """The log-density of each row, in nats, shape ``(B,)``."""


@attrs.frozen(eq=False)
class Normal(Law):
    """Independent Gaussians ``N(mean, std^2 I)``; ``std`` is a coefficient, ``()`` or ``(B,)``, or one per leaf."""

    mean: State
    std: Coefficient

    def sample(self, rng: Rng) -> State:
        """``mean + std z``. Each leaf has its own stream."""
        z = {name: rng.at(name).normal(promote(v)) for name, v in leaves(self.mean)}
        return combine(1.0, self.mean, self.std, z[""] if isinstance(self.mean, Tensor) else z)

    def log_prob(self, x: State) -> Tensor:
        """Differentiable in ``mean``, ``std`` and ``x``. A zero ``std`` has no density and gives infinities."""

        def leaf(x: Tensor, mean: Tensor, std: float | Tensor) -> Tensor:
            s = torch.as_tensor(expand(std, mean), dtype=promote(mean).dtype, device=mean.device)
            logs = -0.5 * ((promote(x) - promote(mean)) / s) ** 2 - s.log() - 0.5 * math.log(2 * math.pi)
            return logs.flatten(1).sum(1)

        parts = tree_map(leaf, x, self.mean, self.std)
        return parts if isinstance(parts, Tensor) else torch.stack(list(parts.values())).sum(0)


@attrs.frozen(eq=False)
class Categorical(Law):
    """Independent categoricals with ``logits`` of shape ``(B, *event, K)`` over integer states ``(B, *event)``."""

    logits: Tensor

    def sample(self, rng: Rng) -> Tensor:
        """In float64: float32 Gumbel noise is cut off and lowers the temperature (arXiv:2409.02908)."""
        return rng.categorical(self.logits)

    def log_prob(self, x: State) -> Tensor:
        """Summed over the event."""
        if not isinstance(x, Tensor):
            raise TypeError("a categorical law takes one integer tensor")
        logs = promote(self.logits).log_softmax(-1).gather(-1, x.long()[..., None])[..., 0]
        return logs.flatten(1).sum(1)


@attrs.frozen(eq=False)
class Point(Law):
    """All probability on one state: the all-mask prior of masked processes."""

    x: State

    def sample(self, rng: Rng) -> State:
        """The state; draws nothing."""
        return tree_map(torch.clone, self.x)

    def log_prob(self, x: State) -> Tensor:
        """0 in rows that are that state, else -inf."""
        same = tree_map(lambda v, w: (v == w).flatten(1).all(1), x, self.x)
        every = torch.stack([v for _, v in leaves(same)]).all(0)
        return torch.where(every, 0.0, -math.inf)
