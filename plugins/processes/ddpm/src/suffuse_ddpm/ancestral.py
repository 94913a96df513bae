"""Ancestral sampling: the reverse chain, one Gaussian draw a step."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Normal
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.system import System

__all__ = ["Ancestral"]


@attrs.frozen(kw_only=True)
class Ancestral(Sampler):
    """``x_s ~ N(mu(x_t, x0_hat), sigma^2 I)``, mu the mean of ``q(x_s | x_t, x_0)`` at the model's x0.

    Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv:2006.11239, algorithm 2 and section 3.2, for any
    s < t: with ``alpha_ts = alpha_t/alpha_s`` and ``sigma_ts^2 = sigma_t^2 - alpha_ts^2 sigma_s^2``

    - ``small``: ``sigma^2 = sigma_ts^2 sigma_s^2/sigma_t^2``, beta-tilde: right if the data are one point;
    - ``large``: ``sigma^2 = sigma_ts^2``, beta: right if the data are N(0, I).

    No noise is added where s = 0. With ``steps = T`` and the default grid, the chain is that of ``ddpm/discrete``.
    The authors' code clips x0_hat: compose with the guidance ``suffuse/clip``.

    Raises ``Unsupported`` for s >= t: going back is ``process.renoise``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean|draw"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(1000, "grid points; the number of steps where the trajectory ends at t = 0", ge=1)
    variance: Literal["small", "large"] = setting(
        "large", "beta-tilde or beta, of the reverse step", choices=("small", "large")
    )

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """One draw from stream ``noise``, or none where s = 0; the model's own stream is ``model``."""
        process = system.process
        if not isinstance(process, Gaussian):
            raise Unsupported("ancestral sampling of this kind needs a Gaussian process")
        if bool((s >= t).any()):
            raise Unsupported("ancestral sampling goes from t to a lower s; process.renoise goes back")
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        law = process.posterior(carry.x, prediction.x0, t, s)
        x_s, transition = law.mean, None
        if bool((s > 0).any()):
            if self.variance == "large":
                std = torch.as_tensor(process.transition(t, s).sigma)
                law = Normal(law.mean, torch.where(s > 0, std, 0.0))
            x_s, transition = law.sample(rng.at("noise")), law
        info = StepInfo(
            x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe, transition=transition
        )
        return carry.advance(x_s), info
