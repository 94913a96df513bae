"""The denoiser's residual as a regulariser: for a state, or for whatever renders one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, cast

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import Gaussian
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import combine, require
from suffuse.system import System

__all__ = ["WEIGHTINGS", "WeightingName", "regularizer"]

WeightingName = Literal["linear", "sqrt", "square", "two-thirds", "log", "clip", "constant"]

# Of sigma_t/alpha_t, the inverse of the signal-to-noise ratio in amplitude.
WEIGHTINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda r: r,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "two-thirds": lambda r: r ** (2 / 3),
    "log": torch.log1p,
    "clip": lambda r: r.clamp_max(1.0),
    "constant": torch.ones_like,
}

# One gradient as large as that stays in Adam's second moment, and nothing moves for thousands of steps.
_LARGEST = 1e6


def regularizer(
    system: System, mu: Tensor, t: Tensor, cond: Condition, rng: Rng, *, weighting: WeightingName = "linear"
) -> tuple[Tensor, int]:
    """``w_t mean(sg[eps_hat(x_t) - eps] mu)`` of each row, ``(B,)``, and the evaluations that it took.

    ``x_t = alpha_t mu + sigma_t eps``, eps of the stream ``noise``; the mean is over the state's elements. Its
    gradient is that of the weighted score matching between ``N(mu, s^2 I)``, s to 0, and the model: Mardani et al.,
    A Variational Perspective on Solving Inverse Problems with Diffusion Models, 2023, arXiv:2305.04391, section 4,
    with ``w_t = sigma_t/alpha_t`` ("linear"). Its value has no meaning. Like eps it does not depend
    on how the process is scaled. The denoiser is not differentiated; with a renderer's output for mu it is a
    score-distillation loss.

    Raises ``Unsupported`` for other than Gaussian processes, and where w_t is above 1e6: without signal.
    """
    process = system.process
    if not isinstance(process, Gaussian):
        raise Unsupported(f"the regulariser needs a Gaussian process, got {type(process).__name__}")
    alpha, sigma = process.scalars(t)
    weight = WEIGHTINGS[weighting](sigma / alpha)
    require(weight < _LARGEST, f"the weight '{weighting}' has no bound where there is no signal: start below t = 1")
    with torch.no_grad():
        drawn = process.corrupt(mu, t, rng=rng)
        prediction = system.denoise(drawn.x_t, t, cond, rng=rng.at("model"))
        residual = cast(Tensor, combine(weight, prediction.eps, -weight, drawn.noise))  # type: ignore[arg-type]
    return (residual * mu).flatten(1).mean(1), prediction.nfe
