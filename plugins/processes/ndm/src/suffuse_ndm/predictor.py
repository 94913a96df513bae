"""The model: a network that tells the data."""

from __future__ import annotations

import math
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

__all__ = ["Predictor"]


@module
class Predictor(Denoiser):
    """``x_hat = backbone(z_t, scale t + shift)``: data in the place of x in the posterior (arXiv:2310.08337, eq. 10).

    Under a nonlinear transform the best x_hat is no conditional mean, so it has no score: an ``Endpoint``.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"endpoint", "conditional"})

    backbone: Backbone = setting(doc="the bare network")
    scale: float = setting(1000.0, "c_noise a unit of time", gt=0, lt=math.inf)
    shift: float = setting(-1.0, "c_noise at t = 0", gt=-math.inf, lt=math.inf)

    @property
    def gives(self) -> frozenset[str]:
        """``endpoint``, and ``conditional`` where the backbone takes labels."""
        return frozenset({"endpoint"}) | (self.backbone.gives & {"conditional"})

    def check(self, cond: Condition) -> None:
        """The backbone's check."""
        self.backbone.check(cond)

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
        """The data, in the state's dtype."""
        if not isinstance(x_t, Tensor):
            raise InvalidInput(f"expected a state of one tensor, got the leaves {sorted(x_t)}")
        x, t = promote(x_t), as_time(t)
        dtype = next(p.dtype for p in self.backbone.parameters())
        told = (self.scale * t + self.shift).to(x.device, torch.promote_types(dtype, torch.float32))
        raw = self.backbone(x.to(dtype), told.expand(len(x)), cond)
        return Endpoint(value=raw.to(x.dtype), x_t=x, t=t)
