"""The regression that every denoising objective is: one squared error, in the model's own parameterization."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from suffuse.contracts.objective import Batch, Loss
from suffuse.contracts.prediction import Mean, Mix
from suffuse.contracts.process import Gaussian
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import combine, leaves
from suffuse.system import System

__all__ = ["denoising_loss"]


def denoising_loss(
    system: System, batch: Batch, t: Tensor, weight: Callable[[Gaussian, Tensor, Mix], Tensor], rng: Rng
) -> Loss:
    """``w(t) mean |F - (a x_0 + b eps)|^2`` for each sample, in at least float32.

    ``F`` is the raw output of the unguided model at ``x_t ~ q(x_t | x_0)`` and ``a x_0 + b eps`` what it means; the
    mean is over the elements of one sample, each weighted by its own time where there are several ``(B, frames)``.
    Streams: ``noise`` of the process, ``model``.
    """
    process = system.process
    if not isinstance(process, Gaussian):
        raise Unsupported("a denoising regression needs a Gaussian process")
    corruption = process.corrupt(batch.x, t, rng=rng)
    prediction = system.plain(corruption.x_t, t, batch.cond, rng=rng.at("model"))
    if not isinstance(prediction, Mean) or corruption.noise is None:
        raise Unsupported(f"a denoising regression needs a model that predicts means, got '{prediction.name}'")
    goal = combine(prediction.mix[0], corruption.x0, prediction.mix[1], corruption.noise)
    errors = combine(1.0, prediction.value, -1.0, goal)
    own = max(t.ndim, 1)  # dimensions of which each element has a time, and so a weight, of its own
    squares = torch.cat([e.reshape(*e.shape[:own], -1).square() for _, e in leaves(errors)], dim=own).mean(own)
    weighted = squares * weight(process, t, prediction.mix).to(squares)
    return Loss(weighted.reshape(len(weighted), -1).mean(1), {"mse": squares.detach().mean()})
