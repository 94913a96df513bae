"""A linear SDE on data and auxiliary variables, and all that follows from its two matrices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NoReturn

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Normal
from suffuse.contracts.process import Corruption, as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.points import at_points
from suffuse.rng import Rng
from suffuse.state import State, combine, promote, require, tree_map
from suffuse_mdm.matrices import act, cholesky, root, transition

__all__ = ["Multivariate", "variables"]


def variables(k: int) -> tuple[str, ...]:
    """The names of a state's leaves: ``x``, ``v``, ``v2``, ``v3``, ..."""
    return ("x", "v", *(f"v{i}" for i in range(2, k)))[:k]


class Multivariate(ABC):
    """``du = -(Q + D) H beta(t) u dt + sqrt(2 D beta(t)) dw`` for ``u = (x, v, ...)``, K variables of one shape.

    Q antisymmetric, D positive semidefinite, K x K, the same for every element of the data; H is the inverse of the
    prior's variances ``(1, M, ..., M)``, and that prior is stationary for every Q and D (Singhal et al. 2023,
    arXiv:2302.07261, section 3; Ma, Chen and Fox 2015, arXiv:1506.04696). ``beta(t) = beta_min + t (beta_max -
    beta_min)`` with the integral B(t), so with ``F = -(Q + D) H``

        M_t = exp(F B),    S_t = M_t S_0 M_t^T + int_0^B exp(F s) 2 D exp(F s)^T ds = L_t L_t^T,  L_t lower triangular.

    The kernel is the hybrid one: auxiliary variables begin as ``N(0, v0_variance)`` and are integrated out, so
    ``S_0 = diag(0, v0_variance, ...)`` and those of the data state are zero.

    A subclass has the settings below and ``drift_and_noise``.
    """

    beta_min: float
    beta_max: float
    M: float
    v0_variance: float

    @abstractmethod
    def drift_and_noise(self) -> tuple[Tensor, Tensor]:
        """``(Q, D)`` in float64."""

    @property
    @abstractmethod
    def K(self) -> int:
        """The number of variables."""

    @property
    def names(self) -> tuple[str, ...]:
        """The leaves of a state."""
        return variables(self.K)

    def rate(self, t: Tensor) -> Tensor:
        """``beta(t)``."""
        return self.beta_min + as_time(t) * (self.beta_max - self.beta_min)

    def elapsed(self, t: Tensor) -> Tensor:
        """B(t)."""
        t = as_time(t)
        return t * (self.beta_min + t * (self.beta_max - self.beta_min) / 2)

    def prior_variances(self) -> Tensor:
        """``(1, M, ..., M)``."""
        return torch.tensor([1.0] + [self.M] * (self.K - 1), dtype=torch.float64)

    @at_points
    def moments(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(M_t, L_t)``, each ``(*t.shape, K, K)`` in float64."""
        F, D = self._generator()
        phi, s = transition(F, 2 * D, self.elapsed(t).to(F.device))
        start = torch.full((self.K,), self.v0_variance, dtype=torch.float64, device=F.device)
        start[0] = 0.0
        return phi, cholesky(phi @ torch.diag(start) @ phi.mT + s)

    @at_points
    def inverse(self, t: Tensor) -> Tensor:
        """``L_t^{-1}``. ``Unsupported`` where S_t is singular, as at t = 0."""
        _, L = self.moments(t)
        require(L.diagonal(dim1=-2, dim2=-1) > 0, "the covariance is singular at t = 0: stop before it")
        return torch.linalg.solve_triangular(L, torch.eye(self.K, dtype=L.dtype, device=L.device), upper=False)

    @at_points
    def generators(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(F, G G^T)`` at time t: ``-(Q + D) H beta`` and ``2 D beta``."""
        F, D = self._generator()
        beta = self.rate(t).to(F.device)[..., None, None]
        return F * beta, 2 * D * beta

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """``M_t x_0 + L_t eps`` with eps from the stream ``noise``; M and L are computed once."""
        x0, t, rng = self._checked(x0), as_time(t), rng.at("noise")
        eps = {name: rng.at(name).normal(promote(v)) for name, v in x0.items()}
        mean, L = self.moments(t)
        return Corruption(combine(1.0, act(mean, x0), 1.0, act(L, eps)), x0, t, noise=eps, end=end)

    def mean(self, x0: State, t: Tensor) -> State:
        """``M_t x_0``."""
        return act(self.moments(as_time(t))[0], self._checked(x0))

    def spread(self, eps: State, t: Tensor) -> State:
        """``L_t eps``."""
        return act(self.moments(as_time(t))[1], self._checked(eps))

    def whiten(self, r: State, t: Tensor) -> State:
        """``L_t^{-1} r``."""
        return act(self.inverse(as_time(t)), self._checked(r))

    def score(self, eps: State, t: Tensor) -> State:
        """``-L_t^{-T} eps``."""
        return act(-self.inverse(as_time(t)).mT, self._checked(eps))

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Normal:
        """The stationary law, whatever t."""
        scales = self.prior_variances().sqrt().unbind()
        zeros = tree_map(lambda v: torch.zeros_like(promote(v)), self._checked(like))
        return Normal(zeros, dict(zip(self.names, scales, strict=True)))

    def drift(self, x: State, t: Tensor) -> State:
        """``-(Q + D) H beta x``."""
        return act(self.generators(as_time(t))[0], self._checked(x))

    def diffusion(self, t: Tensor) -> NoReturn:
        """A matrix: see ``diffuse``."""
        raise Unsupported("the diffusion of a multivariate process is a matrix: use diffuse")

    def diffuse(self, z: State, t: Tensor) -> State:
        """``sqrt(2 D beta) z``."""
        return act(self._roots(as_time(t)), self._checked(z))

    @at_points
    def _roots(self, t: Tensor) -> Tensor:
        return root(self.generators(t)[1])

    def _generator(self) -> tuple[Tensor, Tensor]:
        Q, D = self.drift_and_noise()
        return -(Q + D) / self.prior_variances().to(Q.device), D

    def _checked(self, x: State) -> Mapping[str, Tensor]:
        if not isinstance(x, Mapping) or tuple(x) != self.names:
            got = sorted(x) if isinstance(x, Mapping) else "a tensor"
            raise InvalidInput(f"expected a state with the leaves {', '.join(self.names)}, got {got}")
        return x
