"""Gradient penalties of critics: the slopes, with a graph through them, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from suffuse.rng import Rng
from suffuse.state import expand

__all__ = ["between", "one_sided", "scored", "two_sided", "zero_centred"]


def scored(critic: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """``D(x)`` ``(B,)`` and its slope ``grad_x D(x)`` ``(B, *event)``, both differentiable in the critic's weights.

    x itself is a constant. For critics that score each sample by itself.
    """
    x = x.detach().requires_grad_()
    value = critic(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return value, slope


def between(x: Tensor, y: Tensor, rng: Rng) -> Tensor:
    """``y + u (x - y)``, one uniform u a row: a point of the straight line between each pair."""
    u = rng.uniform(x.new_zeros(len(x)))
    return y + expand(u, x) * (x - y)


def zero_centred(slope: Tensor) -> Tensor:
    """``|slope|^2``, ``(B,)``: R1 on data and R2 on samples (Mescheder et al., 2018, arXiv:1801.04406)."""
    return slope.flatten(1).square().sum(1)


def two_sided(slope: Tensor) -> Tensor:
    """``(|slope| - 1)^2``, ``(B,)`` (Gulrajani et al., 2017, arXiv:1704.00028, equation 3)."""
    return (slope.flatten(1).norm(dim=1) - 1).square()


def one_sided(slope: Tensor) -> Tensor:
    """``max(0, |slope| - 1)^2``, ``(B,)`` (Petzka et al., 2018, arXiv:1709.08894)."""
    return (slope.flatten(1).norm(dim=1) - 1).relu().square()
