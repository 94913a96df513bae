"""The probability-flow ODE where it is the same for every Gaussian process, and its steps of first and second order.

In ``X = x_t/alpha_t`` and ``sigma = sigma_t/alpha_t`` equation 4 of Karras et al. 2022 (arXiv:2206.00364) with
``s(t) = alpha_t`` becomes

    dX/dsigma = (X - D(X; sigma))/sigma = E[eps | x_t].
"""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Gaussian
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine
from suffuse.system import System

__all__ = ["euler", "gaussian", "heun"]


def gaussian(system: System) -> Gaussian:
    """The system's process, or ``Unsupported``."""
    if not isinstance(system.process, Gaussian):
        raise Unsupported(f"this sampler needs a Gaussian process, got {type(system.process).__name__}")
    return system.process


def euler(process: Gaussian, prediction: Prediction, s: Tensor) -> State:
    """``X_s = X_t + (sigma_s - sigma_t) eps``.

    Written as ``x_s = alpha_s x0 + sigma_s eps``, which is the same, finite at both ends, and exactly the data
    estimate at zero noise.
    """
    alpha, sigma = process.scalars(s)
    return combine(alpha, prediction.x0, sigma, prediction.eps)


def heun(system: System, x: State, cond: Condition, t: Tensor, s: Tensor, rng: Rng) -> tuple[State, Prediction, int]:
    """From x at time t to time s (below, above or equal): the new state, the prediction at t, and the evaluations.

    ``X' = X + (sigma_s - sigma_t) d``; unless ``sigma_s = 0``, then
    ``X_s = X + (sigma_s - sigma_t) (d + d')/2`` with d' taken at ``(X', sigma_s)``: lines 4 to 8 of algorithm 1.
    """
    process = gaussian(system)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = process.scalars(t), process.scalars(s)
    if bool((alpha_t == 0).any()):
        raise Unsupported("Heun's step divides by alpha_t: start below the time of zero signal")
    now = system.denoise(x, t, cond, s=s, rng=rng.at("first"))
    x_s = euler(process, now, s)
    noisy = sigma_s > 0
    if not bool(noisy.any()):
        return x_s, now, now.nfe
    # Rows that end at zero beside rows that do not: their second slope is taken somewhere harmless, and not used.
    there = s if bool(noisy.all()) else torch.where(noisy, s, t)
    then = system.denoise(x_s, there, cond, s=s, rng=rng.at("second"))
    half = torch.where(noisy, (sigma_s - alpha_s * (sigma_t / alpha_t)) / 2, 0.0)
    change = combine(1.0, then.eps, -1.0, now.eps)
    return combine(1.0, x_s, half, change), now, now.nfe + then.nfe
