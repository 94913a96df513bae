"""The Fréchet distance between two Gaussians, and between the Gaussian fits of two sets of features."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.errors import InvalidInput

__all__ = ["fitted_distance", "frechet_distance"]


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^(1/2) C2 C1^(1/2))^(1/2))``, float64, ``()``.

    Dowson and Landau, The Fréchet distance between multivariate normal distributions, 1982,
    doi:10.1016/0047-259X(82)90077-X; on features it is the FID (Heusel et al., GANs Trained by a Two Time-Scale Update
    Rule Converge to a Local Nash Equilibrium, 2017, arXiv:1706.08500, equation 6). Both roots are of symmetric
    matrices, by eigenvalues, with rounding below zero cut off: finite for singular covariances. Means ``(D,)``,
    covariances ``(D, D)``.
    """
    m1, c1, m2, c2 = (v.double() for v in (mean1, cov1, mean2, cov2))
    if m1.ndim != 1 or m2.shape != m1.shape or any(c.shape != (len(m1), len(m1)) for c in (c1, c2)):
        shapes = ", ".join(str(tuple(v.shape)) for v in (m1, c1, m2, c2))
        raise InvalidInput(f"expected means (D,) and covariances (D, D), got shapes {shapes}")
    values, vectors = torch.linalg.eigh(c1)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    inner = root @ c2 @ root
    cross = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp_min(0).sqrt().sum()
    return ((m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * cross).clamp_min(0)


def fitted_distance(x: Tensor, y: Tensor) -> Tensor:
    """The distance between the Gaussians with the means and (unbiased) covariances of x ``(n, D)`` and y ``(m, D)``.

    Biased upwards, the more the smaller n and m are beside D: compare only values at equal n and m, and with the value
    of two sets of real data. Raises ``InvalidInput`` for fewer than two rows, or values that are not finite.
    """
    for features in (x, y):
        if features.ndim != 2 or len(features) < 2 or not bool(features.isfinite().all()):
            raise InvalidInput(f"expected at least two rows of finite features, got shape {tuple(features.shape)}")
    x, y = x.double(), y.double()
    return frechet_distance(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T))
