"""A test bed without training: a Gaussian mixture fitted to digits, whose denoiser and posteriors are exact."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.contracts.space import Euclidean
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, promote
from suffuse.system import System
from suffuse.testing.mixture import GaussianMixture

__all__ = ["SHAPE", "MixtureOfImages", "digits_mixture", "digits_system", "held_out"]

SHAPE = (1, 8, 8)


@cache
def _fitted() -> tuple[GaussianMixture, Tensor]:
    import numpy as np
    from sklearn import mixture
    from sklearn.datasets import load_digits

    data = np.random.RandomState(0).permutation(load_digits().data / 8 - 1)
    fit = mixture.GaussianMixture(15, covariance_type="full", reg_covar=3e-3, random_state=0, max_iter=50)
    fit.fit(data[:1500])
    law = GaussianMixture(*(torch.from_numpy(v) for v in (fit.weights_, fit.means_, fit.covariances_)))
    return law, torch.from_numpy(data[1500:]).float().reshape(-1, *SHAPE)


def digits_mixture() -> GaussianMixture:
    """15 Gaussians with full covariances in 64 dimensions, fitted to 1500 of scikit-learn's digits in [-1, 1]."""
    return _fitted()[0]


def held_out(n: int) -> Tensor:
    """The first n (at most 297) of the digits that the mixture was not fitted to, ``(n, 1, 8, 8)`` in [-1, 1]."""
    return _fitted()[1][:n]


@module
class MixtureOfImages(Denoiser):
    """``E[x_0 | x_t]`` of a Gaussian mixture whose states are read as images; no model to train, and none to save."""

    provides: ClassVar[frozenset[str]] = frozenset({"mean"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    mixture: GaussianMixture

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
        """The exact mean of the data, at t > 0."""
        if not isinstance(process, Gaussian) or not isinstance(x_t, Tensor):
            raise Unsupported("an exact mixture denoiser takes a tensor state of a Gaussian process")
        x, (alpha, sigma) = promote(x_t), process.scalars(as_time(t))
        x0 = self.mixture.denoise(x.flatten(1).double(), alpha, sigma).to(x.dtype).reshape(x.shape)
        return Mean(value=x0, x_t=x, t=as_time(t), process=process)


def digits_system(process: Process, **parts: Any) -> System:  # noqa: ANN401
    """A ``System`` of 8x8 images with the exact denoiser; ``parts`` are its sampler, guidance and codec."""
    return System(
        model=MixtureOfImages(mixture=digits_mixture()), process=process, space=Euclidean(shape=SHAPE), **parts
    )
