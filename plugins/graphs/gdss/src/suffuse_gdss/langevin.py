"""Langevin correction."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.rng import Rng
from suffuse.state import State, combine, tree_map
from suffuse.system import System
from suffuse_gdss.process import Coefficients

__all__ = ["corrected"]


def corrected(
    system: System, x: State, score: State, alpha: Coefficients, rng: Rng, *, snr: float, scale: float
) -> State:
    """``x + e s + scale sqrt(2 e) z`` with ``e = 2 alpha^2 (snr |z|/|s|)^2``, for each leaf.

    Song et al. 2021, arXiv:2011.13456, algorithms 4 and 5, with GDSS's factor ``scale`` on the noise. Norms are of each
    sample's own leaf. ``alpha`` is the signal's factor over one step: ``alpha^2 = 1 - beta h`` for VP, 1 for VE.
    """
    z = system.space.noise(x, rng)
    size = tree_map(lambda v, w, a: _step(v, w, a, snr), score, z, alpha)
    spread = tree_map(lambda e: scale * (2 * e).sqrt(), size)
    return combine(1.0, combine(1.0, x, size, score), spread, z)


def _step(score: Tensor, z: Tensor, alpha: float | Tensor, snr: float) -> Tensor:
    """``(B,)``; 0 where there is no score, as for the mask."""
    s, n = (v.flatten(1).norm(dim=1) for v in (score, z))
    ratio = torch.where(s > 0, n / s.where(s > 0, torch.ones_like(s)), torch.zeros_like(s))
    return 2 * torch.as_tensor(alpha).to(s) ** 2 * (snr * ratio) ** 2
