"""The exact world of discrete processes: sequences of three tokens out of four, whose joint law is a table."""

from __future__ import annotations

import torch

from suffuse.contracts.guidance import Guidance
from suffuse.contracts.process import Process
from suffuse.contracts.sampler import Sampler
from suffuse.testing.discrete import Joint, counts, joint_system, total_variation, variation_bound

__all__ = ["share"]

LAW = Joint.random(3, 4, seed=3)
SAMPLES = 4000


def share(process: Process, sampler: Sampler, guidance: Guidance | None, seed: int, delta: float) -> float:
    """Total variation between samples and the table, in units of what exact draws exceed with probability delta."""
    x = joint_system(LAW, process, sampler=sampler, guidance=guidance).sample(SAMPLES, seed=seed)
    assert isinstance(x, torch.Tensor)
    found = total_variation(counts(x, LAW.symbols) / SAMPLES, LAW.table)
    return found / variation_bound(LAW.table, SAMPLES, delta)
