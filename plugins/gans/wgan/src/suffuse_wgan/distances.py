"""Wasserstein-1 distances that are known exactly, and what an optimal critic's slope is."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, stats
from torch import Tensor

from suffuse.errors import InvalidInput

__all__ = ["gaussian_slopes", "normal_wasserstein", "parallel_lines", "wasserstein"]


def wasserstein(x: Tensor, y: Tensor) -> float:
    """W1 between two samples, exactly: ``(n, D)`` and ``(m, D)``.

    By sorting for D = 1, by optimal assignment (cubic in n) for n = m. Raises ``InvalidInput`` for anything else, and
    for values that are not finite.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not len(x) or not len(y):
        raise InvalidInput(f"expected samples (n, D) and (m, D), got {tuple(x.shape)} and {tuple(y.shape)}")
    if not bool(x.isfinite().all() and y.isfinite().all()):
        raise InvalidInput("expected finite samples")
    a, b = (v.detach().double().cpu().numpy() for v in (x, y))
    if x.shape[1] == 1:
        return float(stats.wasserstein_distance(a[:, 0], b[:, 0]))
    if len(x) != len(y):
        raise InvalidInput(f"in more than one dimension expected as many rows, got {len(x)} and {len(y)}")
    cost = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return float(cost[optimize.linear_sum_assignment(cost)].mean())


def normal_wasserstein(mean1: float, std1: float, mean2: float, std2: float) -> float:
    """W1 between two normal laws on the line: ``E |dm + ds Z|``, the mean of a folded normal.

    The quantile functions differ by ``dm + ds Phi^{-1}(u)``, and W1 is the mean of the difference's size.
    """
    m, s = mean1 - mean2, abs(std1 - std2)
    if s == 0:
        return abs(m)
    return s * math.sqrt(2 / math.pi) * math.exp(-(m**2) / (2 * s**2)) + m * math.erf(m / (s * math.sqrt(2)))


def parallel_lines(theta: float) -> dict[str, float]:
    """Distances between the laws of ``(0, U)`` and ``(theta, U)``, U uniform on [0, 1]: example 1 of the paper.

    Only ``wasserstein`` is continuous in theta: ``|theta|``. For theta = 0 all are 0; otherwise ``jensen_shannon`` is
    log 2 (nats), ``kullback_leibler`` infinite and ``total_variation`` 1.
    """
    apart = theta != 0
    return {
        "wasserstein": abs(theta),
        "jensen_shannon": math.log(2) if apart else 0.0,
        "kullback_leibler": math.inf if apart else 0.0,
        "total_variation": 1.0 if apart else 0.0,
    }


def gaussian_slopes(distance: float) -> dict[str, float]:
    """The mean slope of each generator's loss at the optimum, for data N(0, 1) and samples ``N(distance, 1)``.

    The best discriminator is the log-ratio ``d^2/2 - d x``, so the losses ``log(1 - sigma(D))`` and
    ``-log sigma(D)`` have the slopes ``d E sigma(D)`` and ``d E sigma(-D)``; the best critic of a translation is
    ``-x``, of slope 1. By quadrature.
    """
    x = np.linspace(distance - 12, distance + 12, 20001)
    logit = distance**2 / 2 - distance * x
    weight = stats.norm.pdf(x, loc=distance) * (x[1] - x[0])
    sigma = 1 / (1 + np.exp(-np.clip(logit, -700, 700)))
    return {
        "saturating": float(distance * (weight * sigma).sum()),
        "non_saturating": float(distance * (weight * (1 - sigma)).sum()),
        "wasserstein": 1.0,
    }
