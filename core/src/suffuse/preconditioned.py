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
from suffuse.points import at_points, constant
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

    def __attrs_post_init__(self) -> None:
        self._constant = constant(self.trained) and constant(self.parameterization)

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
        x, dtype = promote(x_t), _dtype(self.backbone)
        # Never in half precision, where 998 and 999 are one number: a backbone casts its embedding of c_noise.
        read = _kept_reading if self._constant else _reading
        around = (self.trained, self.parameterization, torch.promote_types(dtype, torch.float32), x.device)
        c_in, c_noise, *mix = read(process, as_time(t), *around)
        network_in = (x * expand(c_in, x)).to(dtype)
        raw = self.backbone(network_in, c_noise.expand(len(x)) if c_noise.ndim == 0 else c_noise, cond)
        return Mean(value=raw.to(x.dtype), x_t=x, t=as_time(t), process=process, mix=(mix[0], mix[1]))


def _reading(
    process: Gaussian,
    t: Tensor,
    trained: Gaussian,
    parameterization: Parameterization,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[float | Tensor, Tensor, float | Tensor, float | Tensor]:
    """``(c_in k, c_noise, a, b)`` at time t of ``process``, for a network trained under another or the same."""
    k: float | Tensor = 1.0
    if process is not trained and process != trained:
        alpha, sigma = process.scalars(t)
        t = trained.time(process.log_snr(t))
        alpha_u, sigma_u = trained.scalars(t)
        k = torch.hypot(alpha_u, sigma_u) / torch.hypot(alpha, sigma)
    scaling, (a, b) = parameterization.scaling(trained, t), parameterization.mix(trained, t)
    return scaling.c_in * k, scaling.c_noise.to(device, dtype), a, b


_kept_reading = at_points(_reading)


def _dtype(network: nn.Module) -> torch.dtype:
    # The first of ``parameters()``, which in a deep network takes as long as several operations on the state.
    return next(p.dtype for m in network.modules() for p in m._parameters.values() if p is not None)
