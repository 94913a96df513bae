"""The bound on log p(x) for any linear SDE: three terms, none of which is derived by hand for a process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress, Times
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mean, Noise
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import combine, size
from suffuse.system import System
from suffuse_mdm.kernel import Multivariate
from suffuse_mdm.matrices import stack

__all__ = ["Elbo", "Importance", "data_term", "prior_term"]


@attrs.frozen(kw_only=True)
class Importance(Times):
    """``t >= t_min`` with density proportional to ``beta / (1 - exp(-B))``, and weights one over the density.

    The likelihood's importance sampling of VP processes (Song et al. 2021, arXiv:2101.09258, section 3; Huang et al.
    2021, arXiv:2106.02808), which arXiv:2302.07261 uses for all processes. By inversion: ``log(exp(B) - 1)`` is
    uniform. Whatever the rates, ``E[weight f(t)]`` is the integral of f from t_min to 1.
    """

    beta_min: float = setting(0.1, "the rate at t = 0", gt=0, lt=math.inf)
    beta_max: float = setting(10.0, "the rate at t = 1", gt=0, lt=math.inf)
    t_min: float = setting(1e-3, "the least time", gt=0, lt=1)

    def draw(self, process: Process, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Times ``(n,)`` from the stream ``times`` and their weights, in float64."""
        slope = self.beta_max - self.beta_min
        ends = as_time([self.t_min, 1.0])
        low, high = torch.expm1(ends * (self.beta_min + ends * slope / 2)).log()
        u = rng.at("times").uniform(torch.empty(n, dtype=torch.float64, device=rng.device))
        y = high + (low - high) * u.cpu()
        B = torch.logaddexp(y, torch.zeros_like(y))
        t = (2 * B / (self.beta_min + (self.beta_min**2 + 2 * slope * B).sqrt())).clamp(self.t_min, 1.0)
        weight = (high - low) * -torch.expm1(-B) / (self.beta_min + slope * t)
        return t.to(rng.device), weight.to(rng.device)


@attrs.frozen(kw_only=True)
class Elbo(Objective):
    """``-log p(x) <= KL(q(u_1 | x) || pi) + 1/2 int E |G^T L^{-T} (eps - eps_hat)|^2 dt - E log p(x | u_t_min)``.

    The bound of Singhal et al. 2023 (arXiv:2302.07261, section 4) for any linear SDE, in its hybrid denoising form:
    auxiliary variables are integrated out of ``q(u_t | x)``. In place of the trace and divergence terms of the paper
    stands their integral: ``1/2 tr(S^{-1} G G^T) + div f`` is half the derivative of ``log det S_t``, which turns the
    cross entropy with the prior into a divergence and cancels the entropy at t_min. The last term is that of the
    maximum likelihood decoder ``N(x; x(u), 1/(M_x^T S^{-1} M_x))`` at t_min, in closed form.

    In bits for each element of the data. The parameters of the process, where it has any, are trained with the model's.
    On a ``Gaussian`` process it is the bound of its scalar SDE.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"linear-gaussian", "sde", "mean|noise"})

    times: Times = setting(factory=Importance, doc="the distribution of times, with weights one over the density")
    t_min: float = setting(1e-3, "where the integral begins and the decoder stands", gt=0, lt=1)

    def players(self, system: System) -> Mapping[str, Player]:
        """The model, and the process where it learns."""
        modules = [m for m in (system.model, system.process) if isinstance(m, nn.Module)]
        return {"model": Player(modules=tuple(modules))}

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """The bound of each sample ``(B,)`` with one time each. Streams: ``times``, ``noise``, ``model``.

        Logs: ``prior``, ``denoising`` and ``data``, the three terms.
        """
        if batch is None:
            raise InvalidInput("this objective learns from data, got no batch")
        process = system.process
        if not isinstance(process, Gaussian | Multivariate):
            raise Unsupported(f"this bound needs a linear SDE with blocks, got {type(process).__name__}")
        t, importance = self.times.draw(process, size(batch.x), rng)
        corruption = process.corrupt(batch.x, t, rng=rng)
        prediction = system.plain(corruption.x_t, t, batch.cond, rng=rng.at("model"))
        if not isinstance(prediction, Mean | Noise) or corruption.noise is None:
            raise Unsupported(f"this bound needs a model that tells the noise, got '{prediction.name}'")
        error = stack(combine(1.0, prediction.eps, -1.0, corruption.noise))
        quadratic = (error * (_weight(process, t).to(error) @ error)).sum((1, 2)) / 2
        x = stack(batch.x)
        terms = {
            "prior": prior_term(process, x),
            "denoising": quadratic * (importance * (t >= self.t_min)).to(quadratic),
            "data": data_term(process, as_time(self.t_min), x),
        }
        bits = {name: term / (x.shape[2] * math.log(2)) for name, term in terms.items()}
        return Loss(sum(bits.values(), torch.zeros(())), {name: v.detach().mean() for name, v in bits.items()})


def prior_term(process: Gaussian | Multivariate, x: Tensor) -> Tensor:
    """``KL(q(u_1 | x) || prior)`` in nats, ``(B,)``, for data as variables ``(B, K, E)``."""
    mean, L = _moments(process, as_time(1.0))
    variances = (L @ L.mT).diagonal() if isinstance(process, Gaussian) else process.prior_variances().to(L)
    centre = (mean.to(x) @ x).square().sum(2) / variances.to(x)
    spread = (L.square().sum(1) / variances).sum() - len(L) - 2 * L.diagonal().log().sum() + variances.log().sum()
    return (centre.sum(1) + (spread * x.shape[2]).to(x)) / 2


def data_term(process: Gaussian | Multivariate, t: Tensor, x: Tensor) -> Tensor:
    """``-E log p(x | u_t)`` in nats, ``()``: ``1/2 log(2 pi e / (M_x^T S_t^{-1} M_x))`` for each element."""
    mean, L = _moments(process, t)
    seen = torch.linalg.solve_triangular(L, mean[:, :1], upper=False).square().sum()
    return (math.log(2 * math.pi * math.e) - seen.log()).to(x) / 2 * x.shape[2]


def _weight(process: Gaussian | Multivariate, t: Tensor) -> Tensor:
    """``L^{-1} G G^T L^{-T}``, ``(B, K, K)``."""
    if isinstance(process, Gaussian):
        return ((process.diffusion(t) / process.scalars(t)[1]) ** 2)[:, None, None]
    whiten = process.inverse(t)
    return whiten @ process.generators(t)[1] @ whiten.mT


def _moments(process: Gaussian | Multivariate, t: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(process, Multivariate):
        return process.moments(t)
    alpha, sigma = process.scalars(t)
    return alpha.reshape(1, 1), sigma.reshape(1, 1)
