"""The denoiser of tokens: a backbone whose output is read as logits of the clean symbols."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Logits
from suffuse.contracts.process import Discrete, Process, as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State

__all__ = ["TokenDenoiser"]


@module
class TokenDenoiser(Denoiser):
    """``logits = backbone(x_t, 1000 t, cond)`` over the K symbols of data, for any discrete process.

    The mask is no class, so no probability is lost to it; tokens that are seen are carried over by the process, not
    here (Shi et al. 2024, arXiv:2406.04329, section 4). With ``time = "none"`` the network is told 0 at all times:
    what it has to say of a masked token follows from those that are seen.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"logits", "conditional"})
    needs: ClassVar[frozenset[str]] = frozenset({"discrete"})

    backbone: Backbone = setting(doc="tokens (B, *event) to logits (B, *event, K)")
    time: Literal["t", "none"] = setting("t", "what the network is told of the time", choices=("t", "none"))

    @property
    def gives(self) -> frozenset[str]:
        """``logits``, and ``conditional`` where the backbone takes labels."""
        return frozenset({"logits"}) | (self.backbone.gives & {"conditional"})

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
    ) -> Logits:
        """The logits, in the backbone's dtype. ``InvalidInput`` where their number is not the process's K."""
        if not isinstance(process, Discrete) or not isinstance(x_t, Tensor):
            raise Unsupported("a denoiser of tokens takes one tensor of a discrete process")
        told = as_time(t) * (1000.0 if self.time == "t" else 0.0)
        c_noise = told.to(x_t.device, torch.float32)
        value = self.backbone(x_t, c_noise.expand(len(x_t)) if c_noise.ndim == 0 else c_noise, cond)
        if value.shape[-1] != process.symbols:
            raise InvalidInput(f"the process has {process.symbols} symbols, the backbone {value.shape[-1]}")
        return Logits(value=value, x_t=x_t, t=as_time(t))
