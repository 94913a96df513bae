"""The sub-sequences of the released code, over a chain of T steps: t = n/T for step n = 1 .. T."""

from __future__ import annotations

from itertools import accumulate

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Process
from suffuse.contracts.sampler import Grid
from suffuse.errors import Unsupported

__all__ = ["Leading", "Quadratic"]


@attrs.frozen(kw_only=True)
class Leading(Grid):
    """Every k-th step of the chain, ``n_i = 1 + i floor(T/S)``: "linear" in the paper (appendix D.2).

    As in the released code the sequence holds step 1, so it starts ``T/S - 1`` steps below T.
    """

    chain: int = setting(1000, "T, the steps of the chain that the model was trained on", ge=2)

    def times(self, process: Process, steps: int) -> Tensor:
        """``n_i/T``, descending. Raises ``Unsupported`` unless ``2 <= steps <= chain``."""
        _check(steps, self.chain)
        skip = self.chain // steps
        return _descending([1 + i * skip for i in range(steps)], self.chain)


@attrs.frozen(kw_only=True)
class Quadratic(Grid):
    """``n_i = 1 + floor(v_i)``, v the squares of S even values from 0 to ``sqrt(0.8 T)``: the paper's for CIFAR-10.

    In appendix D.2 of the paper and in the released code. Where rounding down would repeat a step, the next one is
    taken; the released code repeats it, which costs an evaluation and moves nothing.
    """

    chain: int = setting(1000, "T, the steps of the chain that the model was trained on", ge=2)

    def times(self, process: Process, steps: int) -> Tensor:
        """``n_i/T``, descending. Raises ``Unsupported`` unless ``2 <= steps <= chain``."""
        _check(steps, self.chain)
        floors = (4 * self.chain * i * i // (5 * (steps - 1) ** 2) for i in range(steps))
        return _descending(list(accumulate((1 + v for v in floors), lambda last, n: max(n, last + 1))), self.chain)


def _check(steps: int, chain: int) -> None:
    if not 2 <= steps <= chain:
        raise Unsupported(f"this grid takes from 2 to {chain} steps (the chain), got steps={steps}")


def _descending(n: list[int], chain: int) -> Tensor:
    return torch.tensor(n, dtype=torch.float64).flip(0) / chain
