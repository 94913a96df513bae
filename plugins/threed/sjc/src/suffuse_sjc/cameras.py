"""Pinhole cameras that look at the origin, and their rays through a box. The y axis points up."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["box", "rays", "spiral", "upper"]

_LOWEST = 100.0  # degrees of the polar parameter: a little below the horizon


def upper(u: Tensor, radius: float) -> Tensor:
    """Eyes ``(B, 3)`` spread evenly over the sphere above (and just below) the horizon, from uniforms ``(B, 2)``.

    With v = 100 degrees times the second uniform, the polar angle is ``arccos(1 - 2 v/pi)``.
    """
    around = 2 * math.pi * u[:, 0]
    height = 1 - 2 * (math.radians(_LOWEST) * u[:, 1]).clamp(min=1e-2) / math.pi
    flat = (1 - height**2).sqrt()
    return radius * torch.stack([-flat * around.cos(), height, flat * around.sin()], 1)


def spiral(n: int, radius: float, rounds: int = 3) -> Tensor:
    """Eyes ``(n, 3)`` that wind down from the height of the radius to the horizon."""
    share = torch.arange(1, n + 1) / n
    wide, around = (radius * (share * math.pi / 2).sin()).clamp(min=0.5), 2 * math.pi * rounds * share
    return torch.stack([wide * around.cos(), radius * (1 - share), wide * around.sin()], 1)


def rays(eye: Tensor, degrees: Tensor, side: int) -> Tensor:
    """Unit directions ``(B, side^2, 3)`` through the middles of the pixels, row by row from the upper left.

    ``degrees`` ``(B,)`` is the field of view. An eye on the vertical axis has no upright picture.
    """
    forward = -torch.nn.functional.normalize(eye, dim=1)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, forward.new_tensor([[0.0, 1.0, 0.0]])), dim=1)
    above = torch.linalg.cross(right, forward)
    focal = side / 2 / (degrees.deg2rad() / 2).tan()
    at = torch.arange(side, dtype=eye.dtype, device=eye.device) - (side - 1) / 2
    y, x = torch.meshgrid(-at, at, indexing="ij")
    x, y = (v.reshape(1, -1, 1) / focal[:, None, None] for v in (x, y))
    return torch.nn.functional.normalize(x * right[:, None] + y * above[:, None] + forward[:, None], dim=2)


def box(eye: Tensor, ray: Tensor, half: float) -> tuple[Tensor, Tensor]:
    """Where rays ``(B, N, 3)`` enter and leave the cube ``[-half, half]^3``, not behind the eye, ``(B, N)`` each.

    A ray that misses it leaves no later than it enters.
    """
    safe = torch.where(ray == 0, 1e-6, ray)
    ends = (torch.tensor([-half, half], dtype=ray.dtype, device=ray.device) - eye[:, None, :, None]) / safe[..., None]
    return ends.amin(3).amax(2).clamp(min=0), ends.amax(3).amin(2).clamp(min=0)
