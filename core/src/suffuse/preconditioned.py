"""The wrapper that makes a denoiser of a bare network."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser, Parameterization
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, expand, promote

__all__ = ["Preconditioned"]


@module
class Preconditioned(Denoiser):
    """A backbone read through a parameterization: the only place where dtype changes.

    ``trained`` is the process of training. Under another Gaussian process the state is rescaled to the same log-SNR
    of the training process, so schedules can be swapped without retraining: ``x_t`` and ``k x_t`` with
    ``k = sqrt((alpha_u^2 + sigma_u^2) / (alpha_t^2 + sigma_t^2))`` hold the same x_0 and eps
    (Karras et al. 2022, arXiv:2206.00364, section 2, s(t) and sigma(t)).
    """

    provides: ClassVar[frozenset[str]] = frozenset({"mean"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    backbone: Backbone = setting(doc="the bare network")
    parameterization: Parameterization = setting(doc="what its raw output means")
    trained: Gaussian = setting(doc="the process it was trained with")

    @property
    def gives(self) -> frozenset[str]:
        """``mean``, and ``conditional`` where the backbone takes labels."""
        return frozenset({"mean"}) | (self.backbone.gives & {"conditional"})

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
    ) -> Mean:
        """``F = backbone(c_in k x_t, c_noise, cond)``, in the backbone's dtype."""
        if not isinstance(process, Gaussian):
            raise Unsupported(f"{type(self).__name__} reads Gaussian processes, got {type(process).__name__}")
        if not isinstance(x_t, Tensor):
            raise InvalidInput("a preconditioned backbone takes one tensor as its state")
        x, u = promote(x_t), as_time(t)
        k: float | Tensor = 1.0
        if process is not self.trained and process != self.trained:
            alpha, sigma = process.scalars(u)
            u = self.trained.time(process.log_snr(u))
            alpha_u, sigma_u = self.trained.scalars(u)
            k = torch.hypot(alpha_u, sigma_u) / torch.hypot(alpha, sigma)
        scaling = self.parameterization.scaling(self.trained, u)
        dtype = _dtype(self.backbone)
        network_in = (x * expand(scaling.c_in * k, x)).to(dtype)
        # Never in half precision, where 998 and 999 are one number: a backbone casts its embedding of it.
        c_noise = scaling.c_noise.to(x.device, torch.promote_types(dtype, torch.float32))
        raw = self.backbone(network_in, c_noise.expand(len(x)) if c_noise.ndim == 0 else c_noise, cond)
        mix = self.parameterization.mix(self.trained, u)
        return Mean(value=raw.to(x.dtype), x_t=x, t=as_time(t), process=process, mix=mix)


def _dtype(network: nn.Module) -> torch.dtype:
    # The first of ``parameters()``, which in a deep network takes as long as several operations on the state.
    return next(p.dtype for m in network.modules() for p in m._parameters.values() if p is not None)
