"""The bound on log p(x), in T steps or in continuous time, for the transform and the model together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress, Times
from suffuse.contracts.part import setting
from suffuse.contracts.process import as_time
from suffuse.errors import InvalidInput
from suffuse.parts import UniformTimes
from suffuse.rng import Rng
from suffuse.state import combine, require
from suffuse.system import System
from suffuse_ndm.process import NeuralDiffusion, neural

__all__ = ["Continuous", "Discrete", "data_term", "prior_term"]

_NEEDS = frozenset({"transform|gaussian", "endpoint|mean"})


class _Bound:
    """What both bounds share: who trains, and the terms at the ends."""

    needs: ClassVar[frozenset[str]] = _NEEDS

    def players(self, system: System) -> Mapping[str, Player]:
        """One player: the model, and the process where it learns."""
        modules = [m for m in (system.model, system.process) if isinstance(m, nn.Module)]
        return {"model": Player(modules=tuple(modules))}

    @staticmethod
    def _total(process: NeuralDiffusion, x: Tensor, diffusion: Tensor) -> Loss:
        terms = {"prior": prior_term(process, x), "diffusion": diffusion, "data": data_term(process, x)}
        bits = {name: term / (x[0].numel() * math.log(2)) for name, term in terms.items()}
        return Loss(sum(bits.values(), torch.zeros(())), {name: v.detach().mean() for name, v in bits.items()})


@attrs.frozen(kw_only=True)
class Discrete(_Bound, Objective):
    """``KL(q(z_1 | x) || prior) + sum_n KL(q(z_s | z_t, x) || q(z_s | z_t, x_hat)) - E log p(x | z_0)``, T steps.

    Bartosh, Vetrov and Naesseth 2023, arXiv:2310.08337, section 3.2: with dF(u) = F(x, u) - F(x_hat, u) a step's
    divergence is ``|alpha_s dF(s) - k alpha_t dF(t)|^2 / (2 std^2)``. One step n is drawn for each sample and counts T
    times. The decoder is ``N(x; z_0/alpha_0, (sigma_0/alpha_0)^2)``: the data's density, so discrete data must be
    dequantised. In bits for each element of the data.
    """

    T: int = setting(1000, "steps, the same as the sampler's", ge=1)
    eta: float = setting(1.0, "noise of the posteriors, in DDPM's standard deviations", gt=0, le=1)

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Each sample's bound ``(B,)``. Streams ``times``, ``noise``, ``model``; logs are the three terms."""
        x = _data(batch)
        n = rng.at("times").integers(1, self.T + 1)
        assert batch is not None
        return self._total(neural(system.process), x, self.T * self.divergence(system, batch, n, rng))

    def divergence(self, system: System, batch: Batch, n: Tensor, rng: Rng) -> Tensor:
        """The n-th step's, in nats ``(B,)``, for n ``()`` or ``(B,)`` from 1 to T."""
        process, x = neural(system.process), _data(batch)
        n = n.expand(len(x)).to("cpu", torch.float64)
        t, s = n / self.T, (n - 1) / self.T
        z = process.corrupt(x, t, rng=rng).x_t
        guess = system.plain(z, t, batch.cond, s=s, rng=rng.at("model")).x0
        assert isinstance(guess, Tensor)
        k, std = process.spread(t, s, self.eta)
        require(std > 0, "the last step has no noise: the schedule must begin with some, as ndm/gamma does")
        now, then = process.twice(torch.cat([x.to(guess), guess]), t.repeat(2), s.repeat(2))
        b = len(x)
        (alpha_t, _), (alpha_s, _) = process.schedule.scalars(t), process.schedule.scalars(s)
        error = combine(alpha_s / std, then[:b] - then[b:], -k * alpha_t / std, now[:b] - now[b:])
        assert isinstance(error, Tensor)
        return error.flatten(1).square().sum(1) / 2


@attrs.frozen(kw_only=True)
class Continuous(_Bound, Objective):
    """The limit of many steps: ``int e^-gamma gamma'/(2 eta) |(1 + eta)/2 dF - dF'/gamma'|^2 dt`` and the same ends.

    ``gamma = -log SNR``, dF as in ``Discrete`` and dF' its derivative in time at fixed x and x_hat; the reverse SDE has
    the diffusion ``g^2 = eta sigma^2 gamma'`` (arXiv:2310.08337, section 3.3). With F(x, t) = x and eta = 1 this is the
    bound of Variational Diffusion Models. ``weighting = "x"`` multiplies the integrand by a function of t that leaves
    ``4/(1 + eta)^2`` in front of the square: then it is no bound any more, and easier to train.
    """

    eta: float = setting(1.0, "noise of the reverse SDE: g^2 = eta sigma^2 gamma'", gt=0)
    weighting: Literal["bound", "x"] = setting("bound", "what is in front of the square", choices=("bound", "x"))
    times: Times = setting(factory=UniformTimes, doc="the distribution of times, with weights one over the density")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Each sample's bound ``(B,)``. Streams ``times``, ``noise``, ``model``; logs are the three terms."""
        x = _data(batch)
        process = neural(system.process)
        t, importance = self.times.draw(process.schedule, len(x), rng)
        assert batch is not None
        integrand = self.integrand(system, batch, t, rng)
        return self._total(process, x, integrand * importance.to(integrand))

    def integrand(self, system: System, batch: Batch, t: Tensor, rng: Rng) -> Tensor:
        """At times ``(B,)``, in nats."""
        process, x = neural(system.process), _data(batch)
        z = process.corrupt(x, t, rng=rng).x_t
        guess = system.plain(z, t, batch.cond, rng=rng.at("model")).x0
        assert isinstance(guess, Tensor)
        value, slope = process.moving(torch.cat([x.to(guess), guess]), t.repeat(2))
        (alpha, sigma), d, b = process.schedule.scalars(t), process.schedule.derivative(t), len(x)
        rate = 2 * (torch.as_tensor(d.sigma) / sigma - torch.as_tensor(d.alpha) / alpha)
        error = combine((1 + self.eta) / 2, value[:b] - value[b:], -1 / rate, slope[:b] - slope[b:])
        assert isinstance(error, Tensor)
        weight = (alpha / sigma) ** 2 * rate / (2 * self.eta)
        if self.weighting == "x":
            weight = torch.full_like(weight, 4 / (1 + self.eta) ** 2).detach()
        require(weight.isfinite(), "the bound is infinite where there is no noise: the schedule must begin with some")
        return error.flatten(1).square().sum(1) * weight.to(error)


def prior_term(process: NeuralDiffusion, x: Tensor) -> Tensor:
    """``KL(q(z_1 | x) || N(0, sigma_1^2 I))`` in nats, ``(B,)``: what keeps F from growing."""
    alpha, sigma = process.schedule.scalars(as_time(1.0))
    end = process.transform(x, as_time(1.0))
    return end.flatten(1).square().sum(1) * ((alpha / sigma) ** 2 / 2).to(end)


def data_term(process: NeuralDiffusion, x: Tensor) -> Tensor:
    """``-E log N(x; z_0/alpha_0, (sigma_0/alpha_0)^2)`` in nats, ``()``, since F(x, 0) = x."""
    alpha, sigma = process.schedule.scalars(as_time(0.0))
    require(sigma > 0, "the density of data needs noise at t = 0, as that of ndm/gamma")
    return (math.log(2 * math.pi * math.e) / 2 + (sigma / alpha).log()).to(x.device) * x[0].numel()


def _data(batch: Batch | None) -> Tensor:
    if batch is None or not isinstance(batch.x, Tensor):
        raise InvalidInput("this objective learns from data of one tensor, got no batch or several leaves")
    return batch.x
