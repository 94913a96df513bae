"""Poses: the product group SO(3) x R^3, as a space of states and laws on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Law
from suffuse.contracts.space import Space
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State, expand, promote
from suffuse_se3dif import so3

__all__ = ["PoseNormal", "Poses", "UniformPoses", "leaves_of", "move", "scaled", "tangent_noise"]


def leaves_of(x: State) -> tuple[Tensor, Tensor]:
    """``(R, p)`` of a pose or of a tangent, in at least float32. Raises ``InvalidInput`` for another state."""
    if not isinstance(x, Mapping) or set(x) != {"R", "p"}:
        got = f"leaves {sorted(x)}" if isinstance(x, Mapping) else f"a tensor of shape {tuple(x.shape)}"
        raise InvalidInput(f"expected poses or their tangents, with the leaves R and p, got {got}")
    return promote(x["R"]), promote(x["p"])


def move(x: State, v: State) -> dict[str, Tensor]:
    """``(R exp(v_R), p + v_p)``."""
    (R, p), (w, u) = leaves_of(x), leaves_of(v)
    return {"R": R @ so3.exp(w), "p": p + u}


def scaled(a: float | Tensor, v: State) -> dict[str, Tensor]:
    """A tangent times a coefficient, ``()`` or ``(B,)``."""
    w, u = leaves_of(v)
    return {"R": w * expand(a, w), "p": u * expand(a, u)}


def tangent_noise(like: State, rng: Rng) -> dict[str, Tensor]:
    """``z ~ N(0, I_6)`` as a tangent: ``R (B, 3)`` and ``p (B, 3)``, streams of these names."""
    _, p = leaves_of(like)
    return {name: rng.at(name).normal(p) for name in ("R", "p")}


@attrs.frozen(kw_only=True)
class Poses(Space):
    """``{"R": (B, 3, 3), "p": (B, 3)}``, a rotation and a position; tangents are ``{"R": (B, 3), "p": (B, 3)}``.

    The product group, as in the authors' code: ``exp(x, v) = (R exp(v_R), p + v_p)`` with v_R in the body's frame. A
    left move by a tangent in the world's frame is the same, since ``exp(R v) R = R exp(v)``.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"se3"})

    def like(self, n: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> State:
        """n identities."""
        eye = torch.eye(3, dtype=dtype, device=device)
        return {"R": eye.repeat(n, 1, 1), "p": torch.zeros(n, 3, dtype=dtype, device=device)}

    def check(self, x: State) -> None:
        """Raise ``InvalidInput`` unless x is a finite batch of rotations and positions, up to rounding."""
        leaves_of(x)
        Space.check(self, x)
        R, _ = leaves_of(x)
        off = float((R @ R.mT - torch.eye(3, dtype=R.dtype, device=R.device)).abs().max())
        least = float(torch.linalg.det(R).min())
        if off > 1e-4 or least < 0:
            raise InvalidInput(
                f"R must be rotations; R R^T is off the identity by {off:.2g}, the least determinant is {least:.2g}"
            )

    def noise(self, like: State, rng: Rng) -> State:
        """``exp(like, z)``, ``z ~ N(0, I_6)``."""
        return move(like, tangent_noise(like, rng))

    def project(self, x: State) -> State:
        """The nearest rotations."""
        R, p = leaves_of(x)
        return {"R": so3.nearest(R), "p": p}

    def exp(self, x: State, v: State) -> State:
        """``(R exp(v_R), p + v_p)``."""
        return move(x, v)

    def log(self, x: State, y: State) -> State:
        """``(log(R_x^T R_y), p_y - p_x)``."""
        (R, p), (S, q) = leaves_of(x), leaves_of(y)
        return {"R": so3.log(R.mT @ S), "p": q - p}


@attrs.frozen(eq=False)
class PoseNormal(Law):
    """``exp(x, mean + std z)``, ``z ~ N(0, I_6)``: the exp-map Gaussian about a pose. ``std`` is ``()`` or ``(B,)``."""

    x: State
    mean: State
    std: float | Tensor

    def sample(self, rng: Rng) -> State:
        """Streams ``R`` and ``p``."""
        (w, u), (z, y) = leaves_of(self.mean), leaves_of(tangent_noise(self.x, rng))
        return move(self.x, {"R": w + expand(self.std, z) * z, "p": u + expand(self.std, y) * y})

    def log_prob(self, x: State) -> Tensor:
        """``(B,)``, with respect to Haar measure (of mass ``8 pi^2``) times Lebesgue measure.

        Sums over nine branches of the logarithm, each with the exponential's volume ``2 (1 - cos a)/a^2``.
        """
        (R, p), (S, q) = leaves_of(self.x), leaves_of(x)
        (w, u), std = leaves_of(self.mean), torch.as_tensor(self.std, dtype=p.dtype, device=p.device)
        short = so3.log(R.mT @ S)
        angle = short.norm(dim=1, keepdim=True).clamp_min(1e-6)
        a = angle + 2 * math.pi * torch.arange(-4, 5).to(p)
        far = (a[..., None] * (short / angle)[:, None] - w[:, None]).square().sum(-1)
        s = std[..., None] if std.ndim else std
        logs = -0.5 * far / s**2 + 2 * (a.abs() / (2 * (angle / 2).sin())).log()
        place = -0.5 * (q - p - u).square().sum(1) / std**2
        return logs.logsumexp(1) + place - 6 * std.log() - 3 * math.log(2 * math.pi)


@attrs.frozen(eq=False)
class UniformPoses(Law):
    """A uniform rotation, and a position from ``N(0, I)``."""

    like: State

    def sample(self, rng: Rng) -> State:
        """A normalised Gaussian quaternion; streams ``R`` and ``p``."""
        _, p = leaves_of(self.like)
        q = rng.at("R").normal(p.new_zeros(len(p), 4))
        return {"R": so3.from_quaternion(q), "p": rng.at("p").normal(p)}

    def log_prob(self, x: State) -> Tensor:
        """With respect to Haar measure of mass ``8 pi^2`` times Lebesgue measure."""
        _, p = leaves_of(x)
        return -0.5 * p.square().sum(1) - 1.5 * math.log(2 * math.pi) - math.log(8 * math.pi**2)
