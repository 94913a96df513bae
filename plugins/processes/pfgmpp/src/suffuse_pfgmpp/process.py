"""The forward process: the scalar kernel of a diffusion model, with noise of heavier tails."""

from __future__ import annotations

import math
from typing import NoReturn

import attrs
import torch
from suffuse_edm.process import Edm
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.process import Corruption, Gaussian, Kernel, as_time
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine, promote, tree_map
from suffuse_pfgmpp.law import StudentT, student

__all__ = ["Pfgmpp"]


@attrs.frozen(kw_only=True)
class Pfgmpp(Gaussian):
    """``x_t = alpha_t x_0 + sigma_t eps`` with eps of the multivariate Student law with D degrees of freedom.

    Data of N elements are charges in N + D dimensions, and the field at distance ``r`` from them perturbs by
    ``p_r(x | y) ~ 1/(|x - y|^2 + r^2)^((N+D)/2)`` (Xu et al. 2023, arXiv:2302.04265, section 3). With the alignment
    ``r = sigma sqrt(D)`` (section 4) all that a diffusion model says of sigma holds unchanged: those schedules,
    parameterizations, grids and losses are used as they are, and the flow ``dx/dr = E_x/E_r`` is
    ``dx/dsigma = (x - E[x_0 | x, sigma])/sigma``, the probability flow of ``base`` with another denoiser. D = 1 is
    PFGM (arXiv:2209.11178); with D to infinity it is ``base`` itself, draw by draw.

    Given D only the means have their Gaussian form: x0, eps, v and velocity. There is no forward SDE of this kind, no
    Gaussian posterior, and ``-eps/sigma`` is the field, not the gradient of log p: these are ``Unsupported``.
    """

    D: float = setting(2048.0, "augmented dimensions; 128 to 2048 for images of 3 x 32 x 32", gt=0, lt=math.inf)
    base: Gaussian = setting(factory=Edm, doc="the diffusion whose schedule is used")

    @property
    def gives(self) -> frozenset[str]:
        """A scalar kernel, without what only Gaussian noise has."""
        return super().gives - {"markov", "sde"}

    def kernel(self, t: Tensor) -> Kernel:
        """That of ``base``."""
        return self.base.kernel(t)

    def derivative(self, t: Tensor) -> Kernel:
        """That of ``base``."""
        return self.base.derivative(t)

    def log_snr(self, t: Tensor) -> Tensor:
        """That of ``base``: ``log(alpha^2/sigma^2)`` of the scales, not of variances, which are D/(D - 2) larger."""
        return self.base.log_snr(t)

    def time(self, log_snr: Tensor) -> Tensor:
        """That of ``base``."""
        return self.base.time(log_snr)

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """``alpha_t x_0 + sigma_t eps``; the Gaussian in eps is that of ``base`` at the same rng."""
        t, (alpha, sigma) = as_time(t), self.scalars(t)
        eps = student(x0, self.D, rng.at("noise"))
        return Corruption(combine(alpha, x0, sigma, eps), x0, t, noise=eps, end=end)

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> StudentT:
        """The kernel with the data forgotten."""
        zeros = tree_map(lambda v: torch.zeros_like(promote(v)), like)
        return StudentT(mean=zeros, std=self.scalars(as_time(t))[1], D=self.D)

    def score(self, eps: State, t: Tensor) -> NoReturn:
        """None: see the class."""
        raise Unsupported("noise with heavy tails has a field, x0 and a velocity, but no score that follows from eps")

    def transition(self, t: Tensor, s: Tensor) -> NoReturn:
        """None: see the class."""
        raise Unsupported("noise with heavy tails has no Gaussian transitions: sample by the flow (edm/heun)")

    def posterior(self, x_t: State, x0: State, t: Tensor, s: Tensor) -> NoReturn:
        """None: see the class."""
        self.transition(t, s)

    def renoise(self, x_s: State, s: Tensor, t: Tensor, *, rng: Rng) -> NoReturn:
        """None: see the class."""
        self.transition(t, s)

    def drift(self, x: State, t: Tensor) -> NoReturn:
        """None: see the class."""
        raise Unsupported("noise with heavy tails is that of no SDE: sample by the flow (edm/heun)")

    def diffusion(self, t: Tensor) -> NoReturn:
        """None: see the class."""
        raise Unsupported("noise with heavy tails is that of no SDE: sample by the flow (edm/heun)")
