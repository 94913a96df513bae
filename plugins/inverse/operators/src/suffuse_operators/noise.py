"""The noise of a measurement."""

from __future__ import annotations

import math

import attrs
import torch
from scipy.stats import poisson
from torch import Tensor

from suffuse.contracts.operator import Noise
from suffuse.contracts.part import setting
from suffuse.errors import SpecError, Unsupported
from suffuse.rng import Rng

__all__ = ["GaussianNoise", "PoissonNoise"]


@attrs.frozen(kw_only=True)
class GaussianNoise(Noise):
    """``y = clean + std z``, z standard normal. The published 0.05 is for images in [-1, 1]."""

    std: float = setting(0.05, "standard deviation, in units of the measurement; 0 for none", ge=0, lt=math.inf)

    def sample(self, clean: Tensor, rng: Rng) -> Tensor:
        """Draws from stream ``noise``; nothing where there is none."""
        return clean + self.std * rng.at("noise").normal(clean) if self.std else clean

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        """The normal log-density. Raises ``Unsupported`` for ``std = 0``, which has none."""
        if not self.std:
            raise Unsupported("a measurement without noise has no likelihood: set std above 0")
        return -0.5 * ((y - clean) / self.std) ** 2 - math.log(self.std * math.sqrt(2 * math.pi))

    def variance(self, y: Tensor) -> float:
        """``std^2``."""
        return self.std**2


@attrs.frozen(kw_only=True)
class PoissonNoise(Noise):
    """Counts: ``n ~ Poisson(peak u)`` with ``u = (clean - low)/(high - low)``, given back as ``y`` on clean's scale.

    ``y = low + (high - low) n/peak``; negative intensities are dark. The experiments of Chung et al., 2023,
    arXiv:2209.14687, take a peak of 255 for images in [-1, 1]. Below ``1e-3`` expected counts the likelihood is that
    of ``1e-3``, so that it stays finite.
    """

    peak: float = setting(255.0, "expected count at the value high", gt=0, lt=math.inf)
    low: float = setting(-1.0, "the value of darkness")
    high: float = setting(1.0, "the value of the peak")

    def __attrs_post_init__(self) -> None:
        if not self.low < self.high:
            raise SpecError(f"low must be below high, got low={self.low:g}, high={self.high:g}")

    def sample(self, clean: Tensor, rng: Rng) -> Tensor:
        """By inversion of the distribution function, from one uniform an entry of stream ``noise``; no gradient."""
        u = rng.at("noise").uniform(clean.detach().double().cpu(), open_interval=True)
        rate = self._counts(clean.detach()).clamp_min(0).double().cpu()
        counts = torch.from_numpy(poisson.ppf(u.numpy(), rate.numpy())).to(clean)
        return self.low + (self.high - self.low) / self.peak * counts

    def log_prob(self, y: Tensor, clean: Tensor) -> Tensor:
        """``n log rate - rate - log n!``."""
        n, rate = self._counts(y), self._counts(clean).clamp_min(1e-3)
        return n * rate.log() - rate - torch.lgamma(n + 1)

    def variance(self, y: Tensor) -> Tensor:
        """That of a rate equal to the count, or to 1 where none was counted."""
        return ((self.high - self.low) / self.peak) ** 2 * self._counts(y).clamp_min(1.0)

    def _counts(self, value: Tensor) -> Tensor:
        return self.peak * (value - self.low) / (self.high - self.low)
