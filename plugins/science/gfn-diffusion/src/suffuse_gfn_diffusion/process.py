"""Brownian motion that starts at a point: the process whose reversal is learned."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Law, Normal, Point
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian, Kernel, as_time
from suffuse.points import at_points
from suffuse.rng import Rng
from suffuse.state import State, combine, promote, require, same_form, tree_map

__all__ = ["Pinned"]


@attrs.frozen(kw_only=True)
class Pinned(Gaussian):
    """``x_t = (1 - t) x_0 + sqrt(scale t (1 - t)) eps``: a Brownian bridge from the data to the origin at t = 1.

    Backwards it is Brownian motion from the origin, of variance ``scale`` a unit of time, conditioned on its end: the
    fixed backward policy of diffusion samplers (Zhang and Chen, Path Integral Sampler, 2022, arXiv:2111.15141; Sendera
    et al., 2024, arXiv:2402.05098). Its forward kernel is

        q(x_t | x_s) = N((1-t)/(1-s) x_s, scale (t-s) (1-t)/(1-s) I),

    the paper's ``N(i/(i+1) x, i/(i+1) scale dt)``, and its posterior ``N(s/t x_t + (1-s/t) x_0, scale s (t-s)/t I)``.
    Both ends are points: there is no score, and no drift of the SDE, at t = 1.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"pinned"})

    scale: float = setting(1.0, "variance of the motion in a unit of time", gt=0, lt=float("inf"))

    def kernel(self, t: Tensor) -> Kernel:
        """``(1 - t, sqrt(scale t (1 - t)))``."""
        t = as_time(t)
        return Kernel(1 - t, (self.scale * t * (1 - t)).sqrt())

    @at_points
    def log_snr(self, t: Tensor) -> Tensor:
        """``log((1 - t) / (scale t))``."""
        t = as_time(t)
        return torch.log1p(-t) - t.log() - math.log(self.scale)

    def time(self, log_snr: Tensor) -> Tensor:
        """``sigmoid(-log_snr - log scale)``."""
        return torch.sigmoid(-as_time(log_snr) - math.log(self.scale))

    def derivative(self, t: Tensor) -> Kernel:
        """``(-1, sqrt(scale) (1 - 2t) / (2 sqrt(t (1 - t))))``. Raises ``Unsupported`` at both ends."""
        t = as_time(t)
        require((t > 0) & (t < 1), "a Brownian bridge has no finite sigma' at its ends")
        return Kernel(-torch.ones_like(t), math.sqrt(self.scale) * (1 - 2 * t) / (2 * (t * (1 - t)).sqrt()))

    def transition(self, t: Tensor, s: Tensor) -> Kernel:
        """``((1-t)/(1-s), sqrt(scale (t-s) (1-t)/(1-s)))``, exact at t = 1."""
        t, s = as_time(t), as_time(s)
        ratio = (1 - t) / (1 - s)
        return Kernel(ratio, (self.scale * (t - s) * ratio).sqrt())

    def posterior(self, x_t: State, x0: State, t: Tensor, s: Tensor) -> Normal:
        """``N(s/t x_t + (1 - s/t) x_0, scale s (t - s)/t I)``, t > 0."""
        same_form(x0, x_t, "x0")
        t, s = as_time(t), as_time(s)
        require(t > 0, "there is no step from t = 0")
        return Normal(combine(s / t, x_t, 1 - s / t, x0), (self.scale * s * (t - s) / t).sqrt())

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Law:
        """The origin at t = 1, else the kernel with the data forgotten."""
        if bool((as_time(t) == 1).all()):
            return Point(tree_map(lambda v: torch.zeros_like(promote(v)), like))
        return super().prior(like, cond, t=t)

    def renoise(self, x_s: State, s: Tensor, t: Tensor, *, rng: Rng) -> State:
        """``(1-t)/(1-s) x_s + sqrt(scale (t-s) (1-t)/(1-s)) z``."""
        k = self.transition(t, s)
        return Normal(combine(k.alpha, x_s, 0.0, x_s), k.sigma).sample(rng)

    def drift(self, x: State, t: Tensor) -> State:
        """``-x / (1 - t)``. Raises ``Unsupported`` at t = 1."""
        t = as_time(t)
        require(t < 1, "a Brownian bridge has no finite drift at its end, t = 1")
        return combine(-1 / (1 - t), x, 0.0, x)

    def diffusion(self, t: Tensor) -> Tensor:
        """``sqrt(scale)``, at all times."""
        return torch.full_like(as_time(t), math.sqrt(self.scale))
