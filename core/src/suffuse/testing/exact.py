"""Systems whose denoiser is known exactly: what samplers, guidance and tasks are judged by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.network import check_labels
from suffuse.contracts.part import module
from suffuse.contracts.prediction import Mean, Variance
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, promote, require
from suffuse.system import System
from suffuse.testing.mixture import GaussianMixture

__all__ = ["ExactDenoiser", "mixture_system"]


@module
class ExactDenoiser(Denoiser):
    """The exact conditional mean of a Gaussian mixture under any Gaussian process, at every noise level.

    Read as v, which is finite at both ends of time. Where the mixture's components have labels, a condition
    ``label`` restricts each row to its class. With ``variance`` the exact variance of each element of x0 comes with it.
    Times may be ``(B, D)``, one for each element, but for these variances.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"mean", "conditional", "variance"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    mixture: GaussianMixture
    variance: bool = False

    @property
    def gives(self) -> frozenset[str]:
        """``mean``; ``conditional`` where the components are labelled, and ``variance`` where it is asked for."""
        labelled = () if self.mixture.labels is None else ("conditional",)
        return frozenset({"mean", *labelled, *(("variance",) if self.variance else ())})

    def check(self, cond: Condition) -> None:
        """A label must name a class of the mixture."""
        labels = self.mixture.labels
        check_labels(cond, 0 if labels is None else int(labels.max()) + 1)

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Mean:
        """``v = alpha E[eps | x_t] - sigma E[x_0 | x_t]``."""
        if not isinstance(process, Gaussian) or not isinstance(x_t, Tensor):
            raise Unsupported("an exact mixture denoiser takes a tensor state of a Gaussian process")
        x, (alpha, sigma) = promote(x_t), process.scalars(as_time(t))
        require((alpha > 0) | (sigma > 0), "nothing is left of the state at this time, neither signal nor noise")
        if x.ndim != 2 or x.shape[1] != self.mixture.dim:
            raise InvalidInput(f"expected states of shape (batch, {self.mixture.dim}), got {tuple(x.shape)}")
        v, spread = torch.empty_like(x), torch.empty_like(x)
        for mixture, at in self._classes(cond, x):
            pick = [w if w.ndim == 0 else w[at] for w in (alpha, sigma)]
            v[at], spread[at] = self._moments(mixture, x[at], pick[0], pick[1])
        variance = Variance(spread, of="x0") if self.variance else None
        return Mean(value=v, x_t=x, t=as_time(t), process=process, mix=(-sigma, alpha), variance=variance)

    def _classes(self, cond: Condition, x: Tensor) -> Iterator[tuple[GaussianMixture, Tensor]]:
        """The law of x0 under the condition, with the rows that have it."""
        if "label" not in cond:
            yield self.mixture, torch.ones(len(x), dtype=torch.bool, device=x.device)
            return
        present, label = cond.present("label"), cond["label"]
        if not bool(present.all()):
            yield self.mixture, ~present
        for one in sorted(set(label[present].tolist())):
            yield self.mixture.conditioned(one), present & (label == one)

    def _moments(self, mixture: GaussianMixture, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """v, and the variances of x0's elements (where they are not asked for, v again)."""
        v = self._v(mixture, x, alpha, sigma)
        if not self.variance:
            return v, v
        return v, mixture.posterior_covariance(x.double(), alpha, sigma).diagonal(dim1=1, dim2=2).to(x.dtype).clone()

    @staticmethod
    def _v(mixture: GaussianMixture, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        z = x.double()
        if alpha.ndim == 2:
            return _by_element(mixture, z, alpha, sigma).to(x.dtype)
        a, s = (w if w.ndim == 0 else w[:, None] for w in (alpha, sigma))
        eps = -s * mixture.score(z, alpha, sigma)
        return (a * eps - s * mixture.denoise(z, alpha, sigma)).to(x.dtype)


def _by_element(mixture: GaussianMixture, x: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """v where each element has a time of its own, ``(B, D)``: ``x_t ~ sum_k w_k N(A m_k, A C_k A + S^2)``."""
    prior = mixture.roots @ mixture.roots.mT
    spread = a[:, None, :, None] * prior * a[:, None, None, :] + torch.diag_embed(s**2)[:, None]
    root, centred = torch.linalg.cholesky(spread), x[:, None] - a[:, None] * mixture.means
    white = torch.cholesky_solve(centred[..., None], root)[..., 0]
    logs = mixture.weights.log() - (centred * white).sum(-1) / 2 - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    x0 = mixture.means + torch.einsum("kij,bkj->bki", prior, a[:, None] * white)
    return torch.einsum("bk,bkd->bd", logs.softmax(-1), a[:, None] * s[:, None] * white - s[:, None] * x0)


def mixture_system(
    mixture: GaussianMixture,
    process: Process,
    *,
    variance: bool = False,
    **parts: Any,  # noqa: ANN401
) -> System:
    """A ``System`` with the exact denoiser; ``parts`` are its sampler, guidance and codec."""
    model = ExactDenoiser(mixture=mixture, variance=variance)
    return System(model=model, process=process, space=Euclidean(shape=(mixture.dim,)), **parts)


def truth(mixture: GaussianMixture, n: int, seed: int) -> Tensor:
    """n exact draws from the mixture, float64."""
    return mixture.sample(torch.Generator().manual_seed(seed), n)
