"""The sub-sequence of the released code, over a chain of T steps: t = n/T for step n = 1 .. T."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Process
from suffuse.contracts.sampler import Grid
from suffuse.errors import Unsupported

__all__ = ["Quadratic"]


@attrs.frozen(kw_only=True)
class Quadratic(Grid):
    """``n_i = T - floor(T sqrt(i/(S - 1)))``, i = 0 .. S - 1, and 1 in the end: thicker towards the data.

    The roots of even values, counted from the noisy end ("quad" in the code of Zhu et al. 2023, arXiv:2305.08995).
    DDIM's, in ``ddim/quadratic``, are squares counted from the other end.
    """

    chain: int = setting(1000, "T, the steps of the chain that the model was trained on", ge=3)

    def times(self, process: Process, steps: int) -> Tensor:
        """``n_i/T``, descending. Raises ``Unsupported`` unless ``2 <= steps <= (chain + 1)/2``: more would repeat."""
        if not 2 <= steps <= (self.chain + 1) // 2:
            raise Unsupported(f"this grid takes from 2 to {(self.chain + 1) // 2} steps, got steps={steps}")
        # floor(sqrt(q)) is the integer root of floor(q): nothing rounds.
        n = [self.chain - math.isqrt(self.chain**2 * i // (steps - 1)) for i in range(steps - 1)]
        return torch.tensor([*n, 1], dtype=torch.float64) / self.chain
