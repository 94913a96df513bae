"""Euler's method for the reverse SDE, from a posterior mean."""

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
from suffuse.state import require
from suffuse.system import System

__all__ = ["EulerMaruyama"]


@attrs.frozen(kw_only=True)
class EulerMaruyama(Sampler):
    """``x_s ~ N(mu, g(t)^2 (t - s) I)``, mu the mean of ``q(x_s | x_t, x_0)`` at the model's x0.

    For ``gfn-diffusion/pinned`` mu is ``x_t + (t - s) u``: the paper's forward policy, whose last step is random like
    all others (Sendera et al. 2024, arXiv:2402.05098). A model that gives the variance of its transitions
    is taken at its word. Raises ``Unsupported`` for s > t and where g is not finite.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(100, "steps from the prior to the data", ge=1)

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """One draw from stream ``noise``; the model's own stream is ``model``."""
        process = system.process
        if not isinstance(process, Gaussian):
            raise Unsupported(f"this solver needs a Gaussian process, got {type(process).__name__}")
        require(s <= t, "this solver goes from t to a lower s; process.renoise goes back")
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        mean = process.posterior(carry.x, prediction.x0, t, s).mean
        given = prediction.variance
        if given is not None and given.of == "transition" and isinstance(given.value, Tensor):
            std = given.value.sqrt()
        else:
            std = torch.as_tensor(process.diffusion(t)) * (t - s).sqrt()
            require(std.isfinite(), "the process's diffusion is not finite here: start the grid below t = 1")
        law = Normal(mean, std)
        x_s = law.sample(rng.at("noise"))
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe, transition=law)
        return carry.advance(x_s), info
