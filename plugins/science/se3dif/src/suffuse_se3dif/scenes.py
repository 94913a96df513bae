"""Scenes in which two of three grasps are blocked."""

from __future__ import annotations

import math
from typing import Any

import torch

from suffuse.system import System
from suffuse_se3dif import so3
from suffuse_se3dif.mixture import PoseMixture
from suffuse_se3dif.poses import Poses
from suffuse_se3dif.process import Se3Gaussian

__all__ = ["blocked_scenes", "three_grasps"]

_REACH = 0.3


def three_grasps(spread: float = 0.1) -> System:
    """The exact energy of three grasps around an object, a third of a turn apart, each facing it."""
    turns = [2 * math.pi * k / 3 for k in range(3)]
    poses = tuple((-_REACH * math.cos(a), -_REACH * math.sin(a), 0.0, 0.0, 0.0, a) for a in turns)
    return System(model=PoseMixture(poses=poses, spread=spread), space=Poses(), process=Se3Gaussian())


def blocked_scenes(n: int, seed: int) -> tuple[dict[str, Any], torch.Tensor]:
    """Inputs of ``GraspAndMotion`` for n random scenes, float64, and which grasp is free in each.

    The object is 1.2 to 1.6 away from the base; the free grasp faces away from the base to within 40 degrees, and a
    disc covers the other two.
    """
    g = torch.Generator().manual_seed(seed)
    u = torch.rand(4, n, generator=g, dtype=torch.float64)
    far, where = 1.2 + 0.4 * u[0], 2 * math.pi * u[1]
    heading = where + (2 * u[2] - 1) * math.radians(40)
    free = torch.randint(3, (n,), generator=g)
    center = torch.stack([far * where.cos(), far * where.sin()], dim=1)
    away = torch.stack([heading.cos(), heading.sin()], dim=1)
    disc = torch.cat([center + 0.22 * away, torch.full((n, 1), 0.28, dtype=torch.float64)], dim=1)
    zero = torch.zeros(n, 2, dtype=torch.float64)
    turn = torch.cat([zero, (heading - 2 * math.pi * free / 3)[:, None]], dim=1)
    start = torch.stack([where + math.pi * (0.5 + u[3]), zero[:, 0], zero[:, 0]], dim=1)
    start[:, 0] = torch.remainder(start[:, 0] + math.pi, 2 * math.pi) - math.pi
    pose = {"R": so3.exp(turn), "p": torch.cat([center, zero[:, :1]], dim=1)}
    return {"start": start, "object": pose, "discs": disc[:, None]}, free
