"""The training objective."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.objective import Batch, Loss, Objective, Progress, Times
from suffuse.contracts.part import setting
from suffuse.errors import InvalidInput, Unsupported
from suffuse.parts import UniformTimes
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_se3dif.network import PoseEnergy
from suffuse_se3dif.poses import leaves_of
from suffuse_se3dif.process import se3_gaussian

__all__ = ["Se3Dsm"]

_SHAPE = ("points", "distances")


@attrs.frozen(kw_only=True)
class Se3Dsm(Objective):
    """``scale * mean |s(H_t, t) - target|_1`` over the six tangent coordinates, and the signed distance's L1 error.

    Denoising score matching on the group: Urain et al. 2023, arXiv:2209.03855, eq. 6, with the L1 norm and the factor
    1/20 of the authors' code; the target is ``Se3Gaussian.target``. Where the condition has ``points (B, M, 3)``, in
    the object's frame, and their ``distances (B, M)`` to its surface, the field's distances are fitted at the same t,
    both clipped to ``[-10, 0.6]``. The model does not see these two entries.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"se3-gaussian", "score"})

    scale: float = setting(0.05, "factor of the score's term", gt=0)
    times: Times = setting(factory=UniformTimes, doc="the law of t")
    earliest: float = setting(1e-5, "smaller times are raised to it", gt=0, lt=1)

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Streams: ``times``, the process's ``noise``, and ``model``. Logs have both terms."""
        assert batch is not None
        process = se3_gaussian(system.process)
        t, weight = self.times.draw(process, rng.size, rng)
        t = t.clamp_min(self.earliest)
        corruption = process.corrupt(batch.x, t, rng=rng)
        assert corruption.noise is not None
        cond = batch.cond.without(_SHAPE)
        prediction = system.plain(corruption.x_t, t, cond, rng=rng.at("model"))
        pairs = zip(leaves_of(prediction.score), leaves_of(process.target(corruption.noise, t)), strict=True)
        score = self.scale * torch.cat([s - goal for s, goal in pairs], dim=1).abs().mean(1)
        logs = {"score": score.detach().mean()}
        total = score * weight.to(score)
        given = [name for name in _SHAPE if name in batch.cond]
        if given:
            distance = _distances(system, batch, t)
            total, logs = total + distance, {**logs, "distance": distance.detach().mean()}
        return Loss(total, logs)


def _distances(system: System, batch: Batch, t: Tensor) -> Tensor:
    if not isinstance(system.model, PoseEnergy):
        raise Unsupported(f"signed distances are fitted to a pose energy's field, got {type(system.model).__name__}")
    if missing := [name for name in _SHAPE if name not in batch.cond]:
        raise InvalidInput(f"points and distances come together, got a condition without {missing[0]}")
    points, goal = (batch.cond[name] for name in _SHAPE)
    if points.ndim != 3 or points.shape[2] != 3 or goal.shape != points.shape[:2]:
        raise InvalidInput(
            f"expected points (B, M, 3) and distances (B, M), got {tuple(points.shape)} and {tuple(goal.shape)}"
        )
    found = system.model.signed_distance(points, t, batch.cond.without(_SHAPE))
    return (found.clamp(-10, 0.6) - goal.clamp(-10, 0.6)).abs().mean(1)
