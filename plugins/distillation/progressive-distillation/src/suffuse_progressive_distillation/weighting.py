"""The paper's loss weights, each published for the error of x0."""

from __future__ import annotations

from abc import abstractmethod

import attrs
import torch
from torch import Tensor

from suffuse.contracts.objective import Weighting
from suffuse.contracts.prediction import Mix
from suffuse.contracts.process import Gaussian, as_time
from suffuse.state import require

__all__ = ["Snr", "SnrPlusOne", "TruncatedSnr"]


class _OfSnr:
    """``numerator/(alpha b - sigma a)^2`` for an output that means ``a x_0 + b eps``, ``numerator/sigma^2`` for x0.

    An output's error is ``(alpha b - sigma a)/sigma`` times that of x0.
    """

    @abstractmethod
    def numerator(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """``sigma^2`` times the weight of x0's squared error."""

    def weight(self, process: Gaussian, t: Tensor, mix: Mix) -> Tensor:
        """Float64, of the shape of t. ``Unsupported`` where the output says nothing of x0 (eps at zero signal)."""
        alpha, sigma = process.scalars(as_time(t))
        w = self.numerator(alpha, sigma) / (alpha * mix[1] - sigma * mix[0]) ** 2
        require(w.isfinite(), "this weight is infinite at this noise level for what this network predicts")
        return w


@attrs.frozen(kw_only=True)
class Snr(_OfSnr, Weighting):
    """``alpha^2/sigma^2``: DDPM's simple loss of eps. It vanishes without signal, so one step cannot be learned by it.

    Salimans and Ho 2022, arXiv:2202.00512, section 4.
    """

    def numerator(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """``alpha^2``."""
        return alpha**2


@attrs.frozen(kw_only=True)
class TruncatedSnr(_OfSnr, Weighting):
    """``max(alpha^2/sigma^2, 1)``, so ``max(|x0 error|^2, |eps error|^2)`` (arXiv:2202.00512, section 4)."""

    def numerator(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """``max(alpha^2, sigma^2)``."""
        return torch.maximum(alpha**2, sigma**2)


@attrs.frozen(kw_only=True)
class SnrPlusOne(_OfSnr, Weighting):
    """``1 + alpha^2/sigma^2``: variance preserving, ``|v error|^2`` (arXiv:2202.00512, section 4)."""

    def numerator(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """``alpha^2 + sigma^2``."""
        return alpha**2 + sigma**2
