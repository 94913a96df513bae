"""The forward process."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Law
from suffuse.contracts.part import setting
from suffuse.contracts.process import Corruption, Process, as_time
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, require
from suffuse_se3dif import so3
from suffuse_se3dif.poses import UniformPoses, leaves_of, move, scaled, tangent_noise

__all__ = ["Se3Gaussian", "se3_gaussian"]


@attrs.frozen(kw_only=True)
class Se3Gaussian(Process):
    """``H_t = H_0 exp(sigma_t z)``, ``z ~ N(0, I_6)``, ``sigma_t = sqrt((s^{2t} - 1) / (2 ln s))``: variance explodes.

    Urain et al., SE(3)-DiffusionFields, 2023, arXiv:2209.03855, section III and its code (right multiplication, on the
    product SO(3) x R^3). sigma is 0 at t = 0 and 0.7355 at t = 1 for s = 0.5.

    Exponentiated Gaussians are no semigroup on SO(3): noise added twice has another law than noise of the summed
    variance, as the heat kernel's has. So this process is not Markov, and names no SDE; ``suffuse_se3dif.densities``
    has both laws.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"se3-gaussian"})
    needs: ClassVar[frozenset[str]] = frozenset({"se3"})

    base: float = setting(0.5, "s", gt=0, lt=1)

    def sigma(self, t: Tensor) -> Tensor:
        """Float64, of the shape of t."""
        rate = 2 * math.log(self.base)
        return ((rate * as_time(t)).expm1() / rate).sqrt()

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """Stream ``noise``; the noise is the tangent z, of the leaves ``R (B, 3)`` and ``p (B, 3)``."""
        t, z = as_time(t), tangent_noise(x0, rng.at("noise"))
        return Corruption(move(x0, scaled(self.sigma(t), z)), x0, t, noise=z, end=end)

    def target(self, noise: State, t: Tensor) -> dict[str, Tensor]:
        """``-log(H_0^{-1} H_t) / sigma_t^2``, the published target for the score, from the unit noise.

        It is the gradient of ``-|log(H_0^{-1} H)|^2 / (2 sigma^2)``: ``-z/sigma`` where ``sigma |z_R| < pi``, else
        that of the shortest turn. ``Unsupported`` at zero noise.
        """
        sigma = self.sigma(t)
        require(sigma > 0, "there is no score at zero noise: train at t above 0")
        w, u = leaves_of(scaled(sigma, noise))
        return scaled(-1 / sigma**2, {"R": so3.wrap(w), "p": u})

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Law:
        """Uniform rotations, positions from N(0, I), at any t, as published."""
        return UniformPoses(like)


def se3_gaussian(process: Process | None) -> Se3Gaussian:
    """The process itself; ``Unsupported`` for another kind."""
    if not isinstance(process, Se3Gaussian):
        raise Unsupported(f"expected the process se3dif/se3-gaussian, got {type(process).__name__}")
    return process
