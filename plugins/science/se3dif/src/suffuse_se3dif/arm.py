"""A planar arm: where it is, how far from obstacles, and what a trajectory costs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from suffuse_se3dif import so3

__all__ = ["clearance", "end_pose", "joints_at", "roughness"]


def joints_at(q: Tensor, links: tuple[float, ...]) -> Tensor:
    """The joints' places from the base to the end, ``(..., J + 1, 2)``, for angles ``q (..., J)`` between links."""
    angle, length = q.cumsum(-1), torch.tensor(links, dtype=q.dtype, device=q.device)
    along = torch.stack([length * angle.cos(), length * angle.sin()], dim=-1)
    return pad(along.cumsum(-2), (0, 0, 1, 0))


def end_pose(q: Tensor, links: tuple[float, ...]) -> dict[str, Tensor]:
    """The end's pose in space, its x-axis along the last link: ``R (..., 3, 3)``, ``p (..., 3)``."""
    turn = pad(q.sum(-1, keepdim=True), (2, 0))
    return {"R": so3.exp(turn), "p": pad(joints_at(q, links)[..., -1, :], (0, 1))}


def clearance(q: Tensor, links: tuple[float, ...], discs: Tensor) -> Tensor:
    """Distances from each link to each disc, negative inside, ``(..., M, J)``; ``discs (..., M, 3)`` are x, y, r."""
    at = joints_at(q, links)
    start, way = at[..., None, :-1, :], at.diff(dim=-2)[..., None, :, :]
    to = discs[..., :, None, :2] - start
    share = ((to * way).sum(-1) / way.square().sum(-1)).clamp(0, 1)
    square = (to - share[..., None] * way).square().sum(-1)
    return square.clamp_min(1e-12).sqrt() - discs[..., :, None, 2]


def roughness(q: Tensor) -> Tensor:
    """``sum |q_{i+1} - q_i|^2`` of trajectories ``(..., h, J)``."""
    return q.diff(dim=-2).square().flatten(-2).sum(-1)
