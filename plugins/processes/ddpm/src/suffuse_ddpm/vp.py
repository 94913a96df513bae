"""What every variance-preserving process has in common: ``alpha_t^2 + sigma_t^2 = 1``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Normal
from suffuse.contracts.process import Kernel, as_time
from suffuse.state import State, combine, promote, require, tree_map

__all__ = ["VariancePreserving"]


class VariancePreserving:
    """``dx = -beta(t)/2 x dt + sqrt(beta(t)) dw``, whose stationary law is N(0, I).

    Song et al., Score-Based Generative Modeling through SDEs, 2021, arXiv:2011.13456, eq. 11. A mixin in front of
    ``Gaussian``: the class gives ``rate`` besides ``kernel`` and ``time``.
    """

    scalars: Callable[[Tensor], tuple[Tensor, Tensor]]  # of ``Gaussian``

    @abstractmethod
    def rate(self, t: Tensor) -> Tensor:
        """``beta(t) = -2 alpha'/alpha``, float64, of the shape of t, finite on [0, 1]."""

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Normal:
        """``N(0, I)`` at any t: the published start, and the stationary law."""
        return Normal(tree_map(lambda v: torch.zeros_like(promote(v)), like), 1.0)

    def derivative(self, t: Tensor) -> Kernel:
        """``alpha' = -beta alpha / 2`` and ``sigma' = beta alpha^2 / (2 sigma)``.

        Raises ``Unsupported`` at t = 0, where sigma grows like a square root and sigma' is infinite.
        """
        beta, (alpha, sigma) = self.rate(t), self.scalars(t)
        require(sigma != 0, "a variance-preserving process has no finite sigma' at t = 0: stop before it")
        return Kernel(-beta / 2 * alpha, beta / 2 * alpha**2 / sigma)

    def drift(self, x: State, t: Tensor) -> State:
        """``-beta(t)/2 x``."""
        return combine(-self.rate(as_time(t)) / 2, x, 0.0, x)

    def diffusion(self, t: Tensor) -> Tensor:
        """``sqrt(beta(t))``."""
        return self.rate(as_time(t)).sqrt()
