"""The model's own samplers: its posteriors, and the SDE or ODE that they tend to."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Normal
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import combine
from suffuse.system import System
from suffuse_ndm.process import NeuralDiffusion, neural

__all__ = ["Flow", "Posterior"]


class _Noisy:
    """A step that is random where eta is above 0."""

    needs: ClassVar[frozenset[str]] = frozenset({"transform|gaussian", "endpoint|mean"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})
    eta: float

    @property
    def gives(self) -> frozenset[str]:
        """``stochastic``, where it is."""
        return frozenset({"stochastic"}) if self.eta else frozenset()

    @property
    def order(self) -> int | None:
        """1 for the ODE."""
        return None if self.eta else 1

    def _law(self, process: NeuralDiffusion, p: Prediction, x: Tensor, t: Tensor, s: Tensor) -> Normal:
        raise NotImplementedError

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """The mean, and noise from the stream ``noise`` where there is some."""
        if self.eta and bool((s >= t).any()):
            raise Unsupported("random steps go from t to a lower s; with eta = 0 they go both ways")
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        assert isinstance(carry.x, Tensor)
        law = self._law(neural(system.process), prediction, carry.x, t, s)
        random = bool((torch.as_tensor(law.std) > 0).any())
        x_s = law.sample(rng.at("noise")) if random else law.mean
        info = StepInfo(
            x_t=carry.x,
            x_s=x_s,
            t=t,
            s=s,
            prediction=prediction,
            nfe=prediction.nfe,
            transition=law if random else None,
        )
        return carry.advance(x_s), info


@attrs.frozen(kw_only=True)
class Posterior(_Noisy, Sampler):
    """``z_s ~ q(z_s | z_t, x_hat)``: the generative chain itself (arXiv:2310.08337, section 3.2, algorithm 2).

    eta = 1 is the process's own posterior, 0 a deterministic step that also inverts. On a Gaussian process these are
    ancestral sampling and DDIM. A step evaluates the model once, which ``nfe`` counts, and the transform once.
    """

    eta: float = setting(1.0, "noise, in standard deviations of the posterior", ge=0, le=1)

    def _law(self, process: NeuralDiffusion, p: Prediction, x: Tensor, t: Tensor, s: Tensor) -> Normal:
        return process.posterior(x, p.x0, t, s, eta=self.eta)


@attrs.frozen(kw_only=True)
class Flow(_Noisy, Sampler):
    """``dz = (f - g^2/2 score) dt + g dw`` backward in time by Euler's method (arXiv:2310.08337, section 3.3).

    With x_hat in the place of x: ``f = alpha' F + alpha F' + sigma'/sigma (z - alpha F)``, ``score = (alpha F - z) /
    sigma^2`` and ``g^2 = eta sigma^2 gamma'``. eta = 0 is the ODE, which also inverts. A step evaluates the model once,
    which ``nfe`` counts, and the transform once with its derivative in time.
    """

    eta: float = setting(1.0, "noise of the reverse SDE: g^2 = eta sigma^2 gamma'; 0 is the ODE", ge=0)

    def _law(self, process: NeuralDiffusion, p: Prediction, x: Tensor, t: Tensor, s: Tensor) -> Normal:
        (alpha, sigma), d = process.schedule.scalars(t), process.schedule.derivative(t)
        d_alpha, d_sigma = torch.as_tensor(d.alpha), torch.as_tensor(d.sigma)
        guess = p.x0
        assert isinstance(guess, Tensor)
        value, slope = process.moving(guess, t)
        noise = combine(1.0, x, -alpha, value)
        drift = combine(1.0, combine(d_alpha, value, alpha, slope), d_sigma / sigma, noise)
        if not self.eta:
            return Normal(combine(1.0, x, s - t, drift), torch.zeros_like(t))
        g2 = self.eta * 2 * sigma * (d_sigma - sigma * d_alpha / alpha)
        drift = combine(1.0, drift, g2 / (2 * sigma**2), noise)
        return Normal(combine(1.0, x, s - t, drift), (g2 * (t - s)).sqrt())
