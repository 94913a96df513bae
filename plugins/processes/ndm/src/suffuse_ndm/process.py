"""The forward process: noise of a fixed schedule around a learned transform of the data."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Law, Normal
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module, setting
from suffuse.contracts.process import Corruption, Gaussian, Kernel, Learned, Process, as_time
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine, promote
from suffuse_ndm.derivative import in_time

__all__ = ["Gamma", "NeuralDiffusion", "neural"]


@attrs.frozen(kw_only=True)
class Gamma(Gaussian):
    """``gamma = -log SNR`` linear in t: ``alpha^2 = sigmoid(-gamma)``, ``sigma^2 = sigmoid(gamma)``.

    The fixed schedule of Kingma et al., Variational Diffusion Models, 2021, arXiv:2107.00630, with its ends.
    """

    gamma_min: float = setting(-13.3, "gamma at t = 0; e^(gamma/2) is the noise that a likelihood is left with")
    gamma_max: float = setting(5.0, "gamma at t = 1")

    def __attrs_post_init__(self) -> None:
        if not -math.inf < self.gamma_min < self.gamma_max < math.inf:
            raise SpecError(f"gamma_min must be below gamma_max, got {self.gamma_min:g} and {self.gamma_max:g}")

    def log_snr(self, t: Tensor) -> Tensor:
        """``-gamma``."""
        return -(self.gamma_min + as_time(t) * (self.gamma_max - self.gamma_min))

    def kernel(self, t: Tensor) -> Kernel:
        """``sqrt(sigmoid(-gamma))`` and ``sqrt(sigmoid(gamma))``."""
        snr = self.log_snr(t)
        return Kernel(torch.sigmoid(snr).sqrt(), torch.sigmoid(-snr).sqrt())

    def derivative(self, t: Tensor) -> Kernel:
        """``(-gamma' alpha sigma^2/2, gamma' sigma alpha^2/2)``."""
        (alpha, sigma), slope = self.scalars(t), self.gamma_max - self.gamma_min
        return Kernel(-slope / 2 * alpha * sigma**2, slope / 2 * sigma * alpha**2)

    def time(self, log_snr: Tensor) -> Tensor:
        """The inverse, clamped to [0, 1]."""
        return ((-as_time(log_snr) - self.gamma_min) / (self.gamma_max - self.gamma_min)).clamp(0, 1)


@module
class NeuralDiffusion(Learned, Process):
    """``q(z_t | x) = N(alpha_t F(x, t), sigma_t^2 I)`` with a transform F that is trained with the model.

    Bartosh, Vetrov and Naesseth 2023, arXiv:2310.08337, section 3. (alpha, sigma) are those of ``schedule``, fixed or
    learned; ``F(x, t) = x + t network(x, t)``, so that t = 0 is data whatever the weights. Without a network F is the
    identity and the process is the schedule's own. Given x it is Markov; z_t alone has no forward kernel, since that
    depends on x.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"transform"})

    network: Backbone | None = setting(None, "the network of F; None is the identity")
    schedule: Gaussian = setting(factory=Gamma, doc="(alpha_t, sigma_t)")
    scale: float = setting(1000.0, "the network's c_noise a unit of time", gt=0, lt=math.inf)
    shift: float = setting(-1.0, "c_noise at t = 0", gt=-math.inf, lt=math.inf)

    def transform(self, x: Tensor, t: Tensor) -> Tensor:
        """``F(x, t)``, times ``()`` or ``(B,)``."""
        x, t = promote(x), as_time(t)
        if self.network is None:
            return x
        dtype = next(p.dtype for p in self.network.parameters())
        each = t.expand(len(x)) if t.ndim == 0 else t
        told = (self.scale * each + self.shift).to(x.device, torch.promote_types(dtype, torch.float32))
        moved = combine(1.0, x, t.to(x.device), self.network(x.to(dtype), told, Condition()).to(x.dtype))
        assert isinstance(moved, Tensor)
        return moved

    def moving(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(F(x, t), dF/dt)`` at a fixed x, differentiable in x and the weights."""
        if self.network is None:
            return promote(x), torch.zeros_like(promote(x))
        return in_time(lambda u: self.transform(x, u), as_time(t).expand(len(x)).clone())

    def twice(self, x: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """``(F(x, t), F(x, s))`` in one evaluation."""
        if self.network is None:
            return promote(x), promote(x)
        n = len(x)
        both = self.transform(torch.cat([x, x]), torch.cat([as_time(t).expand(n), as_time(s).expand(n)]))
        return both[:n], both[n:]

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """``alpha_t F(x_0, t) + sigma_t eps`` with eps from the stream ``noise``."""
        x, t = _tensor(x0), as_time(t)
        if t.ndim and t.shape != x.shape[:1]:
            raise InvalidInput(f"a time of shape {tuple(t.shape)} does not fit a state of shape {tuple(x.shape)}")
        alpha, sigma = self.schedule.scalars(t)
        eps = rng.at("noise").at("").normal(promote(x))
        return Corruption(combine(alpha, self.transform(x, t), sigma, eps), x0, t, noise=eps, end=end)

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Law:
        """The schedule's: ``N(0, sigma_t^2 I)``."""
        return self.schedule.prior(like, cond, t=t)

    def spread(self, t: Tensor, s: Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """``(k, std)`` of the posterior: ``std`` is eta times DDPM's, ``k = sqrt(sigma_s^2 - std^2)/sigma_t``."""
        (_, sigma_t), (_, sigma_s) = self.schedule.scalars(t), self.schedule.scalars(s)
        std = eta * torch.as_tensor(self.schedule.transition(t, s).sigma) * sigma_s / sigma_t
        return (sigma_s**2 - std**2).clamp_min(0).sqrt() / sigma_t, std

    def posterior(self, x_t: State, x0: State, t: Tensor, s: Tensor, *, eta: float = 1.0) -> Normal:
        """``q(z_s | z_t, x) = N(alpha_s F(x, s) + k (z_t - alpha_t F(x, t)), std^2 I)`` for s < t.

        eta = 1 is the process's own, 0 deterministic; all have the same marginals (arXiv:2310.08337, equation 8).
        """
        k, std = self.spread(t, s, eta)
        (alpha_t, _), (alpha_s, _) = self.schedule.scalars(t), self.schedule.scalars(s)
        now, then = self.twice(_tensor(x0), t, s)
        noise = combine(1.0, x_t, -alpha_t, now)
        return Normal(combine(alpha_s, then, k, noise), std)


def neural(process: Process | None) -> NeuralDiffusion:
    """The process, or a Gaussian one as the case of F(x, t) = x; ``Unsupported`` for any other."""
    if isinstance(process, NeuralDiffusion):
        return process
    if isinstance(process, Gaussian):
        return NeuralDiffusion(schedule=process)
    raise Unsupported(f"expected a process with a transform, or a Gaussian one, got {type(process).__name__}")


def _tensor(x: State) -> Tensor:
    if not isinstance(x, Tensor):
        raise InvalidInput(f"a transform takes states of one tensor, got the leaves {sorted(x)}")
    return x
