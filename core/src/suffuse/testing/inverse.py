"""Linear-Gaussian inverse problems with a Gaussian-mixture prior: the exact posterior, evidence and guidance.

Let `y = A x_0 + S^{1/2} e` with `e ~ N(0, I)`, and let a component of the prior be `x_0 = m + R u` with `u ~ N(0, I)`.
Then `(u, e)` is standard normal and subject to `B (u, e) = y - A m`, where `B = [A R, S^{1/2}]`. With the singular
value decomposition `B = U diag(s) V^T` and an orthonormal basis N of the null space of B, for this component

    y       ~ N(A m, U diag(s^2) U^T),
    x_0 | y ~ N(m + R V_u diag(1/s) U^T (y - A m), F F^T),   F = R N_u,

where `V_u` and `N_u` are the rows that belong to u. No difference of matrices is taken: for singular A, singular C and
any noise, zero included, standard deviations are exact to rounding relative to those of the prior.
"""

from __future__ import annotations

import math

import torch
from attrs import field, frozen
from torch import Tensor

from suffuse.testing.mixture import (
    ConditionalMixture,
    GaussianMixture,
    Scalar,
    as_double,
    at_least_single,
    eigenbasis,
)

__all__ = ["LinearInverse"]


@frozen(eq=False)
class LinearInverse:
    """`y = A x_0 + n` with `n ~ N(0, S)`.

    Where A has dependent rows and S vanishes on them, y lies in a subspace; densities of y are then those on it.

    Args:
        prior: the law of `x_0`.
        operator: A, `(M, D)`, of any rank.
        noise_covariance: S: a variance `()`, variances `(M,)` or a matrix `(M, M)`; zero is allowed.

    Raises:
        ValueError: shapes that do not agree, or a prior without spread where y has no noise either.
    """

    prior: GaussianMixture
    operator: Tensor = field(converter=as_double)
    noise_covariance: Tensor = field(converter=as_double)
    _root: Tensor = field(init=False, repr=False)  # S^{1/2}, (M, M)
    _range: Tensor = field(init=False, repr=False)  # an orthonormal basis of all possible y, (M, M')
    _whiten: Tensor = field(init=False, repr=False)  # diag(1/s) U^T of each component, (K, M', M')
    _log_det: Tensor = field(init=False, repr=False)  # sum log s, (K,)
    _gain: Tensor = field(init=False, repr=False)  # R V_u, (K, D, M')
    _variances: Tensor = field(init=False, repr=False)  # eigenvalues of F F^T, (K, D)
    _basis: Tensor = field(init=False, repr=False)  # and its eigenvectors, (K, D, D)

    def __attrs_post_init__(self) -> None:
        a, dim = self.operator, self.prior.means.shape[1]
        if a.ndim != 2 or a.shape[1] != dim or not torch.isfinite(a).all():
            raise ValueError(f"operator: expected finite (M, {dim}), got shape {tuple(a.shape)}")
        s = self.noise_covariance
        variances, q = eigenbasis(s[None] if s.ndim else s, 1, len(a), name="noise_covariance")
        root = torch.diag(variances[0].sqrt()) if q is None else q[0] * variances[0].sqrt()
        u, values, _ = torch.linalg.svd(torch.cat([a, root], 1), full_matrices=False)
        span = u[:, values > _rounding(values, dim + len(a))]

        roots = self.prior.roots
        noise = (span.T @ root).expand(len(roots), -1, -1)
        u, values, vh = torch.linalg.svd(torch.cat([span.T @ a @ roots, noise], 2))
        for k, v in enumerate(values):
            if (v <= _rounding(v, dim + len(a))).any():
                raise ValueError(f"component {k} of the prior is singular where y has no noise; expected noise there")
        rank = span.shape[1]
        basis, std, _ = torch.linalg.svd(roots @ vh[:, rank:, :dim].mT, full_matrices=False)
        derived = {
            "root": root,
            "range": span,
            "whiten": u.mT / values[:, :, None],
            "log_det": values.log().sum(-1),
            "gain": roots @ vh[:, :rank, :dim].mT,
            "variances": std**2,
            "basis": basis,
        }
        for name, value in derived.items():
            object.__setattr__(self, f"_{name}", value)

    def measure(self, x0: Tensor, normals: Tensor) -> Tensor:
        """`A x_0 + S^{1/2} e`: `x0 (B, D)` and standard normals `(B, M)` to `y (B, M)`, in the dtype of `x0`."""
        return (x0.to(torch.float64) @ self.operator.T + normals.to(torch.float64) @ self._root.T).to(x0.dtype)

    def _whitened(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """`diag(1/s) U^T (y - A m)` `(B, K, M')` and `log w_k p(y | k)` `(B, K)`."""
        m = len(self.operator)
        if y.ndim not in (1, 2) or y.shape[-1] != m:
            raise ValueError(f"y: expected ({m},) or (B, {m}), got {tuple(y.shape)}")
        rows = y.to(torch.float64).reshape(-1, m)
        centres = self.prior.means @ self.operator.T
        inside = rows @ self._range
        slack = (inside @ self._range.T - rows).norm(dim=-1)
        scale = rows.norm(dim=-1) + centres.norm(dim=-1).max() + self.operator.norm()
        if (slack > 100 * torch.finfo(y.dtype).eps * scale).any():
            raise ValueError(f"y: not a value A x_0 + n can have; it is off the range by {slack.max().item():.3g}")
        white = torch.einsum("kij,bkj->bki", self._whiten, inside[:, None] - centres @ self._range)
        log_norm = self._log_det + white.shape[-1] * math.log(2 * math.pi) / 2
        return white, self.prior.weights.log() - log_norm - (white * white).sum(-1) / 2

    def log_evidence(self, y: Tensor) -> Tensor:
        """`log p(y)`: `(M,)` to `()`, `(B, M)` to `(B,)`."""
        return at_least_single(self._whitened(y)[1].logsumexp(-1).reshape(y.shape[:-1]), y)

    def posterior(self, y: Tensor) -> ConditionalMixture:
        """The exact law of `x_0` given y: one mixture for each row of `y (B, M)`, a single one for `y (M,)`.

        Its `denoise`, `score` and `posterior` at a state `x_t` are those given both `x_t` and y.
        """
        white, log_joint = self._whitened(y)
        means = self.prior.means + torch.einsum("kdi,bki->bkd", self._gain, white)
        log_weights = log_joint.log_softmax(-1)
        return ConditionalMixture(log_weights, means, self._variances[None], self._basis, self.prior.labels)

    def denoise(self, x: Tensor, y: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """`E[x_0 | x_t, y]`, `(B, D)`, for `x (B, D)` and `y (B, M)` or `(M,)`."""
        return self.posterior(y).denoise(x, alpha, sigma)

    def log_likelihood(self, x: Tensor, y: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """`log p(y | x_t) = log p(x_t | y) + log p(y) - log p(x_t)`, `(B,)`."""
        wide = x.to(torch.float64)
        change = self.posterior(y).log_prob(wide, alpha, sigma) - self.prior.log_prob(wide, alpha, sigma)
        return at_least_single(change + self.log_evidence(y.to(torch.float64)), x)

    def likelihood_score(self, x: Tensor, y: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """`grad log p(y | x_t)` in `x_t`, `(B, D)`: what guidance by a measurement approximates."""
        wide = x.to(torch.float64)
        return (self.posterior(y).score(wide, alpha, sigma) - self.prior.score(wide, alpha, sigma)).to(x.dtype)


def _rounding(values: Tensor, size: int) -> float:
    return size * torch.finfo(torch.float64).eps * max(values.tolist(), default=0.0)
