"""The exact world of bridges: from one mixture to another, through fields that are known at every time."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.contracts.guidance import Guidance
from suffuse.contracts.process import Process
from suffuse.contracts.sampler import Sampler
from suffuse.testing.composition.gaussian import MIXTURE
from suffuse.testing.interpolants import bridge_system
from suffuse.testing.mixture import GaussianMixture

__all__ = ["sample"]

BASE = GaussianMixture.ring(4, radius=2.0, std=0.4)


def sample(process: Process, sampler: Sampler, guidance: Guidance | None, seed: int, n: int) -> Tensor:
    """Data that started from draws of the other end."""
    start = BASE.sample(torch.Generator().manual_seed(seed + 1), n)
    system = bridge_system(MIXTURE, BASE, process, sampler=sampler, guidance=guidance)
    x = system.sample(start=start, seed=seed, dtype=torch.float64)
    assert isinstance(x, Tensor)
    return x
