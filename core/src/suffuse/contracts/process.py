"""Forward processes: from data at t = 0 to a prior at t = 1, and what more one may be able to do.

Time is a float in [0, 1] for every process, of shape ``()`` or ``(B,)`` (or one per token). ``Process`` is the
minimum; each class below it is a capability of that name, which samplers, objectives and tasks may need. Schedules
are evaluated in float64; only ``suffuse.state`` broadcasts them against states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Categorical, Law, Normal
from suffuse.contracts.part import Part
from suffuse.points import at_points
from suffuse.rng import Rng
from suffuse.state import Coefficient, State, combine, leaves, promote, require, same_form, tree_map

if TYPE_CHECKING:
    from suffuse.contracts.prediction import Prediction

__all__ = [
    "Bridge",
    "Corruption",
    "Degradation",
    "Discrete",
    "Gaussian",
    "Jump",
    "Kernel",
    "Learned",
    "LinearGaussian",
    "Markov",
    "Process",
    "Sde",
    "as_time",
]


def as_time(t: float | Sequence[float] | Tensor) -> Tensor:
    """Times as float64, where schedules are evaluated."""
    if isinstance(t, Tensor) and t.dtype == torch.float64:
        return t
    return torch.as_tensor(t, dtype=torch.float64)


@attrs.frozen(eq=False)
class Corruption:
    """A state on its way to the prior, with what made it: the target of any objective can be read off."""

    x_t: State
    x0: State
    t: Tensor
    noise: State | None = None  # the unit noise, where there was one
    end: State | None = None  # the other end point of a bridge
    extras: Mapping[str, State] = attrs.field(factory=dict)


class Process(Part, ABC):
    """A family of laws ``q(x_t | x_0)`` (or ``q(x_t | x_0, x_1)``), data at t = 0."""

    kind = "process"

    @abstractmethod
    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """Draw ``x_t`` given ``x_0``, and for a bridge its other end."""

    @abstractmethod
    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Law | None:
        """The law that a sampler starts from at time ``t``, or None where sampling starts from given states."""


@attrs.frozen(eq=False)
class Kernel:
    """``x_t = alpha x_0 + sigma eps``: coefficients in float64, of the shape of t (or one per leaf)."""

    alpha: Coefficient
    sigma: Coefficient


class LinearGaussian(Process):
    """``x_t = M_t x_0 + L_t eps`` for linear maps M, L: phase space, blurring, one noise level per frequency."""

    provides: ClassVar[frozenset[str]] = frozenset({"linear-gaussian"})

    @abstractmethod
    def mean(self, x0: State, t: Tensor) -> State:
        """``M_t x_0``."""

    @abstractmethod
    def spread(self, eps: State, t: Tensor) -> State:
        """``L_t eps``."""

    @abstractmethod
    def whiten(self, r: State, t: Tensor) -> State:
        """``L_t^{-1} r``."""

    @abstractmethod
    def score(self, eps: State, t: Tensor) -> State:
        """``-L_t^{-T} eps``: the score that belongs to the unit noise eps."""

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """``M_t x_0 + L_t eps`` with eps from the stream ``noise``, one sub-stream per leaf."""
        t, rng = as_time(t), rng.at("noise")
        noise = {name: rng.at(name).normal(promote(v)) for name, v in leaves(x0)}
        eps: State = noise[""] if isinstance(x0, Tensor) else noise
        return Corruption(combine(1.0, self.mean(x0, t), 1.0, self.spread(eps, t)), x0, t, noise=eps, end=end)


class Markov(ABC):
    """Has the backward kernel ``q(x_s | x_t, x_0)`` for any s < t, at any distance."""

    provides: ClassVar[frozenset[str]] = frozenset({"markov"})

    @abstractmethod
    def posterior(self, x_t: State, x0: State, t: Tensor, s: Tensor) -> Law:
        """The law of ``x_s``. Categorical processes take probabilities ``(B, *event, K)`` as ``x0``."""

    @abstractmethod
    def renoise(self, x_s: State, s: Tensor, t: Tensor, *, rng: Rng) -> State:
        """Draw from the forward kernel ``q(x_t | x_s)``, t > s."""


class Sde(ABC):
    """``dx = drift(x, t) dt + G(t) dw``, forward in time, with a symmetric G: ``G G^T z`` is two of ``diffuse``."""

    provides: ClassVar[frozenset[str]] = frozenset({"sde"})

    @abstractmethod
    def drift(self, x: State, t: Tensor) -> State:
        """The forward drift."""

    @abstractmethod
    def diffusion(self, t: Tensor) -> Coefficient:
        """The coefficient g(t) where ``G = g I``, or one for each leaf; ``Unsupported`` where G mixes leaves."""

    def diffuse(self, z: State, t: Tensor) -> State:
        """``G(t) z``: to be replaced where G mixes leaves."""
        g = self.diffusion(t)
        return combine(g, z, 0.0, z)


class Gaussian(LinearGaussian, Markov, Sde):
    """A scalar kernel ``x_t = alpha_t x_0 + sigma_t eps``: the family of DDPM, EDM and flow matching.

    A subclass gives ``kernel`` and ``time``; everything below follows from them. With
    ``alpha_ts = alpha_t / alpha_s`` and ``sigma_ts^2 = sigma_t^2 - alpha_ts^2 sigma_s^2``:

    - posterior: mean ``alpha_ts sigma_s^2/sigma_t^2 x_t + alpha_s sigma_ts^2/sigma_t^2 x_0``, variance
      ``sigma_ts^2 sigma_s^2/sigma_t^2``
      (Kingma et al., Variational Diffusion Models, 2021, arXiv:2107.00630, appendix A.2);
    - SDE: ``f = alpha'/alpha``, ``g^2 = 2 sigma^2 (sigma'/sigma - alpha'/alpha)``.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    @abstractmethod
    def kernel(self, t: Tensor) -> Kernel:
        """``(alpha_t, sigma_t)`` in float64, of the shape of t, finite on [0, 1]."""

    @abstractmethod
    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which ``log_snr(t)`` has this value; clamped to [0, 1]."""

    @at_points
    def log_snr(self, t: Tensor) -> Tensor:
        """``log(alpha_t^2 / sigma_t^2)``, strictly decreasing, +inf where there is no noise."""
        alpha, sigma = self.scalars(t)
        return 2 * (alpha.log() - sigma.log())

    def derivative(self, t: Tensor) -> Kernel:
        """``(d alpha/dt, d sigma/dt)``, by automatic differentiation of ``kernel`` unless a subclass has a form."""
        with torch.enable_grad():
            u = as_time(t).detach().requires_grad_()
            parts = self.scalars(u)
            slopes = [
                torch.autograd.grad(p.sum(), u, retain_graph=True, allow_unused=True)[0] if p.requires_grad else None
                for p in parts
            ]
        alpha, sigma = (torch.zeros_like(u, requires_grad=False) if d is None else d for d in slopes)
        return Kernel(alpha.detach(), sigma.detach())

    @at_points
    def scalars(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(alpha_t, sigma_t)`` as tensors, for processes with one coefficient for the whole state."""
        k = self.kernel(as_time(t))
        return cast(tuple[Tensor, Tensor], (k.alpha, k.sigma))

    def mean(self, x0: State, t: Tensor) -> State:
        """``alpha_t x_0``."""
        return combine(self.kernel(as_time(t)).alpha, x0, 0.0, x0)

    def spread(self, eps: State, t: Tensor) -> State:
        """``sigma_t eps``."""
        return combine(self.kernel(as_time(t)).sigma, eps, 0.0, eps)

    def whiten(self, r: State, t: Tensor) -> State:
        """``r / sigma_t``."""
        return combine(_map(lambda s: 1 / s, self.kernel(as_time(t)).sigma), r, 0.0, r)

    def score(self, eps: State, t: Tensor) -> State:
        """``-eps / sigma_t``."""
        return combine(_map(lambda s: -1 / s, self.kernel(as_time(t)).sigma), eps, 0.0, eps)

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """``alpha_t x_0 + sigma_t eps`` with eps from the stream ``noise``."""
        t, rng = as_time(t), rng.at("noise")
        noise = {name: rng.at(name).normal(promote(v)) for name, v in leaves(x0)}
        eps: State = noise[""] if isinstance(x0, Tensor) else noise
        k = self.kernel(t)
        return Corruption(combine(k.alpha, x0, k.sigma, eps), x0, t, noise=eps, end=end)

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Law:
        """``N(0, sigma_t^2 I)``: the kernel with the data forgotten."""
        zeros = tree_map(lambda v: torch.zeros_like(promote(v)), like)
        return Normal(zeros, self.kernel(as_time(t)).sigma)

    def transition(self, t: Tensor, s: Tensor) -> Kernel:
        """``(alpha_ts, sigma_ts)`` of the forward kernel ``q(x_t | x_s)``, s < t."""
        (a_t, s_t), (a_s, _) = self.scalars(t), self.scalars(s)
        ratio = a_t / a_s
        # sigma_t^2 (1 - SNR_t/SNR_s): the difference of squares cancels badly for close times.
        return Kernel(ratio, (s_t**2 * -torch.expm1(self.log_snr(t) - self.log_snr(s))).clamp_min(0).sqrt())

    def posterior(self, x_t: State, x0: State, t: Tensor, s: Tensor) -> Normal:
        """``q(x_s | x_t, x_0)``; at s = 0 it is the point ``x_0`` when sigma_0 = 0."""
        same_form(x0, x_t, "x0")
        (_, s_t), (a_s, s_s) = self.scalars(t), self.scalars(s)
        k = cast(tuple[Tensor, Tensor], attrs.astuple(self.transition(t, s), recurse=False))
        mean = combine(k[0] * (s_s / s_t) ** 2, x_t, a_s * (k[1] / s_t) ** 2, x0)
        return Normal(mean, k[1] * s_s / s_t)

    def renoise(self, x_s: State, s: Tensor, t: Tensor, *, rng: Rng) -> State:
        """``alpha_ts x_s + sigma_ts z``."""
        k = self.transition(t, s)
        return Normal(combine(k.alpha, x_s, 0.0, x_s), k.sigma).sample(rng)

    def drift(self, x: State, t: Tensor) -> State:
        """``alpha'/alpha x``; ``Unsupported`` where there is no signal."""
        rate = cast(Tensor, self.derivative(t).alpha) / self.scalars(t)[0]
        require(rate.isfinite(), f"{type(self).__name__} has no SDE where no signal is left: start below t = 1")
        return combine(rate, x, 0.0, x)

    def diffusion(self, t: Tensor) -> Tensor:
        """``g = sqrt(2 (sigma sigma' - sigma^2 alpha'/alpha))``; ``Unsupported`` where there is no signal."""
        d, (alpha, sigma) = self.derivative(t), self.scalars(t)
        squared = 2 * sigma * (cast(Tensor, d.sigma) - sigma * cast(Tensor, d.alpha) / alpha)
        require(squared.isfinite(), f"{type(self).__name__} has no SDE where no signal is left: start below t = 1")
        return squared.clamp_min(0).sqrt()


class Discrete(Process, Markov):
    """Integer states whose positions move independently: masked, uniform, any transition matrix.

    Data hold K = ``symbols`` values, states S = ``states`` >= K of them (one more with a mask). Whatever is said of
    x0 is linear in it, so x0 is passed as probabilities ``(B, *event, K)``: a one-hot, or a model's softmax. In
    particular ``posterior`` is the mixture ``sum_k x0_k q(x_s | x_t, x_0 = k)``, a ``Categorical``, and
    ``posterior`` at s = t is the point x_t.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"discrete"})
    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})

    symbols: int

    @property
    @abstractmethod
    def states(self) -> int:
        """S, the size of the state's alphabet."""

    @abstractmethod
    def marginal(self, x0: Tensor, t: Tensor) -> Categorical:
        """``sum_k x0_k q(x_t | x_0 = k)`` for probabilities ``(B, *event, K)``: logits ``(B, *event, S)``."""

    @abstractmethod
    def posterior(self, x_t: State, x0: State, t: Tensor, s: Tensor) -> Categorical:
        """``sum_k x0_k q(x_s | x_t, x_0 = k)``: logits ``(B, *event, S)``."""


class Jump(ABC):
    """A continuous-time Markov chain over integer states."""

    provides: ClassVar[frozenset[str]] = frozenset({"jump"})

    @abstractmethod
    def rates(self, x_t: Tensor, t: Tensor, prediction: Prediction) -> Tensor:
        """Backward rates to every other state, ``(B, *event, S)``, non-negative, zero at the present state.

        The limit of ``posterior``'s probabilities over h for a step from t to t - h.
        """


class Bridge(ABC):
    """Joins two given ends; ``corrupt`` needs ``end`` and sampling starts from states of the far end."""

    provides: ClassVar[frozenset[str]] = frozenset({"bridge"})

    @abstractmethod
    def between(self, x0: State, x1: State, t: Tensor) -> Law:
        """``q(x_t | x_0, x_1)``."""


class Degradation(ABC):
    """A deterministic path: blur, mask, downsampling, with no density and no score."""

    provides: ClassVar[frozenset[str]] = frozenset({"degradation"})

    @abstractmethod
    def degrade(self, x0: State, t: Tensor, *, end: State | None = None) -> State:
        """``D(x_0, t)``, with ``D(x_0, 0) = x_0``."""


class Learned(nn.Module):
    """A process with parameters of its own, trained with the model and saved with it."""

    provides: ClassVar[frozenset[str]] = frozenset({"learned"})


def _map(f: Any, w: Coefficient) -> Coefficient:  # noqa: ANN401
    return {k: f(v) for k, v in w.items()} if isinstance(w, Mapping) else f(w)
