"""The discretised Gaussian: the probability of a level under a Gaussian over a continuous axis."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.special import log_ndtr

__all__ = ["log_level_probability"]


def log_level_probability(x: Tensor, mean: Tensor, std: Tensor, levels: int) -> Tensor:
    """``log P(level of x)`` under ``N(mean, std^2)``, element by element, in nats.

    x holds values ``-1 + 2 k/(levels - 1)``. Each level owns the bin halfway to its neighbours; the bins of -1 and 1
    are open (Ho et al. 2020, arXiv:2006.11239, eq. 13). By differences of log-probabilities, so it is finite and has
    a gradient however far off the mean is. ``std`` broadcasts against x.
    """
    half = 1 / (levels - 1)
    # The side of the mean does not matter, and on the lower side no digits are lost.
    flip = torch.where(x > mean, -1.0, 1.0)
    centre = flip * (x - mean)
    low, high = log_ndtr((centre - half) / std), log_ndtr((centre + half) / std)
    inner = high + torch.log(-torch.expm1((low - high).clamp_max(-torch.finfo(x.dtype).tiny)))
    lowest, highest = log_ndtr((x + half - mean) / std), log_ndtr((mean - x + half) / std)
    return torch.where(x < -1 + half, lowest, torch.where(x > 1 - half, highest, inner))
