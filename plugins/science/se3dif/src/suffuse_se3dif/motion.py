"""The task: a grasp and the motion to it, found together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_se3dif.arm import clearance, end_pose, roughness
from suffuse_se3dif.energy import energy_of
from suffuse_se3dif.poses import leaves_of
from suffuse_se3dif.process import se3_gaussian

__all__ = ["GraspAndMotion"]


@attrs.frozen(kw_only=True)
class GraspAndMotion(Task):
    """Inverse diffusion of whole trajectories under a sum of costs, one of which is the energy of grasps.

    Urain et al. 2023, arXiv:2209.03855, section IV: with ``c = step sigma(t)^2 / sigma(floor)^2`` at each of ``steps``
    falling times,

        ``tau <- tau - c/2 grad J(tau, t) + temperature sqrt(c) z``,
        ``J = grasp E(FK(q_h), t) + smooth sum |q_{i+1} - q_i|^2 + collide sum max(0, margin - distance)^2
        + bound sum max(0, |q| - limit)^2``,

    from random initial trajectories; then ``descents`` moves at the floor without noise, and the cheapest particle of
    each scene. Here the robot is a planar arm among discs. The model's energy is asked for poses in the object's frame;
    guidance is not asked. Where the condition fixes one grasp (``label`` of ``PoseMixture``), this is planning to it.

    Inputs: ``start (S, J)`` joint angles, ``object {"R": (S, 3, 3), "p": (S, 3)}``, ``discs (S, M, 3)`` (x, y, radius),
    and optionally ``cond``. Metrics, shares of scenes: ``free`` (no collision, waypoints densely interpolated),
    ``grasped`` (an energy at the floor below ``threshold``), ``success`` (both). States: ``trajectory (S, h + 1, J)``,
    ``energy (S,)``, ``success (S,)``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"se3-gaussian", "energy"})

    links: tuple[float, ...] = setting(
        (1.0, 0.9, 0.5), "the links' lengths", check=lambda v: None if v and min(v) > 0 else "expected positive lengths"
    )
    waypoints: int = setting(10, "h, waypoints after the start", ge=2)
    particles: int = setting(32, "trajectories of each scene", ge=1)
    steps: int = setting(60, "noise levels", ge=1)
    descents: int = setting(60, "final moves without noise", ge=0)
    step_size: float = setting(2e-4, "c at the floor", gt=0)
    temperature: float = setting(1.0, "factor of the noise", ge=0)
    floor: float = setting(1e-3, "the least time", gt=0, lt=1)
    grasp: float = setting(1.0, "weight of the energy", ge=0)
    smooth: float = setting(2.0, "weight of the roughness", ge=0)
    collide: float = setting(50.0, "weight of collisions", ge=0)
    bound: float = setting(10.0, "weight of joint limits", ge=0)
    margin: float = setting(0.1, "distance that is kept from discs", ge=0)
    limit: float = setting(2.8, "the largest angle of a joint", gt=0)
    threshold: float = setting(4.0, "energy of a grasp that holds", gt=0)

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs and shapes."""
        start, place, discs, cond = self._inputs(inputs)
        n, device = len(start), start.device
        streams = rng.pool().repeat(n)
        sigma = se3_gaussian(system.process).sigma
        goal = streams.at("goal").uniform(start.new_zeros(n, self.particles, len(self.links)))
        share = torch.linspace(0, 1, self.waypoints + 1, dtype=start.dtype, device=device)[1:, None]
        goal = self.limit * (2 * goal - 1)
        q = start[:, None, None] + share * (goal - start[:, None])[:, :, None]
        levels = 1 - torch.arange(self.steps, dtype=torch.float64) / self.steps
        least = torch.tensor(self.floor, dtype=torch.float64)
        for i, t in enumerate([*levels.clamp_min(self.floor), *[least] * self.descents]):
            c = float(self.step_size * (sigma(t) / sigma(least)) ** 2)
            with torch.enable_grad():
                free = q.detach().requires_grad_()
                cost, _ = self._cost(system, free, start, place, discs, cond, t)
                (slope,) = torch.autograd.grad(cost.sum(), free)
            q = q - c / 2 * slope
            if i < self.steps and self.temperature:
                q = q + self.temperature * c**0.5 * streams.at("noise", i).normal(q)
        with torch.no_grad():
            cost, energy = self._cost(system, q, start, place, discs, cond, least)
            best = cost.argmin(1)
            chosen, energy = q[torch.arange(n), best], energy[torch.arange(n), best]
            path = torch.cat([start[:, None], chosen], dim=1)
            return self._judged(path, energy, discs)

    def _cost(
        self,
        system: System,
        q: Tensor,
        start: Tensor,
        place: tuple[Tensor, Tensor],
        discs: Tensor,
        cond: Condition,
        t: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """J and E of particles ``(S, P, h, J)``."""
        n, particles = q.shape[:2]
        (R, p), end = place, end_pose(q[:, :, -1], self.links)
        turned = R.mT[:, None] @ end["R"]
        moved = (R.mT[:, None] @ (end["p"] - p[:, None])[..., None])[..., 0]
        rows = torch.arange(n, device=q.device).repeat_interleave(particles)
        pose = {"R": turned.flatten(0, 1), "p": moved.flatten(0, 1)}
        assert system.process is not None
        model = energy_of(system.model)
        energy = model.energy(pose, t, cond.index(rows) if cond else cond, process=system.process).view(n, particles)
        whole = torch.cat([start[:, None, None].expand(-1, particles, 1, -1), q], dim=2)
        near = (self.margin - clearance(q, self.links, discs[:, None, None])).clamp_min(0)
        over = (q.abs() - self.limit).clamp_min(0)
        cost = self.grasp * energy + self.smooth * roughness(whole)
        cost = cost + self.collide * near.square().flatten(2).sum(2) + self.bound * over.square().flatten(2).sum(2)
        return cost, energy

    def _judged(self, path: Tensor, energy: Tensor, discs: Tensor) -> Result:
        fine = torch.linspace(0, 1, 6, dtype=path.dtype, device=path.device)[:, None]
        between = (path[:, :-1, None] + fine * path.diff(dim=1)[:, :, None]).flatten(1, 2)
        free = (clearance(between, self.links, discs[:, None]) > 0).flatten(1).all(1)
        grasped = energy < self.threshold
        success = free & grasped
        shares = {"success": success, "free": free, "grasped": grasped}
        return Result(
            metrics={name: float(v.double().mean()) for name, v in shares.items()},
            states={"trajectory": path, "energy": energy, "success": success},
        )

    def _inputs(self, inputs: Mapping[str, Any]) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor, Condition]:
        known = {"start", "object", "discs"}
        if set(inputs) - {"cond"} != known:
            raise InvalidInput(f"expected start, object, discs and maybe cond, got {sorted(inputs)}")
        start, discs, (R, p) = inputs["start"], inputs["discs"], leaves_of(inputs["object"])
        n = len(start)
        shapes = [tuple(v.shape) for v in (start, R, p, discs)]
        if shapes != [(n, len(self.links)), (n, 3, 3), (n, 3), (n, discs.shape[1] if discs.ndim == 3 else 0, 3)]:
            raise InvalidInput(
                f"expected start (S, {len(self.links)}), R (S, 3, 3), p (S, 3), discs (S, M, 3); got {shapes}"
            )
        cond = inputs.get("cond", Condition())
        if not isinstance(cond, Condition) or cond.size not in (None, n):
            raise InvalidInput(f"cond: expected a condition of {n} rows, got {cond!r}")
        return start, (R, p), discs, cond
