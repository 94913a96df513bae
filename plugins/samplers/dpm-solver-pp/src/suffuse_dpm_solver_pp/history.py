"""What a multistep solver keeps in the carry: ``times`` and ``x0``, newest first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Carry, Sampler
from suffuse.state import State
from suffuse.system import System
from suffuse_dpm_solver_pp.integrator import Point, gaussian, lambda_of

__all__ = ["past", "remember", "tapered"]


def past(process: Gaussian, carry: Carry, t: Tensor, s: Tensor, most: int) -> list[Point]:
    """The data predictions before t, newest first, at most ``most``.

    As far as the way to s runs straight on from them, through finite lambdas: a trajectory that was turned back
    (renoised, corrected in place) starts anew, and so do the steps beside an end of time where lambda is infinite.
    """
    here = lambda_of(process, t)
    h = lambda_of(process, s) - here
    found: list[Point] = []
    for u, x0 in list(zip(carry.memory.get("times", ()), carry.memory.get("x0", ()), strict=True))[:most]:
        behind = lambda_of(process, u)
        onwards = (here - behind) * h
        if not (0 < float(onwards) < math.inf if onwards.ndim == 0 else _all_onwards(onwards)):
            break
        found.append((behind, x0))
        here = behind
    return found


def _all_onwards(steps: Tensor) -> bool:
    return bool(((steps > 0) & steps.isfinite()).all())


def remember(carry: Carry, t: Tensor, x0: State, most: int) -> Mapping[str, Any]:
    """The memory of the next step: this prediction before the earlier ones, ``most`` in all."""
    memory = carry.memory
    times, predictions = (t, *memory.get("times", ())), (x0, *memory.get("x0", ()))
    return {**memory, "times": times[:most], "x0": predictions[:most]}


def tapered(sampler: Sampler, system: System, t: Tensor, order: int) -> int:
    """The order, at most the number of steps that are left on the sampler's own grid, if that has fewer than 10."""
    if sampler.steps > 10:
        return order
    own = sampler is system.sampler
    times = system.points if own else sampler.times(gaussian(system.process)).unbind()
    return order if len(times) > 10 else max(1, min(order, sum(bool(u < t.min()) for u in times)))
