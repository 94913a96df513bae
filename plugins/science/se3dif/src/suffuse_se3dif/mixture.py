"""Known energies: some poses, noised."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.network import check_labels
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Field
from suffuse.contracts.process import Process, as_time
from suffuse.errors import SpecError
from suffuse.rng import Rng
from suffuse.state import State
from suffuse_se3dif import so3
from suffuse_se3dif.energy import energy_field
from suffuse_se3dif.poses import leaves_of
from suffuse_se3dif.process import se3_gaussian

__all__ = ["PoseMixture"]


def _sixes(poses: tuple[tuple[float, ...], ...]) -> str | None:
    good = poses and all(len(v) == 6 and all(map(math.isfinite, v)) for v in poses)
    return None if good else f"expected poses of six finite numbers, got {poses!r}"


@module
class PoseMixture(Denoiser):
    """``E(H, t) = -log sum_k w_k exp(-|log(H_k^{-1} H)|^2 / (2 (spread^2 + sigma_t^2)))``, up to ``log`` of the scale.

    Gaussians of the geodesic distance about given poses. With ``spread`` 0 this is the energy whose score the published
    objective aims at for data on these poses; the law of the noise itself differs from it at wide angles
    (``suffuse_se3dif.densities``). The condition's ``label`` ``(B,)`` picks one pose.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"field", "score", "energy", "conditional"})
    needs: ClassVar[frozenset[str]] = frozenset({"se3-gaussian"})

    poses: tuple[tuple[float, ...], ...] = setting(
        doc="each a position and an axis-angle vector, six numbers", check=_sixes
    )
    weights: tuple[float, ...] = setting((), "w_k; empty for equal ones")
    spread: float = setting(0.0, "the data's own deviation about each pose", ge=0)

    def __attrs_post_init__(self) -> None:
        weights = self.weights or (1.0,) * len(self.poses)
        if len(weights) != len(self.poses) or min(weights) <= 0:
            raise SpecError(f"weights: expected {len(self.poses)} positive numbers, got {list(self.weights)}")
        numbers = torch.tensor(self.poses, dtype=torch.float64)
        self.register_buffer("positions", numbers[:, :3].contiguous())
        self.register_buffer("rotations", so3.exp(numbers[:, 3:]))
        self.register_buffer("logits", torch.tensor(weights, dtype=torch.float64).log())

    def check(self, cond: Condition) -> None:
        """A label must be one of the poses'."""
        check_labels(cond, len(self.poses))

    def energy(self, x: State, t: Tensor, cond: Condition, *, process: Process) -> Tensor:
        """``(B,)``. Twice differentiable where no pose is half a turn away."""
        R, p = leaves_of(x)
        w = so3.log(self.rotations.to(R).mT @ R[:, None])
        far = w.square().sum(-1) + (p[:, None] - self.positions.to(p)).square().sum(-1)
        variance = (self.spread**2 + se3_gaussian(process).sigma(as_time(t)) ** 2).to(p)
        logs = self.logits.to(p) - far / (2 * (variance[:, None] if variance.ndim else variance))
        if "label" in cond:
            others = torch.arange(logs.shape[1], device=p.device) != cond["label"][:, None]
            logs = logs.masked_fill(others & cond.present("label")[:, None], -math.inf)
        return -logs.logsumexp(1)

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Field:
        """The score of the left-trivialised derivative."""
        return energy_field(self, x_t, t, cond, process)
