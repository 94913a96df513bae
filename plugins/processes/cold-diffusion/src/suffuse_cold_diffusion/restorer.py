"""The restoration network."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Endpoint
from suffuse.contracts.process import Process, as_time
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State, promote

__all__ = ["Restorer"]


@module
class Restorer(Denoiser):
    """``R(x_t, t)``, an estimate of ``x_0`` (arXiv:2208.09392, section 3.1).

    A backbone that is told ``scale t + shift``: by default the step's index counted from 0, n - 1, of a chain of
    ``scale`` steps. The condition's entry ``end``, which is the degradation's, is kept from it.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"endpoint", "conditional"})

    backbone: Backbone = setting(doc="the bare network")
    scale: float = setting(doc="c_noise a unit of time: the chain's T", gt=0, lt=float("inf"))
    shift: float = setting(-1.0, "c_noise at t = 0", gt=float("-inf"), lt=float("inf"))

    @property
    def gives(self) -> frozenset[str]:
        """``endpoint``, and ``conditional`` where the backbone takes labels."""
        return frozenset({"endpoint"}) | (self.backbone.gives & {"conditional"})

    def check(self, cond: Condition) -> None:
        """The backbone's check, of what it is told."""
        self.backbone.check(cond.without({"end"}))

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Endpoint:
        """One evaluation, in the backbone's dtype."""
        if not isinstance(x_t, Tensor):
            raise InvalidInput("a restorer takes one tensor as its state")
        x, dtype = promote(x_t), next(self.backbone.parameters()).dtype
        c_noise = (self.scale * as_time(t) + self.shift).to(x.device, torch.promote_types(dtype, torch.float32))
        c_noise = c_noise.expand(len(x)) if c_noise.ndim == 0 else c_noise
        value = self.backbone(x.to(dtype), c_noise, cond.without({"end"})).to(x.dtype)
        return Endpoint(value=value, x_t=x, t=as_time(t))
