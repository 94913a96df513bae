"""The two-sided interpolant: a bridge between the laws of two data sets."""

from __future__ import annotations

from typing import ClassVar

import attrs
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Normal
from suffuse.contracts.part import setting
from suffuse.contracts.process import Bridge, Corruption, Process, as_time
from suffuse.errors import InvalidInput, SpecError
from suffuse.points import at_points
from suffuse.rng import Rng
from suffuse.state import State, combine, leaves, promote, same_form
from suffuse_stochastic_interpolants.schedules import LARGEST, Gamma, Shape, gamma, shape

__all__ = ["Interpolant"]


@attrs.frozen(kw_only=True)
class Interpolant(Process, Bridge):
    """``x_t = a(t) x_0 + b(t) x_1 + gamma(t) z`` with ``z ~ N(0, I)``, from x_0 at t = 0 to x_1 at t = 1.

    Albergo, Boffi and Vanden-Eijnden, Stochastic Interpolants, 2023, arXiv:2303.08797, section 2.1. The paper's
    time runs the other way: its base is at 0 and its data at 1. Here ``t = 1 - t_paper``, ``x_0`` is the paper's x_1,
    and a velocity has the opposite sign; gamma, the score and the denoiser are the same functions of ``t_paper``.

    shape: ``linear`` ``(1 - t, t)``; ``trigonometric`` ``sqrt(1 - gamma^2) (cos, sin)(pi t/2)``, variance preserving
    between standardised ends; ``encoding-decoding`` ``cos^2(pi t)`` on [0, 1/2] and on [1/2, 1], through pure noise.
    gamma: ``brownian`` ``sqrt(t (1 - t))``, ``quadratic`` ``t (1 - t)``, ``sine-squared`` ``sin^2(pi t)``, or none,
    where the interpolant is a rectified flow. ``scale`` multiplies ``gamma^2``: the paper's a in ``sqrt(a t (1 - t))``.

    With ``end`` the very row x_0 the linear shape is the paper's mirror interpolant. Sampling starts from given states:
    ``system.sample(start=x_1)``, and with rising ``times`` from data.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"interpolant"})

    shape: Shape = setting("linear", "the curves a, b", choices=("linear", "trigonometric", "encoding-decoding"))
    gamma: Gamma = setting("brownian", "the noise's curve", choices=("brownian", "quadratic", "sine-squared", "none"))
    scale: float = setting(1.0, "factor of gamma^2", gt=0, lt=float("inf"))

    def __attrs_post_init__(self) -> None:
        if self.shape == "trigonometric" and self.scale * LARGEST[self.gamma] >= 1:
            raise SpecError(f"a trigonometric shape needs gamma < 1, got gamma={self.gamma!r}, scale={self.scale:g}")
        if self.shape == "encoding-decoding" and self.gamma == "none":
            raise SpecError("an encoding-decoding shape needs noise to pass through, got gamma='none'")

    @at_points
    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(a, b, gamma)``, float64, of the shape of t."""
        square, product = gamma(self.gamma, self.scale, as_time(t))
        a, b, _, _ = shape(self.shape, as_time(t), square, product)
        return a, b, square.sqrt()

    @at_points
    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(a', b', gamma gamma')``: the derivative of gamma alone is infinite at the ends of a Brownian one."""
        square, product = gamma(self.gamma, self.scale, as_time(t))
        _, _, da, db = shape(self.shape, as_time(t), square, product)
        return da, db, product

    def between(self, x0: State, x1: State, t: Tensor) -> Normal:
        """``N(a x_0 + b x_1, gamma^2 I)``."""
        same_form(x1, x0, "the other end")
        a, b, width = self.coefficients(as_time(t))
        return Normal(combine(a, x0, b, x1), width)

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """A draw from ``between``; z is of the stream ``noise``, and not drawn without gamma."""
        if end is None:
            raise InvalidInput("an interpolant needs both ends: expected end, the other end's row, got none")
        t, law = as_time(t), self.between(x0, end, t)
        if self.gamma == "none":
            return Corruption(law.mean, x0, t, end=end)
        rng = rng.at("noise")
        drawn = {name: rng.at(name).normal(promote(v)) for name, v in leaves(law.mean)}
        z: State = drawn[""] if isinstance(law.mean, Tensor) else drawn
        return Corruption(combine(1.0, law.mean, law.std, z), x0, t, noise=z, end=end)

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> None:
        """None: sampling starts from states of the other data set."""
        return
