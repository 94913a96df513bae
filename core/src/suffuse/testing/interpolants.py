"""Bridges between two Gaussian mixtures: their velocity, score and marginal law are closed forms.

For independent ``x_0 ~ sum_i w_i N(m_i, C_i)`` and ``x_1 ~ sum_j u_j N(n_j, D_j)``, ``z ~ N(0, I)`` and
``x_t = a x_0 + b x_1 + gamma z``, each pair k = (i, j) is a Gaussian with

    M = a m_i + b n_j,      S = a^2 C_i + b^2 D_j + gamma^2 I,

and with the responsibilities ``r_k`` of the pairs, a dash for d/dt,

    score    = - sum_k r_k S^{-1} (x - M),
    velocity = E[x_t' | x_t = x] = sum_k r_k (M' + S'/2 S^{-1} (x - M)),
    S'/2     = a a' C_i + b b' D_j + gamma gamma' I.

Only the product ``gamma gamma'`` enters, so nothing diverges where gamma is 0 and grows like a square root.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Field
from suffuse.contracts.process import Process, as_time
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, promote
from suffuse.system import System
from suffuse.testing.mixture import GaussianMixture

__all__ = ["ExactField", "MixtureBridge", "Path", "bridge_system"]

Three = tuple[Tensor, Tensor, Tensor]


class Path(Protocol):
    """What a process says of ``x_t = a x_0 + b x_1 + gamma z``: float64, of the shape of t."""

    def coefficients(self, t: Tensor) -> Three:
        """``(a, b, gamma)``."""

    def slopes(self, t: Tensor) -> Three:
        """``(a', b', gamma gamma')``."""


@attrs.frozen(eq=False)
class MixtureBridge:
    """The law of ``x_t`` between two independent mixtures of one dimension D."""

    data: GaussianMixture  # at t = 0
    base: GaussianMixture  # at t = 1

    def __attrs_post_init__(self) -> None:
        if self.data.dim != self.base.dim:
            raise InvalidInput(f"expected mixtures of one dimension, got {self.data.dim} and {self.base.dim}")

    def marginal(self, path: Path, t: float | Tensor) -> GaussianMixture:
        """The law at one time."""
        log_weights, mean, spread, _, _ = self._pairs(path, as_time(t))
        return GaussianMixture(log_weights.exp(), mean[0], spread[0])

    def fields(self, path: Path, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity and score at ``x (B, D)``, t ``()`` or ``(B,)``; float64."""
        log_weights, mean, spread, slope, growth = self._pairs(path, as_time(t))
        root = torch.linalg.cholesky(spread)
        precision, log_det = torch.cholesky_inverse(root), root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        offset = x.double()[:, None] - mean
        white = _times(precision, offset)
        r = (log_weights - (offset * white).sum(-1) / 2 - log_det).softmax(-1)
        moved = slope + _times(growth, white)
        return torch.einsum("bk,bkd->bd", r, moved), -torch.einsum("bk,bkd->bd", r, white)

    def _pairs(self, path: Path, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Log weights ``(K,)``, M and M' ``(R, K, D)``, S and S'/2 ``(R, K, D, D)``, for R = 1 or B times."""
        (a, b, gamma), (da, db, half) = path.coefficients(t), path.slopes(t)
        a, b, gamma, da, db, half = (v.reshape(-1, 1, 1) for v in (a, b, gamma, da, db, half))
        one, other = self.data, self.base
        i, j = (
            v.flatten() for v in torch.meshgrid(*(torch.arange(len(m.weights)) for m in (one, other)), indexing="ij")
        )
        m, n, c, d = one.means[i], other.means[j], _covariances(one)[i], _covariances(other)[j]
        eye = torch.eye(one.dim, dtype=torch.float64)
        weight, mean, slope = (one.weights[i] * other.weights[j]).log(), a * m + b * n, da * m + db * n
        a, b, gamma, da, db, half = (v[..., None] for v in (a, b, gamma, da, db, half))
        return weight, mean, a**2 * c + b**2 * d + gamma**2 * eye, slope, a * da * c + b * db * d + half * eye


def _times(matrix: Tensor, v: Tensor) -> Tensor:
    """``(R, K, D, D)`` times ``(B, K, D)``."""
    if len(matrix) == 1:  # one product for each pair, not for each pair and row
        return torch.einsum("kde,bke->bkd", matrix[0], v)
    return torch.einsum("bkde,bke->bkd", matrix, v)


def _covariances(mixture: GaussianMixture) -> Tensor:
    roots = mixture.roots
    return roots @ roots.mT


@module
class ExactField(Denoiser):
    """The exact velocity and score of a bridge between two independent mixtures, at every time, ends included."""

    provides: ClassVar[frozenset[str]] = frozenset({"field", "score"})
    needs: ClassVar[frozenset[str]] = frozenset({"bridge"})

    bridge: MixtureBridge = setting(doc="the two mixtures")

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Field:
        """``Field(velocity, second=score)``."""
        if not isinstance(x_t, Tensor) or not hasattr(process, "slopes"):
            raise Unsupported("an exact bridge field takes a tensor state of a process with coefficients and slopes")
        x = promote(x_t)
        if x.ndim != 2 or x.shape[1] != self.bridge.data.dim:
            raise InvalidInput(f"expected states of shape (batch, {self.bridge.data.dim}), got {tuple(x.shape)}")
        velocity, score = self.bridge.fields(cast(Path, process), x, t)
        return Field(value=velocity.to(x.dtype), second=score.to(x.dtype), x_t=x, t=as_time(t))


def bridge_system(data: GaussianMixture, base: GaussianMixture, process: Process, **parts: Any) -> System:  # noqa: ANN401
    """A ``System`` with the exact field; ``parts`` are its sampler, guidance and codec. Give ``sample(start=...)``."""
    model = ExactField(bridge=MixtureBridge(data, base))
    return System(model=model, process=process, space=Euclidean(shape=(data.dim,)), **parts)
