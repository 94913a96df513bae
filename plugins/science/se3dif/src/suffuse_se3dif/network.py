"""The learned energy."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.network import check_labels
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Field
from suffuse.contracts.process import Process, as_time
from suffuse.rng import Rng
from suffuse.state import State, promote
from suffuse_se3dif.energy import energy_field
from suffuse_se3dif.poses import leaves_of

__all__ = ["PoseEnergy"]


def _perceptron(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


@module
class PoseEnergy(Denoiser):
    """Points that move with the pose -> a field of features around the object -> one energy.

    Urain et al. 2023, arXiv:2209.03855, figure 2: N fixed points ``x_n = R p_n + p`` in the object's frame; the field
    ``F(x, t, z)`` gives a signed distance and ``features`` more; a decoder maps all of them to E. z is the object's
    latent code, learned for each ``label``. Poses are the gripper's in the object's frame: moving both changes nothing.

    Smooth activations (the gradient is trained). Points are fixed normal draws times ``extent``; sizes are
    our own.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"field", "score", "energy", "signed-distance", "conditional"})
    needs: ClassVar[frozenset[str]] = frozenset({"se3-gaussian"})

    points: int = setting(8, "N, points on the gripper", ge=4)
    extent: float = setting(1.0, "deviation of their coordinates", gt=0)
    features: int = setting(7, "features of a point beside the signed distance", ge=1)
    width: int = setting(64, "hidden width of field and decoder", ge=1)
    depth: int = setting(2, "hidden layers of each", ge=1)
    frequencies: int = setting(4, "sines and cosines of the time, of periods 2, 1, 2/3, ...", ge=1)
    objects: int = setting(0, "objects with a latent code; 0 for one without", ge=0)
    code: int = setting(16, "length of a code", ge=1)

    def __attrs_post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(self.points, 3, generator=generator, dtype=torch.float64)
        self.register_buffer("gripper", (self.extent * drawn).float())
        known = 3 + 2 * self.frequencies + (self.code if self.objects else 0)
        hidden = [self.width] * self.depth
        self.field = _perceptron([known, *hidden, 1 + self.features])
        self.decoder = _perceptron([self.points * (1 + self.features), *hidden, 1])
        self.codes = nn.Embedding(self.objects, self.code) if self.objects else None

    @property
    def gives(self) -> frozenset[str]:
        """``conditional`` where there are objects."""
        all_of_them = frozenset({"field", "score", "energy", "signed-distance"})
        return all_of_them | (frozenset({"conditional"}) if self.objects else frozenset())

    def check(self, cond: Condition) -> None:
        """A label must be an object's."""
        check_labels(cond, self.objects)

    def _features(self, x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """Of points ``(B, M, 3)`` in the network's dtype."""
        phase = math.pi * as_time(t).to(x)[..., None] * torch.arange(1, self.frequencies + 1, device=x.device)
        known = torch.cat([phase.sin(), phase.cos()], dim=-1).expand(len(x), -1)
        if self.codes is not None:
            code = x.new_zeros(len(x), self.code)
            if "label" in cond:
                code = torch.where(cond.present("label")[:, None], self.codes(cond["label"]), code)
            known = torch.cat([known, code], dim=1)
        out: Tensor = self.field(torch.cat([x, known[:, None].expand(-1, x.shape[1], -1)], dim=-1))
        return out

    def signed_distance(self, points: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """The field's first output at ``points (B, M, 3)`` of the object's frame, ``(B, M)``."""
        return self._features(points.to(self.gripper.dtype), t, cond)[..., 0].to(promote(points).dtype)

    def energy(self, x: State, t: Tensor, cond: Condition, *, process: Process) -> Tensor:
        """``(B,)``, in the network's dtype inside, in the state's outside."""
        R, p = leaves_of(x)
        inside = self.gripper.dtype
        moved = self.gripper @ R.to(inside).mT + p.to(inside)[:, None]
        out: Tensor = self.decoder(self._features(moved, t, cond).flatten(1))
        return out[:, 0].to(p.dtype)

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
