"""The sub-sequences of a chain that the paper samples on."""

from __future__ import annotations

from itertools import accumulate

import attrs
import torch
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.steps import time_of
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Process
from suffuse.contracts.sampler import Grid
from suffuse.errors import Unsupported

__all__ = ["Spaced"]


@attrs.frozen(kw_only=True)
class Spaced(Grid):
    """K whole steps of a chain of T, evenly spaced from 1 to T, both included, and rounded.

    Nichol and Dhariwal 2021, arXiv:2102.09672, section 4. Rounding follows the authors' code: strides are added up in
    float64, halves go to the even index (n - 1). Unlike ``ddpm/strided``, the last step before t = 0 is the chain's own
    first one.
    """

    T: int | None = setting(None, "steps of the chain; by default those of the process", ge=1)

    def times(self, process: Process, steps: int) -> Tensor:
        """Float64 ``(steps,)``; ``Unsupported`` for fewer than 2 steps, more than T, or where nothing says T."""
        T = process.T if self.T is None and isinstance(process, Discrete) else self.T
        if T is None:
            raise Unsupported(f"{type(process).__name__} has no steps of its own: give Spaced(T=...)")
        if not 2 <= steps <= T:
            raise Unsupported(f"a chain of T={T} has sub-sequences of 2 to {T} steps with both ends, got steps={steps}")
        strides = [(T - 1) / (steps - 1)] * (steps - 1)
        n = torch.tensor([1 + round(at) for at in accumulate(strides, initial=0.0)])
        return time_of(n.flip(0), T)
