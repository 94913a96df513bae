"""Noise levels at which renderings are scored."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.objective import Times
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian, Process
from suffuse.errors import SpecError
from suffuse.rng import Rng

__all__ = ["LogUniform", "Ticks"]


@attrs.frozen(kw_only=True)
class Ticks(Times):
    """``t = i/T``, i uniform on ``low < i <= T - high``: a step of a chain, but for the ends.

    The published code takes the 1000 levels of Stable Diffusion's chain without the 30 highest and the 10 lowest.
    """

    steps: int = setting(1000, "T, the chain's steps", ge=1)
    low: int = setting(10, "steps left out next to the data", ge=0)
    high: int = setting(30, "steps left out next to the prior", ge=0)

    def __attrs_post_init__(self) -> None:
        if self.low + self.high >= self.steps:
            raise SpecError(f"low + high must be below {self.steps} steps, got {self.low} + {self.high}", path="steps")

    def draw(self, process: Process, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Times and unit weights."""
        i = rng.at("times").integers(self.low + 1, self.steps - self.high + 1)
        t = i.double() / self.steps
        return t, torch.ones_like(t)


@attrs.frozen(kw_only=True)
class LogUniform(Times):
    """``ln(sigma_t/alpha_t)`` uniform between two noise levels, in units of the data."""

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    low: float = setting(0.05, "lowest sigma/alpha", gt=0)
    high: float = setting(1.5, "highest sigma/alpha", gt=0)

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            raise SpecError(f"low must be at most high, got low={self.low}, high={self.high}", path="low")

    def draw(self, process: Gaussian, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Times and unit weights; levels that the process does not reach become its nearest."""
        u = rng.at("times").uniform(torch.empty(n, dtype=torch.float64, device=rng.device))
        level = math.log(self.low) + u * (math.log(self.high) - math.log(self.low))
        t = process.time(-2 * level)
        return t, torch.ones_like(t)
