"""The learned drift, as a denoiser."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Mean, Variance
from suffuse.contracts.process import Process, as_time
from suffuse.contracts.target import Target
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine, expand, promote
from suffuse_gfn_diffusion.network import Gain
from suffuse_gfn_diffusion.process import Pinned

__all__ = ["Policy"]


@module
class Policy(Denoiser):
    """``dx = u(x, t) dt + sqrt(scale) dw`` from the origin; as a denoiser, ``x0 = x_t + t u``.

    The drift of the pinned process, reversed, is ``(E[x_0 | x_t] - x_t)/t``: a network that says u says a posterior
    mean, and the policy can be sampled, guided and combined like any denoiser. With ``u = 0`` it is Brownian motion.

    Given a target, u has a Langevin term (Zhang and Chen 2022, arXiv:2111.15141; Sendera et al. 2024,
    arXiv:2402.05098): ``u = net(x, t) + gain(t) clip(score(x))``. With ``learned_variance`` the backbone
    has twice the outputs, and a step's variance ``scale (t - s)`` is multiplied by ``exp(4 tanh v)``.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"mean"})
    needs: ClassVar[frozenset[str]] = frozenset({"pinned"})

    backbone: Backbone = setting(doc="the drift; c_noise is the time from the origin, 1 - t")
    target: Target | None = setting(None, "the target whose score enters the drift; by default none does")
    learned_variance: bool = setting(False, "the second half of the backbone's outputs scales the step's variance")
    score_clip: float = setting(100.0, "largest absolute value of the score's elements", gt=0)
    drift_clip: float = setting(1e4, "largest absolute value of the drift's elements", gt=0)
    log_variance: float = setting(4.0, "largest absolute log-variance", gt=0)

    def __attrs_post_init__(self) -> None:
        self.gain = None if self.target is None else Gain()

    @property
    def shape(self) -> tuple[int, ...]:
        """One state's shape, where the backbone says it."""
        return tuple(getattr(self.backbone, "shape", ()))

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
        """The posterior mean; with s, and a learned variance, that of the transition."""
        if not isinstance(process, Pinned) or not isinstance(x_t, Tensor):
            raise Unsupported("a policy takes one tensor as its state, and the process gfn-diffusion/pinned")
        t, x = as_time(t), promote(x_t)
        ahead = (1 - t).to(x.device, x.dtype).expand(len(x))
        raw = self.backbone(x, ahead, cond)
        width = x.shape[1] * (2 if self.learned_variance else 1)
        if raw.shape != (len(x), width):
            raise InvalidInput(f"expected a backbone with outputs (batch, {width}), got {tuple(raw.shape)}")
        drift = raw[:, : x.shape[1]]
        if self.target is not None and self.gain is not None:
            score = self.target.score(x.detach()).nan_to_num().clamp(-self.score_clip, self.score_clip)
            drift = drift + self.gain(ahead) * score
        drift = drift.clamp(-self.drift_clip, self.drift_clip)
        variance = None
        if self.learned_variance and s is not None:
            factor = (self.log_variance * torch.tanh(raw[:, x.shape[1] :])).exp()
            variance = Variance(factor * expand(process.scale * (t - as_time(s)), factor), of="transition")
        x0 = combine(1.0, x, t, drift)
        return Mean(value=x0, x_t=x, t=t, process=process, mix=(1.0, 0.0), variance=variance)
