"""The latest losses of every step of a chain, and the law of steps that follows from them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["probabilities", "remember"]


def probabilities(losses: Tensor, counts: Tensor, uniform: float) -> Tensor:
    """``p_n``, float64 ``(T,)``, from losses ``(T, K)`` of which step n has had ``counts[n]``.

    Proportional to the root of the mean square, mixed with a share ``uniform`` of the uniform law; uniform while a step
    has had fewer than K losses, or none has had any but zeros.
    """
    T, K = losses.shape
    size = losses.square().sum(1).sqrt()
    ready = (counts >= K).all() & (size.sum() > 0)
    p = torch.where(ready, size / size.sum(), 1 / T)
    return (1 - uniform) * p + uniform / T


def remember(losses: Tensor, counts: Tensor, steps: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
    """``losses`` and ``counts`` after the losses ``fresh`` ``(B,)`` of the steps ``(B,)``, from 0, in this order.

    Row n is a ring: its m-th loss stands in column m mod K until K more have come.
    """
    K = losses.shape[1]
    order = steps.argsort(stable=True)
    steps, fresh = steps[order], fresh[order]
    per_step = torch.bincount(steps, minlength=len(counts))
    turn = torch.arange(len(steps), device=steps.device) - torch.searchsorted(steps, steps)
    kept = turn >= per_step[steps] - K  # of more than K in one batch, the latest
    losses = losses.clone()
    if K:
        losses[steps[kept], (counts[steps] + turn)[kept] % K] = fresh[kept]
    return losses, counts + per_step
