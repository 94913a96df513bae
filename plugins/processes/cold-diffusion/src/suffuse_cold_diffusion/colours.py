"""The law of flat images that generation by blurring starts from."""

from __future__ import annotations

import math
from typing import Self

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Law
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, promote
from suffuse_cold_diffusion.chain import images

__all__ = ["Colours"]


@attrs.frozen(eq=False, kw_only=True)
class Colours(Law):
    """``x = c + broken z``: one Gaussian colour for a whole image, and noise on each pixel.

    Bansal et al. 2022, arXiv:2208.09392, section 5.2: a Gaussian fitted to the data's channel means; with
    ``broken = 0.002`` (there "broken symmetry") the samples differ more.
    """

    mean: tuple[float, ...]
    covariance: tuple[float, ...]
    like: Tensor
    broken: float = 0.0

    def __attrs_post_init__(self) -> None:
        if self.like.shape[1] != len(self.mean):
            raise InvalidInput(f"expected images of {len(self.mean)} channels, got {self.like.shape[1]}")

    @classmethod
    def fit(cls, data: Tensor) -> Self:
        """The maximum-likelihood colours of images ``(n, C, H, W)``; unbiased covariance."""
        colours = images(data).double().mean((2, 3))
        covariance = torch.cov(colours.T).reshape(-1)
        return cls(mean=tuple(colours.mean(0).tolist()), covariance=tuple(covariance.tolist()), like=data)

    def sample(self, rng: Rng) -> Tensor:
        """Colours of the stream ``colour``, pixels of the stream ``pixel``."""
        like = promote(self.like)
        mean, covariance = self._moments()
        values, vectors = torch.linalg.eigh(covariance)
        root = (vectors * values.clamp_min(0).sqrt()).to(like)
        z = rng.at("colour").normal(like[:, :, 0, 0])
        x = (mean.to(like) + z @ root.T)[:, :, None, None].expand_as(like)
        return x + self.broken * rng.at("pixel").normal(like) if self.broken else x.clone()

    def log_prob(self, x: State) -> Tensor:
        """``(B,)``, in nats. Raises ``Unsupported`` for ``broken = 0``: flat images have no density."""
        if not self.broken:
            raise Unsupported("flat images have no density: expected broken > 0")
        x = promote(images(x)).double()
        mean, covariance = self._moments()
        c, n = x.shape[1], x[0, 0].numel()
        own = x.mean((2, 3))
        # In an orthonormal basis of the pixels the first coordinate is sqrt(n) times the colour.
        spread = n * covariance.to(x) + self.broken**2 * torch.eye(c, dtype=x.dtype, device=x.device)
        white = torch.linalg.solve_triangular(
            root := torch.linalg.cholesky(spread), math.sqrt(n) * (own - mean.to(x)).T, upper=False
        )
        rest = (x - own[:, :, None, None]).square().sum((1, 2, 3)) / self.broken**2
        logs = root.diagonal().log().sum() + (n - 1) * c * math.log(self.broken)
        return -(white.square().sum(0) + rest) / 2 - logs - n * c / 2 * math.log(2 * math.pi)

    def _moments(self) -> tuple[Tensor, Tensor]:
        c = len(self.mean)
        return torch.tensor(self.mean, dtype=torch.float64), torch.tensor(self.covariance, dtype=torch.float64).view(
            c, c
        )
