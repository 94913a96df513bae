"""The sampler: one family from the deterministic ODE step to ancestral sampling."""

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
from suffuse.state import combine
from suffuse.system import System

__all__ = ["Ddim"]


@attrs.frozen(kw_only=True)
class Ddim(Sampler):
    """DDIM for any Gaussian process.

    ``x_s = alpha_s x0 + sqrt(sigma_s^2 - c^2) eps + c z`` with x0 and eps as predicted at x_t, and
    ``c = eta sigma_s sqrt(1 - SNR_t/SNR_s)``, eta times the standard deviation of the posterior ``q(x_s | x_t, x_0)``.
    Song et al., Denoising Diffusion Implicit Models, 2021, arXiv:2010.02502, equations 12 and 16.

    At eta = 0 this is an Euler step of the probability-flow ODE in ``d(x/alpha) = eps d(sigma/alpha)`` (equations
    13 and 14): no noise is drawn, ``s > t`` inverts, and ``inversion`` is given. At eta = 1 it is ancestral sampling
    with the smaller variance; eta > 0 gives ``stochastic``. The noise is of the stream ``noise``, and is not drawn
    where ``c = 0``, as in a last step to ``sigma_s = 0``.

    Raises ``Unsupported`` at eta > 0 with ``s > t``, where ``c > sigma_s`` (eta > 1 on a long step), and where x0 or
    eps does not follow from the prediction (eps from x0 at t = 0, x0 from eps at zero SNR).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    provides: ClassVar[frozenset[str]] = frozenset({"inversion", "stochastic"})
    order: ClassVar[int | None] = 1

    eta: float = setting(0.0, "noise, in standard deviations of the posterior: 0 is the ODE, 1 is ancestral", ge=0)

    @property
    def gives(self) -> frozenset[str]:
        """``inversion`` at eta = 0, else ``stochastic``."""
        return frozenset({"stochastic" if self.eta else "inversion"})

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """From t to s; t and s are ``()`` or ``(B,)``."""
        process = system.process
        if not isinstance(process, Gaussian):
            raise Unsupported(f"DDIM needs a Gaussian process, got {type(process).__name__}")
        alpha_s, sigma_s = process.scalars(s)
        share = self._share(process, t, s) if self.eta else None
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        kept = sigma_s if share is None else sigma_s * (1 - share).sqrt()
        x_s, law = combine(alpha_s, prediction.x0, kept, prediction.eps), None
        if share is not None and bool(((c := sigma_s * share.sqrt()) > 0).any()):
            law = Normal(x_s, c)
            x_s = law.sample(rng.at("noise"))
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe, transition=law)
        return carry.advance(x_s), info

    def _share(self, process: Gaussian, t: Tensor, s: Tensor) -> Tensor:
        """``c^2/sigma_s^2``: how much of the noise at s is fresh."""
        if bool((s > t).any()):
            raise Unsupported(f"DDIM goes from t to s > t at eta=0 only, got eta={self.eta:g}")
        forgotten = -torch.expm1(process.log_snr(t) - process.log_snr(s))
        share = self.eta**2 * torch.where(s == t, 0.0, forgotten)  # at s = t both may be infinite
        if bool((share > 1).any()):
            raise Unsupported(
                f"eta={self.eta:g} asks for more noise than there is at s={s.tolist()}: take more steps, or eta <= 1"
            )
        return share
