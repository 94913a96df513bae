"""The exponential integrator of the data prediction, in the half log-SNR ``lambda = log(alpha/sigma)``.

From t to s, ``h = lambda_s - lambda_t``, the probability-flow ODE is solved by (Lu et al., DPM-Solver++, 2022,
arXiv:2211.01095, proposition 4.1)

    x_s = sigma_s/sigma_t x_t + sigma_s int exp(lambda) x0(lambda) d lambda
        = alpha_s x0 + sigma_s eps + alpha_s int_0^h exp(u - h) (x0(lambda_t + u) - x0) du,

with x0 and eps as predicted at x_t. The second line is finite at both ends of time, where h is infinite: there every
solver is of order 1, which leaves ``alpha_s x0 + sigma_s eps``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Gaussian, Process
from suffuse.errors import Unsupported
from suffuse.points import at_points
from suffuse.state import State, combine

__all__ = ["Point", "first", "gaussian", "integral", "lambda_of", "parabola", "secant"]

Point = tuple[Tensor, State]  # lambda, and the data prediction there


def gaussian(process: Process | None) -> Gaussian:
    """The process, if it is Gaussian. Raises ``Unsupported``."""
    if not isinstance(process, Gaussian):
        raise Unsupported(f"DPM-Solver++ needs a Gaussian process, got {type(process).__name__}")
    return process


@at_points
def lambda_of(process: Gaussian, t: Tensor) -> Tensor:
    """``log(alpha_t/sigma_t)``: half the log-SNR."""
    return process.log_snr(t) / 2


def first(process: Gaussian, prediction: Prediction, s: Tensor) -> State:
    """``alpha_s x0 + sigma_s eps``: order 1, which is DDIM."""
    alpha, sigma = process.scalars(s)
    return combine(alpha, prediction.x0, sigma, prediction.eps)


def integral(k: int, h: Tensor) -> Tensor:
    """``int_0^h exp(u - h) u^k du``, k = 0, 1, 2, for finite h."""
    return -torch.expm1(-h) if k == 0 else h**k - k * integral(k - 1, h)


def secant(x: State, weight: Tensor, here: Point, other: Point) -> State:
    """``x + weight a``, a the slope in lambda of the line through two data predictions."""
    return _differences(x, here, (other, weight / (other[0] - here[0])))


def parabola(x: State, weights: tuple[Tensor, Tensor], here: Point, one: Point, two: Point) -> State:
    """``x + weights[0] a + weights[1] b`` for ``x0(lambda_here + u) = x0 + a u + b u^2`` through three predictions."""
    p, q = one[0] - here[0], two[0] - here[0]
    for_one = (weights[1] - q * weights[0]) / (p * (p - q))
    for_two = (weights[1] - p * weights[0]) / (q * (q - p))
    return _differences(x, here, (one, for_one), (two, for_two))


def _differences(x: State, here: Point, *others: tuple[Point, Tensor]) -> State:
    for (_, x0), w in others:
        x = combine(1.0, x, w, combine(1.0, x0, -1.0, here[1]))
    return x
