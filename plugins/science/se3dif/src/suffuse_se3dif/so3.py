"""Rotations: exponential, logarithm and Jacobians, differentiable and exact to rounding at 0 and at pi.

Tangents are axis-angle vectors ``w (..., 3)`` in the body's frame, rotations are matrices ``(..., 3, 3)``.
Source: Solà, Deray, Atchuthan, A micro Lie theory for state estimation in robotics, 2018, arXiv:1812.01537, appendix B.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["exp", "from_quaternion", "hat", "left_jacobian", "left_jacobian_inverse", "log", "nearest", "vee", "wrap"]

# Below it series of five terms, whose error is under 1e-17, replace quotients that lose digits.
_SMALL = 1e-2


def hat(w: Tensor) -> Tensor:
    """The matrix of ``v -> w x v``, ``(..., 3, 3)``."""
    x, y, z = w.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], dim=-1).unflatten(-1, (3, 3))


def vee(a: Tensor) -> Tensor:
    """``(a_32 - a_23, a_13 - a_31, a_21 - a_12)``, ``(..., 3)``: ``<a, hat(e_i)>``, and ``2 w`` for ``a = hat(w)``."""
    return torch.stack([a[..., 2, 1] - a[..., 1, 2], a[..., 0, 2] - a[..., 2, 0], a[..., 1, 0] - a[..., 0, 1]], dim=-1)


def _series(square: Tensor, m: int) -> Tensor:
    """``sum_k (-1)^k square^k / (2k + m)!``."""
    total = torch.zeros_like(square)
    for k in reversed(range(5)):
        total = total * square + (-1) ** k / math.factorial(2 * k + m)
    return total


def _coefficients(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``sin(a)/a``, ``(1 - cos(a))/a^2`` and ``(a - sin(a))/a^3`` of the angle a = ``|w|``, ``(..., 1, 1)`` each."""
    square = w.square().sum(-1)[..., None, None]
    small = square < _SMALL
    safe = torch.where(small, torch.ones_like(square), square)
    a, near = safe.sqrt(), torch.where(small, square, torch.zeros_like(square))
    far = a.sin() / a, 2 * (a / 2).sin().square() / safe, (a - a.sin()) / (safe * a)
    one, two, three = (torch.where(small, _series(near, m), f) for m, f in zip((1, 2, 3), far, strict=True))
    return one, two, three


def exp(w: Tensor) -> Tensor:
    """``I + sin(a)/a hat(w) + (1 - cos(a))/a^2 hat(w)^2`` (Rodrigues)."""
    one, two, _ = _coefficients(w)
    k = hat(w)
    return torch.eye(3, dtype=w.dtype, device=w.device) + one * k + two * (k @ k)


def log(R: Tensor) -> Tensor:
    """The shortest w with ``exp(w) = R``, ``|w| <= pi``; at pi one of the two. Differentiable below pi.

    By the quaternion q: R gives ``4 q q^T``, of which the row with the largest diagonal loses no digits at any angle.
    """
    r = [[R[..., i, j] for j in range(3)] for i in range(3)]
    diagonal = r[0][0], r[1][1], r[2][2]
    outer = [
        [1 + diagonal[0] + diagonal[1] + diagonal[2], r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]],
        [r[2][1] - r[1][2], 1 + diagonal[0] - diagonal[1] - diagonal[2], r[0][1] + r[1][0], r[0][2] + r[2][0]],
        [r[0][2] - r[2][0], r[0][1] + r[1][0], 1 - diagonal[0] + diagonal[1] - diagonal[2], r[1][2] + r[2][1]],
        [r[1][0] - r[0][1], r[0][2] + r[2][0], r[1][2] + r[2][1], 1 - diagonal[0] - diagonal[1] + diagonal[2]],
    ]
    rows = torch.stack([torch.stack(row, dim=-1) for row in outer], dim=-2)
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = rows.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    q = q / q.norm(dim=-1, keepdim=True)
    q = torch.where(q[..., :1] < 0, -q, q)
    real, v = q[..., :1], q[..., 1:]
    square = v.square().sum(-1, keepdim=True)
    small = square < 1e-4
    norm = torch.where(small, torch.ones_like(square), square).sqrt()
    ratio = torch.where(small, square / torch.where(small, real, torch.ones_like(real)) ** 2, torch.zeros_like(square))
    near = 2 * (1 - ratio * (1 / 3 - ratio * (1 / 5 - ratio * (1 / 7 - ratio / 9))))
    near = near / torch.where(small, real, torch.ones_like(real))
    return v * torch.where(small, near, 2 * torch.atan2(norm, real) / norm)


def left_jacobian(w: Tensor) -> Tensor:
    """``J_l`` with ``exp(w + h) = exp(J_l h) exp(w)`` to first order; the right one is ``J_l(-w)``."""
    _, two, three = _coefficients(w)
    k = hat(w)
    return torch.eye(3, dtype=w.dtype, device=w.device) + two * k + three * (k @ k)


def left_jacobian_inverse(w: Tensor) -> Tensor:
    """``I - hat(w)/2 + (1 - a/2 cot(a/2))/a^2 hat(w)^2``, finite for angles below 2 pi."""
    square = w.square().sum(-1)[..., None, None]
    small = square < _SMALL
    a = torch.where(small, torch.ones_like(square), square).sqrt()
    s = torch.where(small, square, torch.zeros_like(square))
    near = 1 / 12 + s * (1 / 720 + s * (1 / 30240 + s * (1 / 1209600 + s / 47900160)))
    third = torch.where(small, near, (1 - a / 2 / (a / 2).tan()) / a**2)
    k = hat(w)
    return torch.eye(3, dtype=w.dtype, device=w.device) - k / 2 + third * (k @ k)


def wrap(w: Tensor) -> Tensor:
    """``log(exp(w))``, to rounding also for tiny w: whole turns are taken off."""
    a = w.norm(dim=-1, keepdim=True)
    turns = (a / (2 * math.pi)).round() * (2 * math.pi)
    return torch.where(turns == 0, w, w * ((a - turns) / torch.where(turns == 0, torch.ones_like(a), a)))


def from_quaternion(q: Tensor) -> Tensor:
    """The rotation of ``q (..., 4)``, real part first, of any length above 0."""
    w, x, y, z = (q / q.norm(dim=-1, keepdim=True)).unbind(-1)
    v = torch.stack([x, y, z], dim=-1)
    k = hat(v)
    return torch.eye(3, dtype=q.dtype, device=q.device) + 2 * w[..., None, None] * k + 2 * (k @ k)


def nearest(a: Tensor) -> Tensor:
    """The rotation nearest to a matrix in the Frobenius norm, by its singular value decomposition."""
    u, _, vt = torch.linalg.svd(a)
    sign = torch.ones_like(a[..., 0])
    sign[..., 2] = torch.linalg.det(u @ vt).sign()
    return (u * sign[..., None, :]) @ vt
