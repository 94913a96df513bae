"""Ancestral sampling, the grid it walks, and how it ends."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Discrete, Process
from suffuse.contracts.sampler import Carry, Grid, Sampler, Step, StepInfo, Terminal
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.system import System

__all__ = ["Ancestral", "CosineGrid", "Decode"]


@attrs.frozen(kw_only=True)
class CosineGrid(Grid):
    """``t_i = cos(pi/2 (1 - r))``, ``r = 1 - i/steps``: few tokens at first, then more and more.

    Shi et al. 2024, arXiv:2406.04329, section 4. With the linear schedule it is nearly the path of the cosine
    schedule on a uniform grid; do not use both cosines.
    """

    def times(self, process: Process, steps: int) -> Tensor:
        """Float64, from 1 down."""
        return torch.sin(math.pi / 2 * (1 - torch.arange(steps, dtype=torch.float64) / steps))


@attrs.frozen(kw_only=True)
class Decode(Terminal):
    """One more step, to t = 0, then tokens that are still no data become the likeliest symbols at t = 0.

    It costs one evaluation more where states have symbols that data lack. The step has no ``transition`` then, as what
    is filled in is a function of what was drawn.
    """

    def close(self, times: Tensor) -> Tensor:
        """The grid and 0."""
        return torch.cat([times, times.new_zeros(1)])

    def last(self, step: Step) -> Step:
        """The step, and the filling in."""

        def decoded(system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
            after, info = step(system, carry, t, s, rng)
            process = discrete(system)
            if process.states == process.symbols or not isinstance(after.x, Tensor):
                return after, info
            p = system.denoise(after.x, s, carry.cond, rng=rng.at("decode"))
            x = torch.where(after.x < process.symbols, after.x, p.logits.argmax(-1))
            told = attrs.evolve(info, x_s=x, nfe=info.nfe + p.nfe, transition=None)
            return attrs.evolve(after, x=x), told

        return decoded


@attrs.frozen(kw_only=True)
class Ancestral(Sampler):
    """``x_s ~ sum_v mu_v q(x_s | x_t, x_0 = v)`` with ``mu = softmax(logits)``, every position by itself.

    Shi et al. 2024, arXiv:2406.04329, section 4 and appendix G: one categorical over the K symbols and the mask, not a
    symbol first and then whether to show it, which is the same law but loses more to rounding. Any discrete process
    will do. ``steps`` is that of the paper's text8; images there take 256.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"discrete", "logits"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(1000, "steps of the chain", ge=1)
    grid: Grid = setting(factory=CosineGrid, doc="where the grid points lie")
    terminal: Terminal = setting(factory=Decode, doc="how the trajectory ends")

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """One evaluation; stream ``step``. ``Unsupported`` for s above t."""
        p = system.denoise(carry.x, t, carry.cond, s=s, rng=rng)
        law = discrete(system).posterior(carry.x, p.logits.softmax(-1), t, s)
        x = law.sample(rng.at("step"))
        return carry.advance(x), StepInfo(x_t=carry.x, x_s=x, t=t, s=s, prediction=p, nfe=p.nfe, transition=law)


def discrete(system: System) -> Discrete:
    """The system's process. Raises ``Unsupported`` for one of other states than tokens."""
    if not isinstance(system.process, Discrete):
        raise Unsupported(f"expected a process of tokens, got {type(system.process).__name__}")
    return system.process
