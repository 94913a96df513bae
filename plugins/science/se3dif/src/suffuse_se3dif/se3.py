"""Rigid motions as one group, SE(3), with screw motions as its exponential.

The diffusion of this package is on the product SO(3) x R^3, as in the authors' code; here are the maps of the paper's
text, for methods that need them. Tangents are twists ``(w, u)``, rotation and translation, in the body's frame.
Source: Solà et al. 2018, arXiv:1812.01537, appendix D.
"""

from __future__ import annotations

from torch import Tensor

from suffuse_se3dif import so3

__all__ = ["compose", "exp", "inverse", "log"]


def exp(w: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """``(R, p) = (exp(w), J_l(w) u)``, ``(..., 3, 3)`` and ``(..., 3)``."""
    return so3.exp(w), (so3.left_jacobian(w) @ u[..., None])[..., 0]


def log(R: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """``(w, u) = (log(R), J_l(w)^{-1} p)``."""
    w = so3.log(R)
    return w, (so3.left_jacobian_inverse(w) @ p[..., None])[..., 0]


def compose(R: Tensor, p: Tensor, S: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """``(R S, R q + p)``."""
    return R @ S, (R @ q[..., None])[..., 0] + p


def inverse(R: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """``(R^T, -R^T p)``."""
    return R.mT, -(R.mT @ p[..., None])[..., 0]
