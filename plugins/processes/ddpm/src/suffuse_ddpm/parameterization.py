"""What a network of the DDPM family says: eps, x0, v or the score. Its input is x_t as it is."""

from __future__ import annotations

import attrs
from torch import Tensor

from suffuse.contracts.model import Parameterization, Scaling
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mix
from suffuse.contracts.process import Gaussian, as_time
from suffuse.state import require

__all__ = ["X0", "Eps", "Score", "V"]


@attrs.frozen(kw_only=True)
class _Clock:
    """``c_in = 1`` and ``c_noise = scale t + shift``, whatever the schedule.

    By default step n of a chain of 1000 is told as the index n - 1, which is what published networks were trained on.
    For networks trained on a chain of another length T: ``shift = -1000/T`` where its indices were rescaled to 1000,
    else ``scale = T``.
    """

    scale: float = setting(1000.0, "c_noise a unit of time", gt=0, lt=float("inf"))
    shift: float = setting(-1.0, "c_noise at t = 0", gt=float("-inf"), lt=float("inf"))

    def scaling(self, process: Gaussian, t: Tensor) -> Scaling:
        """``(1, scale t + shift)``."""
        return Scaling(1.0, self.scale * as_time(t) + self.shift)


@attrs.frozen(kw_only=True)
class Eps(_Clock, Parameterization):
    """The output is the noise, as in Ho et al. 2020, arXiv:2006.11239, eq. 11; ``c_noise = scale t + shift``."""

    def mix(self, process: Gaussian, t: Tensor) -> Mix:
        """``(0, 1)``."""
        return 0.0, 1.0


@attrs.frozen(kw_only=True)
class X0(_Clock, Parameterization):
    """The output is the data: the alternative of arXiv:2006.11239, section 3.2; ``c_noise = scale t + shift``."""

    def mix(self, process: Gaussian, t: Tensor) -> Mix:
        """``(1, 0)``."""
        return 1.0, 0.0


@attrs.frozen(kw_only=True)
class V(_Clock, Parameterization):
    """The output is ``v = alpha eps - sigma x_0`` (Salimans and Ho 2022, arXiv:2202.00512, appendix D)."""

    def mix(self, process: Gaussian, t: Tensor) -> Mix:
        """``(-sigma_t, alpha_t)``."""
        alpha, sigma = process.scalars(t)
        return -sigma, alpha


@attrs.frozen(kw_only=True)
class Score(_Clock, Parameterization):
    """The output is the score itself, ``-eps/sigma`` (Song et al. 2021, arXiv:2011.13456).

    An unweighted regression on it is dominated by small t, where targets are of size 1/sigma. There is none at t = 0.
    """

    def mix(self, process: Gaussian, t: Tensor) -> Mix:
        """``(0, -1/sigma_t)``; ``Unsupported`` at t = 0."""
        _, sigma = process.scalars(t)
        require(sigma != 0, "there is no score at zero noise: stop before t = 0")
        return 0.0, -1 / sigma
