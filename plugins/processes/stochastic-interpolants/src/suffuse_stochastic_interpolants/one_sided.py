"""One-sided interpolants: the other end is Gaussian, so the interpolant is a Gaussian process like any other."""

from __future__ import annotations

import math
from typing import Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian, Kernel, as_time
from suffuse.state import require

__all__ = ["OneSided"]


@attrs.frozen(kw_only=True)
class OneSided(Gaussian):
    """``x_t = alpha(t) x_0 + sigma(t) z``, ``z ~ N(0, I)`` (arXiv:2303.08797, section 3.2), in ``t = 1 - t_paper``.

    ``linear`` ``(1 - t, t)``; ``trigonometric`` ``(cos, sin)(pi t/2)``; ``score-based``
    ``(1 - t, sqrt(1 - (1 - t)^2))``, the variance-preserving diffusion of the paper's section 5.1, whose sigma' is
    infinite at t = 0. Any sampler, objective or guidance for Gaussian processes takes it.
    """

    shape: Literal["linear", "trigonometric", "score-based"] = setting(
        "linear", "the curves alpha, sigma", choices=("linear", "trigonometric", "score-based")
    )

    def kernel(self, t: Tensor) -> Kernel:
        """``(alpha, sigma)``."""
        t = as_time(t)
        if self.shape == "linear":
            return Kernel(1 - t, t)
        if self.shape == "trigonometric":
            return Kernel(torch.sin(math.pi / 2 * (1 - t)), torch.sin(math.pi / 2 * t))
        return Kernel(1 - t, (t * (2 - t)).sqrt())

    def derivative(self, t: Tensor) -> Kernel:
        """``(alpha', sigma')``. Raises ``Unsupported`` at t = 0 of the score-based shape."""
        t, half = as_time(t), math.pi / 2
        if self.shape == "linear":
            return Kernel(-torch.ones_like(t), torch.ones_like(t))
        if self.shape == "trigonometric":
            return Kernel(-half * torch.sin(half * t), half * torch.sin(half * (1 - t)))
        require(t > 0, "the score-based shape has no finite sigma' at t = 0: stop before it")
        return Kernel(-torch.ones_like(t), (1 - t) / (t * (2 - t)).sqrt())

    def time(self, log_snr: Tensor) -> Tensor:
        """From ``sigma/alpha = exp(-log_snr/2)``."""
        log_snr = as_time(log_snr)
        if self.shape == "linear":
            return torch.sigmoid(-log_snr / 2)
        if self.shape == "trigonometric":
            return torch.atan(torch.exp(-log_snr / 2)) * 2 / math.pi
        # 1 - t = alpha = sigmoid(log_snr)^(1/2); t = sigma^2/(1 + alpha) keeps its digits near 0.
        return torch.sigmoid(-log_snr) / (1 + torch.sigmoid(log_snr).sqrt())
