"""The time grid: noise levels evenly spaced after a root of order rho."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.contracts.sampler import Grid
from suffuse.errors import SpecError, Unsupported

__all__ = ["Rho"]


@attrs.frozen(kw_only=True)
class Rho(Grid):
    """``sigma_i = (sigma_max^(1/rho) + i/(N-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho``, i = 0 .. N - 1.

    Karras et al. 2022, arXiv:2206.00364, equation 5, in ``sigma = sigma_t/alpha_t``, for any Gaussian process. The
    trajectory's end at zero is the terminal rule's. Where the process does not reach ``sigma_max``, its own highest
    level stands in for it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    sigma_min: float = setting(0.002, "the last noise level before zero", gt=0)
    sigma_max: float = setting(80.0, "the first noise level", gt=0)
    rho: float = setting(7.0, "how much shorter the steps at low noise are; 1 is evenly spaced", gt=0)

    def __attrs_post_init__(self) -> None:
        if self.sigma_min >= self.sigma_max:
            raise SpecError(
                f"sigma_min must be below sigma_max, got sigma_min={self.sigma_min:g}, sigma_max={self.sigma_max:g}"
            )

    def times(self, process: Process, steps: int) -> Tensor:
        """The times of these levels; one step is the highest alone.

        ``Unsupported`` where the whole process lies above ``sigma_min`` or below it.
        """
        if not isinstance(process, Gaussian):
            raise Unsupported(f"a grid of noise levels needs a Gaussian process, got {type(process).__name__}")
        alpha, sigma = process.scalars(as_time([0.0, 1.0]))
        lowest, highest = (sigma / alpha).tolist()
        if not lowest < self.sigma_min < highest:
            raise Unsupported(
                f"{type(process).__name__} has noise levels from {lowest:g} to {highest:g}: "
                f"sigma_min must lie between, got {self.sigma_min:g}"
            )
        top = min(self.sigma_max, highest)
        ends = torch.tensor([top, self.sigma_min], dtype=torch.float64)
        first, last = ends ** (1 / self.rho)
        ramp = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
        levels = (first + ramp * (last - first)) ** self.rho
        levels[-1], levels[0] = ends[1], ends[0]  # the power rounds
        times = process.time(-2 * levels.log())
        if top == highest:
            times[0] = 1.0  # the inverse rounds
        return times
