"""The weighting that makes of denoising errors a likelihood."""

from __future__ import annotations

from typing import ClassVar, cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.objective import Weighting
from suffuse.contracts.prediction import Mix
from suffuse.contracts.process import Gaussian, as_time

__all__ = ["Likelihood"]


@attrs.frozen(kw_only=True)
class Likelihood(Weighting):
    """``-lambda'(t)/2`` on the squared error of eps, lambda the log-SNR.

    Integrated over all noise levels and summed over entries, half the errors' difference over log-SNR is the
    log-likelihood ratio of two laws, at every x (Guo, Shamai and Verdu 2005, arXiv:cs/0412108; pointwise: Kong et al.,
    Information-Theoretic Diffusion, 2023, arXiv:2302.03792, eq. 8). An output that means ``a x_0 + b eps`` is weighted
    by ``(alpha/(alpha b - sigma a))^2`` of it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    def weight(self, process: Gaussian, t: Tensor, mix: Mix) -> Tensor:
        """``(sigma'/sigma - alpha'/alpha) (alpha/(alpha b - sigma a))^2``."""
        (alpha, sigma), slope, (a, b) = process.scalars(as_time(t)), process.derivative(t), mix
        rate = cast(Tensor, slope.sigma) / sigma - cast(Tensor, slope.alpha) / alpha
        return torch.as_tensor(rate * (alpha / (alpha * b - sigma * a)) ** 2)
