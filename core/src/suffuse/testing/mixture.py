"""Gaussian mixtures: data whose denoiser, score, likelihood and posterior are known exactly at every noise level.

For `x_0 ~ sum_k w_k N(m_k, C_k)` and `x_t = alpha x_0 + sigma eps` with `eps ~ N(0, I)`, everything follows from

    x_t      ~ sum_k w_k N(alpha m_k, alpha^2 C_k + sigma^2 I),
    x_0 | x_t ~ sum_k r_k(x_t) N(mu_k(x_t), V_k),   r_k proportional to w_k N(x_t; alpha m_k, alpha^2 C_k + sigma^2 I),

and, in the eigenbasis `C_k = Q_k diag(l_k) Q_k^T`, which is computed once and holds for every alpha and sigma,

    mu_k = m_k + Q_k diag(alpha l_k / (alpha^2 l_k + sigma^2)) Q_k^T (x_t - alpha m_k),
    V_k  = Q_k diag(l_k sigma^2 / (alpha^2 l_k + sigma^2)) Q_k^T.

Everything is computed in float64, can be differentiated (also in alpha and sigma), and comes back in the dtype of
`x`; log densities come back in at least float32, since half precision cannot hold them. `sigma = 0` and `alpha = 0`
are the limits of small positive values. States are `(B, D)`; `alpha` and `sigma` are `()` or `(B,)`.

References:
    | Pattern Recognition and Machine Learning (Bishop, 2006), Section 2.3.3
    | Tweedie's Formula and Selection Bias (Efron, 2011): score and posterior mean
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self, cast

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from suffuse.testing.statistics import Statistic

__all__ = ["ConditionalMixture", "EmpiricalDistribution", "GaussianMixture"]

Scalar = float | Tensor

# sigma^2 is never taken below this: small enough to be the limit for any float32 state, large enough not to overflow.
_LEAST_VARIANCE = 1e-60
_BLOCK = 1 << 24  # elements of the largest temporary


def as_double(value: Any) -> Tensor:  # noqa: ANN401
    return torch.as_tensor(value, dtype=torch.float64)


def _integer(value: Any) -> Tensor | None:  # noqa: ANN401
    return None if value is None else torch.as_tensor(value, dtype=torch.int64)


def _coefficient(value: Scalar, x: Tensor, name: str) -> Tensor:
    """`()` or `(B,)` to `(1, 1, 1)` or `(B, 1, 1)`."""
    value = torch.as_tensor(value, dtype=torch.float64, device=x.device)
    if value.ndim and value.shape != x.shape[:1]:
        raise ValueError(f"{name}: expected shape () or ({len(x)},) for {len(x)} states, got {tuple(value.shape)}")
    return value.reshape(-1, 1, 1)


def at_least_single(value: Tensor, like: Tensor) -> Tensor:
    return value.to(torch.promote_types(like.dtype, torch.float32))


def _require_floating(x: Tensor) -> None:
    if not x.is_floating_point():
        raise ValueError(f"x: expected a floating point state, got {x.dtype}")


def _normalised(weights: Tensor) -> Tensor:
    if weights.ndim != 1 or not len(weights) or not (torch.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"weights: expected a non-empty vector of finite values >= 0, got {weights}")
    if weights.sum() <= 0:
        raise ValueError(f"weights: expected a positive sum, got {weights}")
    return weights / weights.sum()


def _labels_of(labels: Tensor | None) -> Tensor:
    if labels is None:
        raise ValueError("expected a mixture with labels, got labels=None")
    return labels


def _chosen(labels: Tensor | None, label: int) -> Tensor:
    labels = _labels_of(labels)
    mask = labels == label
    if not mask.any():
        raise ValueError(f"label: expected one of {torch.unique(labels).tolist()}, got {label}")
    return mask


def _uniforms(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)


def _normals(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float64)


def _inverse(log_weights: Tensor, uniforms: Tensor) -> Tensor:
    """Indices with these weights `(..., K)`, by inversion of uniforms `(..., n)`."""
    cumulative = log_weights.exp().cumsum(-1)
    cumulative = (cumulative / cumulative[..., -1:]).contiguous()
    below_one = uniforms.to(cumulative.dtype).clamp(max=1 - torch.finfo(cumulative.dtype).eps)  # it may be rounded up
    return torch.searchsorted(cumulative, below_one.contiguous(), right=True)


class _Eigen(NamedTuple):
    """R mixtures, one a row (R is 1 or B); the eigenvectors are common to all rows, and `None` for the identity."""

    log_weights: Tensor  # (R, K)
    means: Tensor  # (R, K, D)
    variances: Tensor  # (R, K, D)
    basis: Tensor | None  # (K, D, D), eigenvectors in columns

    def into(self, x: Tensor) -> Tensor:
        return x if self.basis is None else torch.einsum("kde,bkd->bke", self.basis, x)

    def back(self, z: Tensor) -> Tensor:
        return z if self.basis is None else torch.einsum("kde,bke->bkd", self.basis, z)

    def matrix(self, diagonal: Tensor, r: Tensor) -> Tensor:
        """`sum_k r_k Q_k diag(d_k) Q_k^T`: `(B, K, D)` and `(B, K)` to `(B, D, D)`."""
        weighted = r[..., None] * diagonal
        if self.basis is None:
            return torch.diag_embed(weighted.sum(1))
        return torch.einsum("kde,bke,kfe->bdf", self.basis, weighted, self.basis)

    def draw(self, uniforms: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        """`(R, n)` and `(R, n, D)` to the components' indices `(R, n)` and the draws `(R, n, D)`."""
        uniforms, normals = (v.to(self.means) for v in (uniforms, normals))
        index = _inverse(self.log_weights, uniforms)
        rows = torch.arange(len(index), device=index.device)[:, None]
        z = self.variances.expand_as(self.means)[rows, index].sqrt() * normals
        if self.basis is not None:
            turned = torch.empty_like(z)
            for k, q in enumerate(self.basis):  # a gather of bases would need (R, n, D, D)
                turned[index == k] = z[index == k] @ q.T
            z = turned
        return index, self.means[rows, index] + z


class _Terms(NamedTuple):
    """What every method needs, at one batch of states."""

    law: _Eigen
    alpha: Tensor  # (B|1, 1, 1)
    noise: Tensor  # sigma^2, (B|1, 1, 1)
    spread: Tensor  # alpha^2 l_k + sigma^2, (B|R|1, K, D)
    offset: Tensor  # Q_k^T (x_t - alpha m_k), (B, K, D)
    log_joint: Tensor  # log w_k N(x_t; ...), (B, K)

    @property
    def r(self) -> Tensor:
        return self.log_joint.softmax(-1)

    def component_means(self) -> Tensor:
        """`mu_k`, `(B, K, D)`."""
        gain = self.alpha * self.law.variances / self.spread
        return self.law.means + self.law.back(gain * self.offset)

    def component_variances(self) -> Tensor:
        """The eigenvalues of `V_k`, `(B|R|1, K, D)`."""
        return self.law.variances * (self.noise / self.spread)

    def component_scores(self) -> Tensor:
        return -self.law.back(self.offset / self.spread)


class _Mixture(ABC):
    """The closed forms, for one mixture shared by all states or for one mixture a state."""

    labels: Tensor | None

    @abstractmethod
    def _eigen(self) -> _Eigen: ...

    def _terms(self, x: Tensor, alpha: Scalar, sigma: Scalar, *, density: bool = False) -> _Terms:
        _require_floating(x)
        law = self._eigen()
        rows, _, dim = law.means.shape
        if x.ndim != 2 or x.shape[1] != dim or rows not in (1, len(x)):
            batch = "B" if rows == 1 else str(rows)
            raise ValueError(f"x: expected shape ({batch}, {dim}), got {tuple(x.shape)}")
        a, s = _coefficient(alpha, x, "alpha"), _coefficient(sigma, x, "sigma")
        noise = (s * s).clamp(min=_LEAST_VARIANCE)
        spread = a * a * law.variances + noise
        if density and bool((spread <= 2 * _LEAST_VARIANCE).any()):
            raise ValueError("no density: alpha^2 C + sigma^2 I is singular; expected sigma > 0")
        offset = law.into(x.to(torch.float64)[:, None] - a * law.means)
        square = (offset * offset / spread + torch.log(2 * math.pi * spread)).sum(-1)
        return _Terms(law, a, noise, spread, offset, law.log_weights - square / 2)

    def log_prob(self, x: Tensor, alpha: Scalar = 1.0, sigma: Scalar = 0.0) -> Tensor:
        """`log p(x_t)`, `(B,)`; `ValueError` where `x_t` has no density (a singular covariance without noise)."""
        joint = self._terms(x, alpha, sigma, density=True).log_joint
        return at_least_single(joint.logsumexp(-1), x)

    def responsibilities(self, x: Tensor, alpha: Scalar = 1.0, sigma: Scalar = 0.0) -> Tensor:
        """`p(k | x_t)`, `(B, K)`."""
        return self._terms(x, alpha, sigma).r.to(x.dtype)

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """The posterior mean `E[x_0 | x_t]`, `(B, D)`."""
        terms = self._terms(x, alpha, sigma)
        return torch.einsum("bk,bkd->bd", terms.r, terms.component_means()).to(x.dtype)

    def posterior_covariance(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """`Cov[x_0 | x_t] = sum_k r_k (V_k + (mu_k - mu)(mu_k - mu)^T)`, `(B, D, D)`."""
        terms = self._terms(x, alpha, sigma)
        within = terms.law.matrix(terms.component_variances(), terms.r)
        return (within + _between(terms.r, terms.component_means())).to(x.dtype)

    def score(self, x: Tensor, alpha: Scalar = 1.0, sigma: Scalar = 0.0) -> Tensor:
        """`grad log p(x_t)`, `(B, D)`, equal to `(alpha E[x_0 | x_t] - x_t) / sigma^2` (Tweedie)."""
        terms = self._terms(x, alpha, sigma, density=True)
        return torch.einsum("bk,bkd->bd", terms.r, terms.component_scores()).to(x.dtype)

    def hessian(self, x: Tensor, alpha: Scalar = 1.0, sigma: Scalar = 0.0) -> Tensor:
        """`grad^2 log p(x_t)`, `(B, D, D)`, equal to `(alpha^2 Cov[x_0 | x_t] / sigma^2 - I) / sigma^2`."""
        terms = self._terms(x, alpha, sigma, density=True)
        precision = terms.law.matrix(1 / terms.spread, terms.r)
        return (_between(terms.r, terms.component_scores()) - precision).to(x.dtype)

    def posterior(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> ConditionalMixture:
        """The exact law of `x_0` given `x_t`: one mixture for each of the B states."""
        terms = self._terms(x, alpha, sigma)
        variances = terms.component_variances()
        return ConditionalMixture(
            terms.log_joint.log_softmax(-1), terms.component_means(), variances, terms.law.basis, self.labels
        )

    @property
    def dim(self) -> int:
        """D."""
        return self._eigen().means.shape[-1]

    @property
    def classes(self) -> Tensor:
        """The distinct labels, ascending, `(C,)`."""
        return cast(Tensor, torch.unique(_labels_of(self.labels)))

    def class_log_prob(self, x: Tensor, alpha: Scalar = 1.0, sigma: Scalar = 0.0) -> Tensor:
        """`log p(label | x_t)`, `(B, C)`, columns in the order of `classes`: the exact noisy classifier."""
        labels = _labels_of(self.labels)
        log_r = self._terms(x, alpha, sigma).log_joint.log_softmax(-1)
        return at_least_single(torch.stack([log_r[:, labels == c].logsumexp(-1) for c in self.classes], -1), x)

    def _moments(self) -> tuple[Tensor, Tensor]:
        law = self._eigen()
        w = law.log_weights.exp()
        mean = torch.einsum("bk,bkd->bd", w, law.means)
        return mean, law.matrix(law.variances, w) + _between(w, law.means)


def _between(r: Tensor, points: Tensor) -> Tensor:
    """The covariance of the components' points: `(B, K)` and `(B, K, D)` to `(B, D, D)`."""
    centred = points - torch.einsum("bk,bkd->bd", r, points)[:, None]
    return torch.einsum("bk,bkd,bke->bde", r, centred, centred)


@frozen(eq=False)
class ConditionalMixture(_Mixture):
    """B Gaussian mixtures, one a state: the law of `x_0` given `x_t`, or given a measurement.

    Its methods take one state for each mixture, `x (B, D)`; a single mixture (B = 1) serves any number of states.
    """

    log_weights: Tensor  # (B, K), normalised
    means: Tensor  # (B, K, D)
    variances: Tensor  # (B|1, K, D), eigenvalues of the covariances
    basis: Tensor | None  # (K, D, D), their eigenvectors in columns; None: the covariances are diagonal
    labels: Tensor | None = None  # (K,)

    def _eigen(self) -> _Eigen:
        return _Eigen(self.log_weights, self.means, self.variances, self.basis)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Means `(B, D)` and covariances `(B, D, D)`."""
        return self._moments()

    def transform(self, uniforms: Tensor, normals: Tensor) -> Tensor:
        """Uniforms `(B, n)` and normals `(B, n, D)` to draws `(B, n, D)`, in the dtype of `normals`."""
        return self._eigen().draw(uniforms, normals)[1].to(normals.dtype)

    def sample(self, generator: torch.Generator, n: int) -> Tensor:
        """n draws from each mixture, `(B, n, D)`, float64."""
        rows, _, dim = self.means.shape
        return self.transform(_uniforms((rows, n), generator), _normals((rows, n, dim), generator))

    def row(self, b: int) -> GaussianMixture:
        """The mixture that belongs to state b."""
        v = self.variances[b if len(self.variances) > 1 else 0]
        covariances = v if self.basis is None else (self.basis * v[:, None]) @ self.basis.mT
        return GaussianMixture(self.log_weights[b].exp(), self.means[b], covariances, self.labels)


@frozen(eq=False)
class GaussianMixture(_Mixture):
    """`sum_k w_k N(m_k, C_k)`, kept in float64.

    Args:
        weights: `(K,)`, at least 0; normalised to sum to one.
        means: `(K, D)`.
        covariances: variances `()` or `(K,)` (isotropic), `(K, D)` (diagonal), or matrices `(K, D, D)`; singular
            ones are allowed, and have no density until noise is added.
        labels: integers `(K,)`, the class of each component.

    Raises:
        ValueError: shapes that do not agree, a covariance that is not symmetric positive semidefinite.
    """

    weights: Tensor = field(converter=as_double)
    means: Tensor = field(converter=as_double)
    covariances: Tensor = field(converter=as_double)
    labels: Tensor | None = field(default=None, converter=_integer)
    _law: _Eigen = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        weights = _normalised(self.weights)
        if self.means.ndim != 2 or len(self.means) != len(weights) or not torch.isfinite(self.means).all():
            raise ValueError(f"means: expected finite ({len(weights)}, D), got shape {tuple(self.means.shape)}")
        if self.labels is not None and self.labels.shape != weights.shape:
            raise ValueError(f"labels: expected ({len(weights)},), got {tuple(self.labels.shape)}")
        variances, basis = eigenbasis(self.covariances, *self.means.shape)
        law = _Eigen(weights.log()[None], self.means[None], variances[None], basis)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "_law", law)

    def _eigen(self) -> _Eigen:
        return self._law

    @classmethod
    def single(cls, mean: Tensor | Sequence[float], covariance: Tensor | float = 1.0) -> Self:
        """One Gaussian with mean `(D,)` and covariance `()`, `(D,)` or `(D, D)`."""
        return cls(torch.ones(1), as_double(mean)[None], as_double(covariance)[None])

    @classmethod
    def ring(cls, n: int = 8, radius: float = 1.0, std: float = 0.05) -> Self:
        """n equal modes around a circle in the plane, each its own class."""
        angle = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
        means = radius * torch.stack([angle.cos(), angle.sin()], -1)
        return cls(torch.ones(n), means, as_double(std**2), torch.arange(n))

    @classmethod
    def grid(cls, side: int = 5, spacing: float = 1.0, std: float = 0.05) -> Self:
        """`side^2` equal modes on a square lattice about the origin, each its own class."""
        axis = spacing * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
        return cls(torch.ones(side**2), torch.cartesian_prod(axis, axis), as_double(std**2), torch.arange(side**2))

    @classmethod
    def random(cls, dim: int, components: int, seed: int) -> Self:
        """Unequal weights, standard normal means, full covariances with standard deviations in [0.1, 0.5]."""
        generator = torch.Generator().manual_seed(seed)
        weights = 0.5 + _uniforms((components,), generator)
        means = _normals((components, dim), generator)
        q, _ = torch.linalg.qr(_normals((components, dim, dim), generator))
        std = 0.1 + 0.4 * _uniforms((components, 1, dim), generator)
        return cls(weights, means, (q * std**2) @ q.mT, torch.arange(components))

    def to(self, device: torch.device | str) -> Self:
        """The same mixture on another device."""
        moved = {k: getattr(self, k).to(device) for k in ("weights", "means", "covariances")}
        return evolve(self, **moved, labels=None if self.labels is None else self.labels.to(device))

    @property
    def roots(self) -> Tensor:
        """Matrices with `C_k = R_k R_k^T`, `(K, D, D)`."""
        std, basis = self._law.variances[0].sqrt(), self._law.basis
        return torch.diag_embed(std) if basis is None else basis * std[:, None]

    def moments(self) -> tuple[Tensor, Tensor]:
        """The mean `(D,)` and the covariance `(D, D)` of the whole mixture."""
        mean, covariance = self._moments()
        return mean[0], covariance[0]

    def marginal(self, alpha: float, sigma: float) -> Self:
        """The law of `x_t`, for one `alpha` and one `sigma`."""
        spread = alpha**2 * self._law.variances[0] + sigma**2
        basis = self._law.basis
        covariances = spread if basis is None else (basis * spread[:, None]) @ basis.mT
        return evolve(self, means=alpha * self.means, covariances=covariances)

    def conditioned(self, label: int) -> Self:
        """The law of `x_0` given its class."""
        mask = _chosen(self.labels, label)
        covariances = self.covariances[mask] if self.covariances.ndim else self.covariances
        return type(self)(self.weights[mask], self.means[mask], covariances, _labels_of(self.labels)[mask])

    def transform(self, uniforms: Tensor, normals: Tensor) -> Tensor:
        """Uniforms `(n,)` and normals `(n, D)` to draws `(n, D)`, in the dtype of `normals`."""
        return self._law.draw(uniforms[None], normals[None])[1][0].to(normals.dtype)

    def sample(self, generator: torch.Generator, n: int) -> Tensor:
        """n draws, `(n, D)`, float64."""
        return self.transform(_uniforms((n,), generator), _normals((n, self.means.shape[1]), generator))

    def sample_labelled(self, generator: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
        """n draws `(n, D)`, the same as those of `sample`, and their classes `(n,)`."""
        uniforms, normals = _uniforms((1, n), generator), _normals((1, n, self.means.shape[1]), generator)
        index, x = self._law.draw(uniforms, normals)
        return x[0], _labels_of(self.labels)[index[0]]

    def bayes_accuracy(self, generator: torch.Generator, n: int, alpha: float, sigma: float) -> Statistic:
        """The best accuracy any classifier of `x_t` can have: `E[max_c p(c | x_t)]` over n draws of `x_t`."""
        x = self.sample(generator, n)
        best = self.class_log_prob(alpha * x + sigma * _normals(tuple(x.shape), generator), alpha, sigma).amax(-1).exp()
        return Statistic("bayes accuracy", best.mean().item(), n, standard_error=best.std().item() / math.sqrt(n))


def eigenbasis(covariances: Tensor, k: int, dim: int, name: str = "covariances") -> tuple[Tensor, Tensor | None]:
    """Eigenvalues `(K, D)`, exactly zero where a matrix is singular to rounding, and eigenvectors `(K, D, D)`."""
    shape = tuple(covariances.shape)
    if shape not in ((), (k,), (k, dim), (k, dim, dim)):
        raise ValueError(f"{name}: expected (), ({k},), ({k}, {dim}) or ({k}, {dim}, {dim}), got {shape}")
    if not torch.isfinite(covariances).all():
        raise ValueError(f"{name}: expected finite values")
    if covariances.ndim < 3:
        variances = (covariances[:, None] if covariances.ndim == 1 else covariances).expand(k, dim)
        if (variances < 0).any():
            raise ValueError(f"{name}: expected variances >= 0, got {covariances.min().item():.3g}")
        return variances, None
    scale = covariances.abs().amax((1, 2))[:, None]
    if ((covariances - covariances.mT).abs().amax((1, 2)) > 1e-8 * scale[:, 0]).any():
        raise ValueError(f"{name}: expected symmetric matrices")
    variances, basis = torch.linalg.eigh((covariances + covariances.mT) / 2)
    if (variances < -1e-8 * scale).any():
        raise ValueError(f"{name}: expected positive semidefinite, got eigenvalue {variances.min().item():.3g}")
    rounding = dim * torch.finfo(torch.float64).eps * scale
    return torch.where(variances <= rounding, 0.0, variances), basis


class _Block(NamedTuple):
    offset: Tensor  # x_t - alpha centre, (b, D)
    alpha: Tensor  # (b, 1)
    noise: Tensor  # sigma^2, (b, 1)
    logits: Tensor  # log w_n - |x_t - alpha x_n|^2 / (2 sigma^2), but for a term in x_t alone, (b, N)


@frozen(eq=False)
class EmpiricalDistribution:
    """A finite data set as a distribution: a mixture of N atoms, whose exact denoiser a perfect network memorises.

    Args:
        data: `(N, *event)`, kept in float64.
        weights: `(N,)`, at least 0; equal by default.
        labels: integers `(N,)`.

    States are `(B, *event)`. The computation goes through blocks of states, so that memory stays bounded. For a small
    data set, `mixture()` gives every other closed form.
    """

    data: Tensor = field(converter=as_double)
    weights: Tensor | None = field(default=None)
    labels: Tensor | None = field(default=None, converter=_integer)
    _centre: Tensor = field(init=False, repr=False)
    _points: Tensor = field(init=False, repr=False)  # data - centre, (N, D)
    _log_weights: Tensor = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.data.ndim < 2 or not len(self.data) or not torch.isfinite(self.data).all():
            raise ValueError(f"data: expected finite (N, *event) with N > 0, got shape {tuple(self.data.shape)}")
        n = len(self.data)
        ones = torch.ones(n, dtype=torch.float64, device=self.data.device)
        weights = _normalised(ones if self.weights is None else as_double(self.weights))
        for name, value in (("weights", weights), ("labels", self.labels)):
            if value is not None and value.shape != (n,):
                raise ValueError(f"{name}: expected ({n},), got {tuple(value.shape)}")
        flat = self.data.flatten(1)
        centre = flat.mean(0)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "_centre", centre)
        object.__setattr__(self, "_points", flat - centre)
        object.__setattr__(self, "_log_weights", weights.log())

    def _blocks(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Iterator[_Block]:
        # Expanding the square needs no (B, N, D); centring keeps it exact to 1e-16 of the data's own variance.
        _require_floating(x)
        if x.shape[1:] != self.data.shape[1:]:
            raise ValueError(f"x: expected (B, *{tuple(self.data.shape[1:])}), got {tuple(x.shape)}")
        flat = x.to(torch.float64).flatten(1)
        a, s = (
            _coefficient(v, x, name).reshape(-1, 1).expand(len(x), 1)
            for v, name in ((alpha, "alpha"), (sigma, "sigma"))
        )
        noise = (s * s).clamp(min=_LEAST_VARIANCE)
        z = flat - a * self._centre
        half_norm = (self._points * self._points).sum(-1) / 2
        size = max(1, _BLOCK // len(self.data))
        for zb, ab, nb in zip(*(torch.split(v, size) for v in (z, a, noise)), strict=True):
            yield _Block(zb, ab, nb, self._log_weights + (ab * (zb @ self._points.T) - ab**2 * half_norm) / nb)

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """`E[x_0 | x_t]`, `(B, *event)`."""
        means = [block.logits.softmax(-1) @ self._points for block in self._blocks(x, alpha, sigma)]
        return (torch.cat(means) + self._centre).reshape(x.shape).to(x.dtype)

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """`grad log p(x_t)`, `(B, *event)`; needs `sigma > 0`."""
        self._require_noise(sigma)
        scores = [
            (b.alpha * (b.logits.softmax(-1) @ self._points) - b.offset) / b.noise
            for b in self._blocks(x, alpha, sigma)
        ]
        return torch.cat(scores).reshape(x.shape).to(x.dtype)

    def log_prob(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """`log p(x_t)`, `(B,)`; needs `sigma > 0`."""
        self._require_noise(sigma)
        values = [
            b.logits.logsumexp(-1) - ((b.offset**2 / b.noise + torch.log(2 * math.pi * b.noise)).sum(-1)) / 2
            for b in self._blocks(x, alpha, sigma)
        ]
        return at_least_single(torch.cat(values), x)

    def responsibilities(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """`p(n | x_t)`, `(B, N)`."""
        return torch.cat([block.logits.softmax(-1) for block in self._blocks(x, alpha, sigma)]).to(x.dtype)

    def sample(self, generator: torch.Generator, n: int) -> Tensor:
        """n draws with replacement, `(n, *event)`, float64."""
        return self.data[_inverse(self._log_weights, _uniforms((n,), generator).to(self.data.device))]

    def conditioned(self, label: int) -> Self:
        """The part of the data with this label."""
        mask = _chosen(self.labels, label)
        return type(self)(self.data[mask], self._log_weights[mask].exp(), _labels_of(self.labels)[mask])

    def mixture(self) -> GaussianMixture:
        """The same law as a mixture of Gaussians with zero covariance, over the flattened data."""
        return GaussianMixture(self._log_weights.exp(), self.data.flatten(1), as_double(0.0), self.labels)

    def _require_noise(self, sigma: Scalar) -> None:
        if bool((torch.as_tensor(sigma) == 0).any()):
            raise ValueError("no density: a data set has one only with noise; expected sigma > 0")
