"""The variance of a reverse step: the range that it is learned in, and what a prediction says of it."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Gaussian, as_time
from suffuse.errors import Unsupported
from suffuse.state import State, combine, tree_map

__all__ = ["log_range", "slope", "transition_variance"]

# Below the variance of any step that is taken; log(0) would make NaN of a range without width.
_LEAST = 1e-30


def log_range(process: Gaussian, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """``(log beta-tilde, log beta)`` of the step from t to s < t: float64, finite, of the shape of the times.

    ``beta = sigma_ts^2`` and ``beta-tilde = sigma_ts^2 sigma_s^2/sigma_t^2``, which is zero at s = 0. There it is that
    of the next step of the same length, from 2 t to t: on a chain, of its second step, as in the authors' code.
    """
    t, s = as_time(t), as_time(s)
    u = torch.where(s > 0, t, (2 * t).clamp_max(1.0))
    v = torch.where(s > 0, s, u - t)
    small, large = _posterior_variance(process, u, v), _variance(process, t, s)
    return small.clamp_min(_LEAST).log(), large.clamp_min(_LEAST).log()


def slope(process: Gaussian, t: Tensor, s: Tensor) -> Tensor:
    """The slope of the posterior's mean in x_0: ``alpha_s sigma_ts^2/sigma_t^2``."""
    (_, sigma), (alpha_s, _) = process.scalars(t), process.scalars(s)
    return alpha_s * _variance(process, t, s) / sigma**2


def transition_variance(prediction: Prediction, process: Gaussian, t: Tensor, s: Tensor) -> State:
    """The variance of ``x_s`` given ``x_t``, element by element.

    One that is told of x_0 becomes ``beta-tilde + slope^2 Var(x_0 | x_t)``, the law of total variance, with the true
    beta-tilde, 0 at s = 0. Raises ``Unsupported`` for a prediction without any: guidance that mixes several predictions
    loses them.
    """
    told = prediction.variance
    if told is None:
        raise Unsupported(f"a step with a learned variance needs one, and this '{prediction.name}' has none")
    if told.of == "transition":
        return told.value
    ones = tree_map(torch.ones_like, told.value)
    return combine(slope(process, t, s) ** 2, told.value, _posterior_variance(process, t, s), ones)


def _variance(process: Gaussian, t: Tensor, s: Tensor) -> Tensor:
    return torch.as_tensor(process.transition(t, s).sigma) ** 2


def _posterior_variance(process: Gaussian, t: Tensor, s: Tensor) -> Tensor:
    (_, sigma), (_, sigma_s) = process.scalars(t), process.scalars(s)
    return _variance(process, t, s) * (sigma_s / sigma) ** 2
