"""What a denoiser returns: a typed value, and the one converter between its readings.

Every Gaussian parameterization in use is a fixed mix ``q = a x_0 + b eps`` of the two unknowns of
``x_t = alpha x_0 + sigma eps``: x0 (1, 0), eps (0, 1), v (-sigma, alpha), velocity (alpha', sigma'),
score (0, -1/sigma), and EDM's raw network output. Given x_t and q, any other mix ``r = c x_0 + d eps`` is

    r = [(c b - d a) x_t + (alpha d - sigma c) q] / (alpha b - sigma a),

finite at both ends of time wherever it exists. Where it does not (eps loses x0 at zero SNR), ``Unsupported`` is
raised, never NaN. Coefficients are float64, states at least float32.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NoReturn, cast

import attrs
from torch import Tensor

from suffuse.contracts.process import Gaussian, LinearGaussian
from suffuse.errors import Unsupported
from suffuse.points import at_points
from suffuse.state import State, combine, promote, require, rows, tree_map

__all__ = ["Draw", "Endpoint", "Field", "Logits", "Mean", "Mix", "Noise", "Prediction", "Rates", "Variance"]

Mix = tuple["float | Tensor", "float | Tensor"]


@attrs.frozen(eq=False)
class Variance:
    """A diagonal variance: of ``x0`` given x_t, or of the backward ``transition`` (what learned-range models give)."""

    value: State
    of: Literal["x0", "transition"]


@attrs.frozen(eq=False, kw_only=True)
class Prediction(ABC):
    """A model's answer at ``x_t``. ``nfe`` counts the network evaluations behind it, for each sample."""

    name: ClassVar[str]

    value: State
    x_t: State
    t: Tensor
    nfe: int = 1
    variance: Variance | None = None

    @property
    def x0(self) -> State:
        """An estimate of the data: its conditional mean, end point or draw, as the kind says."""
        self._refuse("x0")

    @property
    def eps(self) -> State:
        """The conditional mean of the unit noise."""
        self._refuse("eps")

    @property
    def v(self) -> State:
        """``alpha eps - sigma x0`` (Salimans and Ho 2022, arXiv:2202.00512)."""
        self._refuse("v")

    @property
    def score(self) -> State:
        """The gradient of ``log p_t(x_t)``."""
        self._refuse("score")

    @property
    def velocity(self) -> State:
        """The marginal velocity ``E[dx_t/dt | x_t]``, in the process's own time."""
        self._refuse("velocity")

    @property
    def logits(self) -> Tensor:
        """Log-probabilities of the clean tokens, up to a constant, ``(B, *event, K)``."""
        self._refuse("logits")

    def _refuse(self, what: str) -> NoReturn:
        raise Unsupported(f"a prediction of kind '{self.name}' has no {what}")

    def affine(self, weights: Sequence[float | Tensor], others: Sequence[Prediction]) -> Prediction:
        """``self + sum_i w_i (others_i - self)``: guidance's linear combinations, in this prediction's own space."""
        value = self.value
        for w, other in zip(weights, others, strict=True):
            if type(other) is not type(self):
                raise Unsupported(f"cannot combine a '{other.name}' with a '{self.name}'")
            delta = combine(1.0, self._read(other), -1.0, self.value)
            value = combine(1.0, value, w, delta)
        nfe = self.nfe + sum(o.nfe for o in others)
        return attrs.evolve(self, value=value, nfe=nfe, variance=None if others else self.variance)

    def _read(self, other: Prediction) -> State:
        return other.value

    def index(self, at: Any) -> Prediction:  # noqa: ANN401 - a slice, an index tensor or a mask
        """These rows."""
        var = None if self.variance is None else attrs.evolve(self.variance, value=rows(self.variance.value, at))
        t = self.t if self.t.ndim == 0 else self.t[at]
        return attrs.evolve(self, value=rows(self.value, at), x_t=rows(self.x_t, at), t=t, variance=var)


@attrs.frozen(eq=False, kw_only=True)
class Mean(Prediction):
    """A conditional mean ``E[a x_0 + b eps | x_t]`` under a Gaussian process: all readings follow."""

    name = "mean"

    process: Gaussian
    mix: Mix = (1.0, 0.0)

    @property
    def x0(self) -> State:
        """The posterior mean of the data."""
        return self._as((1.0, 0.0), "x0")

    @property
    def eps(self) -> State:
        """The posterior mean of the noise."""
        return self._as((0.0, 1.0), "eps")

    @property
    def v(self) -> State:
        """``alpha eps - sigma x0``."""
        alpha, sigma = self.process.scalars(self.t)
        return self._as((-sigma, alpha), "v")

    @property
    def score(self) -> State:
        """``-eps / sigma``, by the process, which has none where its noise is not Gaussian."""
        _, sigma = self.process.scalars(self.t)
        _nonzero(sigma, "there is no score at zero noise: stop before t = 0, or use x0")
        return self.process.score(self.eps, self.t)

    @property
    def velocity(self) -> State:
        """``alpha' x0 + sigma' eps``."""
        d = self.process.derivative(self.t)
        return self._as((cast(Tensor, d.alpha), cast(Tensor, d.sigma)), "velocity")

    def index(self, at: Any) -> Mean:  # noqa: ANN401
        """These rows; the mix goes with them."""
        mix = tuple(w[at] if isinstance(w, Tensor) and w.ndim else w for w in self.mix)
        return attrs.evolve(cast(Mean, super().index(at)), mix=cast(Mix, mix))

    def with_x0(self, x0: State) -> Mean:
        """The same prediction with its data estimate replaced (clipped, projected, moved by a guide).

        The variance of a transition stays: that of a step does not follow from its mean.
        """
        kept = self.variance if self.variance is not None and self.variance.of == "transition" else None
        return attrs.evolve(self, value=x0, mix=(1.0, 0.0), variance=kept)

    def _as(self, to: Mix, what: str) -> State:
        if _same(self.mix, to):
            return tree_map(promote, self.value)
        plain = not any(isinstance(w, Tensor) for w in (*self.mix, *to))
        in_x, in_value = (_kept_weights if plain else _weights)(self.process, self.t, self.mix, to, what)
        return combine(in_x, self.x_t, in_value, self.value)

    def _read(self, other: Prediction) -> State:
        return cast(Mean, other)._as(self.mix, "the other prediction")


@attrs.frozen(eq=False, kw_only=True)
class Endpoint(Prediction):
    """Where the trajectory through x_t ends (consistency models, flow maps): not a mean, so it has no score."""

    name = "endpoint"

    @property
    def x0(self) -> State:
        """The end point."""
        return self.value


@attrs.frozen(eq=False, kw_only=True)
class Draw(Prediction):
    """One random draw from ``p(x_0 | x_t)`` (denoising diffusion GANs)."""

    name = "draw"

    @property
    def x0(self) -> State:
        """The draw."""
        return self.value


@attrs.frozen(eq=False, kw_only=True)
class Logits(Prediction):
    """Unnormalised log-probabilities of clean tokens, ``(B, *event, K)``; x_t may have a wider alphabet."""

    name = "logits"

    @property
    def logits(self) -> Tensor:
        """The logits."""
        return promote(cast(Tensor, self.value))


@attrs.frozen(eq=False, kw_only=True)
class Rates(Prediction):
    """Ratios ``p_t(y)/p_t(x_t)`` or rates to every neighbour, ``(B, *event, K)`` (SEDD and its kin)."""

    name = "rates"


@attrs.frozen(eq=False, kw_only=True)
class Noise(Prediction):
    """``E[eps | x_t]`` under a linear Gaussian process: phase space, blurring, coupled leaves."""

    name = "noise"

    process: LinearGaussian

    @property
    def eps(self) -> State:
        """The posterior mean of the noise."""
        return self.value

    @property
    def score(self) -> State:
        """``-L_t^{-T} eps``."""
        return self.process.score(self.value, self.t)


@attrs.frozen(eq=False, kw_only=True)
class Field(Prediction):
    """A learned velocity, score, or both, where no kernel relates them: interpolants, manifolds, energies."""

    name = "field"

    of: Literal["velocity", "score"] = "velocity"  # what ``value`` is
    second: State | None = None  # the other one, where it was learned too

    def index(self, at: Any) -> Field:  # noqa: ANN401
        """These rows of both fields."""
        second = None if self.second is None else rows(self.second, at)
        return attrs.evolve(cast(Field, super().index(at)), second=second)

    def affine(self, weights: Sequence[float | Tensor], others: Sequence[Prediction]) -> Field:
        """The same combination of both fields; no second one unless all have it."""
        combined = cast(Field, super().affine(weights, others))
        seconds = [cast(Field, p).second for p in (self, *others)]
        if any(f is None for f in seconds):
            return attrs.evolve(combined, second=None)
        first, *rest = cast("list[State]", seconds)
        second = first
        for w, other in zip(weights, rest, strict=True):
            second = combine(1.0, second, w, combine(1.0, other, -1.0, first))
        return attrs.evolve(combined, second=second)

    @property
    def velocity(self) -> State:
        """The learned velocity."""
        return self._field("velocity")

    @property
    def score(self) -> State:
        """The learned score, a tangent at x_t."""
        return self._field("score")

    def _field(self, what: str) -> State:
        found = self.value if self.of == what else self.second
        if found is None:
            self._refuse(what)
        return found


def _same(p: Mix, q: Mix) -> bool:
    return _same_weight(p[0], q[0]) and _same_weight(p[1], q[1])


def _same_weight(v: float | Tensor, w: float | Tensor) -> bool:
    return v is w or (not isinstance(v, Tensor) and not isinstance(w, Tensor) and v == w)


def _weights(process: Gaussian, t: Tensor, mix: Mix, to: Mix, what: str) -> Mix:
    """The weights of x_t and of the mix in another mix ``to``."""
    (a, b), (c, d) = mix, to
    alpha, sigma = process.scalars(t)
    det = _minus(_times(alpha, b), _times(sigma, a))
    _nonzero(det, f"{what} does not follow from this parameterization at this noise level")
    in_x, in_value = _minus(_times(c, b), _times(d, a)), _minus(_times(alpha, d), _times(sigma, c))
    return in_x / det, in_value / det


_kept_weights = at_points(_weights)


def _times(w: float | Tensor, factor: float | Tensor) -> float | Tensor:
    """The product, but for the zeros and ones that mixes are full of: an operation on one number is not free."""
    for one, other in ((w, factor), (factor, w)):
        if not isinstance(one, Tensor) and one in (0.0, 1.0):
            return other if one else 0.0
    return w * factor


def _minus(v: float | Tensor, w: float | Tensor) -> float | Tensor:
    if isinstance(w, Tensor) or w:
        return v - w if isinstance(v, Tensor) or v else -w
    return v


def _nonzero(w: float | Tensor, message: str) -> None:
    if isinstance(w, Tensor) and (w.ndim or w.device.type != "cpu"):
        require((w != 0) & w.isfinite(), message)
    elif not 0 < abs(float(w)) < math.inf:  # one number: a comparison instead of four operations
        raise Unsupported(message)
