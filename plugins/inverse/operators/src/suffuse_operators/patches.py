"""A prior of photographs without training: a Gaussian mixture fitted to patches, whose denoiser is exact.

Zoran and Weiss, From Learning Models of Natural Image Patches to Whole Image Restoration, 2011,
doi:10.1109/ICCV.2011.6126278, fit 200 components to two million patches of this size; two photographs give fewer.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from suffuse.contracts.process import Gaussian
from suffuse.contracts.space import Euclidean
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.mixture import GaussianMixture
from suffuse_operators.digits import SHAPE, MixtureOfImages
from suffuse_operators.photos import Photos

__all__ = ["patches", "patches_mixture", "patches_system"]


def patches(split: str) -> Tensor:
    """Grey patches of the two photographs, ``(n, 1, 8, 8)`` in [-1, 1]; those to ``test`` are not fitted to."""
    photos = Photos(size=SHAPE[1], split=split)
    rgb = photos.rows(torch.arange(len(photos)), Rng.of(0, len(photos))).x
    assert isinstance(rgb, Tensor)
    return 2 * rgb.mean(1, keepdim=True) - 1


@cache
def patches_mixture() -> GaussianMixture:
    """15 Gaussians with full covariances in 64 dimensions."""
    from sklearn import mixture

    data = patches("train").flatten(1).double().numpy()
    fit = mixture.GaussianMixture(15, covariance_type="full", reg_covar=1e-4, random_state=0, max_iter=50)
    fit.fit(data)
    return GaussianMixture(*(torch.from_numpy(v) for v in (fit.weights_, fit.means_, fit.covariances_)))


def patches_system(process: Gaussian, **parts: Any) -> System:  # noqa: ANN401
    """The mixture as a system of images; ``parts`` are its sampler and guidance."""
    model = MixtureOfImages(mixture=patches_mixture())
    return System(model=model, process=process, space=Euclidean(shape=SHAPE), **parts)
