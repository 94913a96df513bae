"""Ancestral sampling with the variance that the model tells."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Normal
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import combine, tree_map
from suffuse.system import System
from suffuse_iddpm.transition import transition_variance

__all__ = ["Ancestral"]


@attrs.frozen(kw_only=True)
class Ancestral(Sampler):
    """``x_s ~ N(mu(x_t, x0_hat), Sigma)``, mu the mean of ``q(x_s | x_t, x_0)`` and Sigma the model's own variance.

    Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, arXiv:2102.09672, sections 3.1 and 4,
    on any grid: for a step from t to s beta is ``1 - alpha_bar_t/alpha_bar_s``, which is how the paper respaces its
    chain (``iddpm/spaced`` has its sub-sequences). A variance that is told of x_0 instead of the transition (an exact
    denoiser's) is carried to the transition by the law of total variance.

    No noise is added where s = 0. The authors' code clips x0_hat: compose with the guidance ``suffuse/clip``.

    Raises ``Unsupported`` for s >= t, and for predictions without a variance.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean", "variance"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(100, "grid points; the number of steps where the trajectory ends at t = 0", ge=1)

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
            std = tree_map(torch.sqrt, transition_variance(prediction, process, t, s))
            transition = Normal(law.mean, combine((s > 0).double(), std, 0.0, std))
            x_s = transition.sample(rng.at("noise"))
        info = StepInfo(
            x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe, transition=transition
        )
        return carry.advance(x_s), info
