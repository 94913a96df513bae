"""The denoiser: one network sees all variables side by side and tells the noise of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Noise
from suffuse.contracts.process import LinearGaussian, Process, as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, promote

__all__ = ["Joint"]


@module
class Joint(Denoiser):
    """``eps = backbone([x, v, ...], scale t + shift)``, variables joined and parted along the first event dimension.

    The backbone takes K times the channels of the data and gives as many (arXiv:2302.07261, appendix). The score is
    ``-L_t^{-T} eps``, by the process.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"noise", "conditional"})
    needs: ClassVar[frozenset[str]] = frozenset({"linear-gaussian"})

    backbone: Backbone = setting(doc="the bare network, of K times the data's channels")
    scale: float = setting(1000.0, "c_noise a unit of time", gt=0, lt=float("inf"))
    shift: float = setting(-1.0, "c_noise at t = 0", gt=float("-inf"), lt=float("inf"))

    @property
    def gives(self) -> frozenset[str]:
        """``noise``, and ``conditional`` where the backbone takes labels."""
        return frozenset({"noise"}) | (self.backbone.gives & {"conditional"})

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
    ) -> Noise:
        """The noise of each variable, in the state's dtype."""
        if not isinstance(process, LinearGaussian):
            raise Unsupported(f"{type(self).__name__} reads linear Gaussian processes, got {type(process).__name__}")
        if not isinstance(x_t, Mapping):
            raise InvalidInput("expected a state of named variables, got one tensor")
        x = {name: promote(v) for name, v in x_t.items()}
        first = next(iter(x.values()))
        dtype = next(p.dtype for p in self.backbone.parameters())
        t = as_time(t)
        told = (self.scale * t + self.shift).to(first.device, torch.promote_types(dtype, torch.float32))
        joined = torch.cat(list(x.values()), 1).to(dtype)
        eps = self.backbone(joined, told.expand(len(first)), cond).to(first.dtype).chunk(len(x), 1)
        return Noise(value=dict(zip(x, eps, strict=True)), x_t=x_t, t=t, process=process)
