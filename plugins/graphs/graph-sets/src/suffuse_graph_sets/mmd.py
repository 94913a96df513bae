"""The squared maximum mean discrepancy, and the kernels that the field compares graphs with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial.distance import cdist

__all__ = ["Kernel", "emd_kernel", "gaussian_kernel", "mmd", "stack", "tv_kernel"]

# Values of all pairs of rows, (n, m), of x (n, K) and y (m, K).
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def emd_kernel(sigma: float, scale: float = 1.0) -> Kernel:
    """``exp(-W(p, q)^2 / (2 sigma^2))``, W the earth mover's distance of histograms whose bins are ``1/scale`` apart.

    You et al., GraphRNN, 2018, arXiv:1802.08773, section 4.3. On a line W is the L1 distance of cumulative sums.
    """

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _gaussian(cdist(x.cumsum(1), y.cumsum(1), "cityblock") / scale, sigma)

    return kernel


def tv_kernel(sigma: float) -> Kernel:
    """``exp(-TV(p, q)^2 / (2 sigma^2))``, TV half the L1 distance (Liao et al., GRAN, 2019, arXiv:1910.00760, §3.1)."""
    return lambda x, y: _gaussian(cdist(x, y, "cityblock") / 2, sigma)


def gaussian_kernel(sigma: float) -> Kernel:
    """``exp(-|x - y|^2 / (2 sigma^2))``."""
    return lambda x, y: _gaussian(cdist(x, y), sigma)


def mmd(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> float:
    """``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)``: the biased estimate of the squared MMD, as the field has it.

    Gretton et al., A Kernel Two-Sample Test, 2012, JMLR 13, eq. 5. It includes the pairs of a row with itself, so two
    samples of one law have a value above 0 that falls with their sizes.
    """
    return float(kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean())


def stack(histograms: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Histograms of different lengths as probabilities, padded with zeros, ``(n, width)``."""
    found = np.zeros((len(histograms), width))
    for row, h in zip(found, histograms, strict=True):
        row[: len(h)] = h / h.sum()
    return found


def _gaussian(distance: np.ndarray, sigma: float) -> np.ndarray:
    found: np.ndarray = np.exp(-(distance**2) / (2 * sigma**2))
    return found
