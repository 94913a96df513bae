"""Probabilistic timestep sampling."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from suffuse_ddpm.times import Steps
from torch import Tensor

from suffuse.contracts.objective import Times
from suffuse.contracts.part import setting
from suffuse.contracts.process import Process
from suffuse.rng import Rng

__all__ = ["Ptss"]


@attrs.frozen(kw_only=True)
class Ptss(Times):
    """With probability p every frame of every sample has a time of its own, else each sample has one.

    Liu et al., 2024, arXiv:2410.03160. One coin for a batch, as in the released code: the times are
    ``(n, frames)`` for a batch of independent times and ``(n,)`` otherwise, so p = 0 is the ordinary objective, to the
    bit, for any network. Used as the ``times`` of ``ddpm/simple``.

    Each time is drawn from ``times``; where these carry importance weights, that of a sample is the product over its
    frames, which keeps the expectation. Streams: ``coin``, of the batch as a whole, and ``frame``.
    """

    joint: ClassVar[bool] = True

    frames: int = setting(16, "F, the frames of a video", ge=1)
    p: float = setting(0.2, "share of batches whose frames have independent times", ge=0, le=1)
    times: Times = setting(factory=Steps, doc="the law of each time")

    def draw(self, process: Process, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Times ``(n, frames)`` or ``(n,)``, and weights ``(n,)``."""
        coin = rng.pool().at("coin").uniform(torch.empty(1, dtype=torch.float64, device=rng.device))
        if not bool(coin < self.p):
            return self.times.draw(process, n, rng)
        draws = [self.times.draw(process, n, rng.at("frame", f)) for f in range(self.frames)]
        return torch.stack([t for t, _ in draws], dim=1), torch.stack([w for _, w in draws]).prod(0)
