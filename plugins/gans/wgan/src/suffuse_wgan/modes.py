"""Which modes of a Gaussian mixture samples reach."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from suffuse.errors import InvalidInput
from suffuse.testing.mixture import GaussianMixture

__all__ = ["Coverage", "coverage"]


@attrs.frozen(kw_only=True)
class Coverage:
    """``modes`` that have at least a fifth of their share; ``quality``, the share of samples near a mode; ``off``, the
    total variation between the modes' frequencies, among these, and their weights."""

    modes: int
    quality: float
    off: float


def coverage(x: Tensor, mixture: GaussianMixture) -> Coverage:
    """Count samples ``(n, D)`` within three standard deviations of their nearest mean.

    For mixtures with one variance a component. Raises ``InvalidInput`` for others and for samples of another size.
    """
    if mixture.covariances.ndim > 1:
        raise InvalidInput("expected a mixture whose components have one variance each")
    if x.ndim != 2 or x.shape[1] != mixture.dim:
        raise InvalidInput(f"expected samples (n, {mixture.dim}), got {tuple(x.shape)}")
    k = len(mixture.weights)
    distance, nearest = torch.cdist(x.detach().double(), mixture.means).min(1)
    near = distance <= 3 * mixture.covariances.expand(k).sqrt()[nearest]
    counts = nearest[near].bincount(minlength=k).double()
    total = counts.sum().clamp_min(1)
    return Coverage(
        modes=int((counts >= 0.2 * len(x) * mixture.weights).sum()),
        quality=float(near.double().mean()),
        off=float((counts / total - mixture.weights).abs().sum() / 2),
    )
