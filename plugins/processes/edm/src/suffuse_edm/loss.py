"""The training loss: log-normal noise levels, and the weight that keeps the effective target at unit variance."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.objective import Batch, Loss, Objective, Progress, Times, Weighting
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mix
from suffuse.contracts.process import Gaussian, as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.regression import denoising_loss
from suffuse.rng import Rng
from suffuse.state import require, size
from suffuse.system import System

__all__ = ["EdmLoss", "Lambda", "LogNormal"]


@attrs.frozen(kw_only=True)
class LogNormal(Times):
    """``ln(sigma/alpha) ~ N(P_mean, P_std^2)`` (Karras et al. 2022, arXiv:2206.00364, table 1).

    A level that the process does not reach becomes its nearest end: under ``Edm(sigma_max=80)`` and the defaults one
    draw in 600 000 lies above 80 and trains at t = 1.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    p_mean: float = setting(-1.2, "the mean of ln(sigma/alpha)")
    p_std: float = setting(1.2, "the standard deviation of ln(sigma/alpha)", gt=0)

    def draw(self, process: Gaussian, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Times ``(n,)`` in float64 from the stream ``times``, and unit weights."""
        z = rng.at("times").normal(torch.empty(n, dtype=torch.float64, device=rng.device))
        t = process.time(-2 * (self.p_mean + self.p_std * z))
        return t, torch.ones_like(t)


@attrs.frozen(kw_only=True)
class Lambda(Weighting):
    """``lambda = 1/c_out^2 = (sigma^2 + s^2)/(sigma s)^2`` on ``|D - x_0|^2``, at ``sigma = sigma_t/alpha_t``.

    Karras et al. 2022, arXiv:2206.00364, table 1; s is ``sigma_data``. An output error of a mix ``a x_0 + b eps`` is
    ``(sigma_t a - alpha_t b)/sigma_t`` times the error of D, so its weight is

        (sigma_t^2 + s^2 alpha_t^2) / (s (alpha_t b - sigma_t a))^2:

    1 for the preconditioned network of this paper, ``(sigma^2 + s^2)/s^2`` for one that predicts eps.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    sigma_data: float = setting(0.5, "the standard deviation of the data, as in the preconditioning", gt=0)

    def weight(self, process: Gaussian, t: Tensor, mix: Mix) -> Tensor:
        """Float64, of the shape of t. ``Unsupported`` where the output says nothing about x_0 (eps at zero signal)."""
        alpha, sigma = process.scalars(as_time(t))
        a, b = mix
        w = (sigma**2 + (self.sigma_data * alpha) ** 2) / (self.sigma_data * (alpha * b - sigma * a)) ** 2
        require(w.isfinite(), "lambda is infinite at this noise level for what this network predicts")
        return w


@attrs.frozen(kw_only=True)
class EdmLoss(Objective):
    """``E lambda(sigma) |D(x_0 + sigma eps; sigma) - x_0|^2`` (Karras et al. 2022, arXiv:2206.00364, equation 8).

    The mean, not the sum, over the elements of a sample.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    times: Times = setting(factory=LogNormal, doc="the distribution of noise levels")
    weighting: Weighting = setting(factory=Lambda, doc="the weight of a noise level")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """The weighted squared error of each sample ``(B,)``. Streams: ``times``, ``noise``, ``model``."""
        if batch is None:
            raise InvalidInput("this objective learns from data, got no batch")
        process = system.process
        if not isinstance(process, Gaussian):
            raise Unsupported(f"this objective needs a Gaussian process, got {type(process).__name__}")
        t, importance = self.times.draw(process, size(batch.x), rng)
        return denoising_loss(system, batch, t, lambda p, u, mix: importance * self.weighting.weight(p, u, mix), rng)
