"""The two sampling algorithms."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Degradation, Gaussian
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine, require
from suffuse.system import System
from suffuse_cold_diffusion.animorph import Animorph

__all__ = ["Improved", "Naive"]

_END = "kept: the condition's entry end, or for a morph the first state; estimated: from x_t and x_0, at each step"


@attrs.frozen(kw_only=True)
class Naive(Sampler):
    """``x_s = D(R(x_t, t), s)``: restore, and degrade again (arXiv:2208.09392, algorithm 1).

    ``end`` says which end D gets: see ``Improved``. Estimated, this is DDIM.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"degradation"})

    end: Literal["kept", "estimated"] = setting("kept", _END, choices=("kept", "estimated"))

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """From t to s; one evaluation."""
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        process, end = _process(system), _end(self.end, system, carry, prediction, t)
        return _taken(carry, t, s, prediction, process.degrade(prediction.x0, s, end=end), end)


@attrs.frozen(kw_only=True)
class Improved(Sampler):
    """``x_s = x_t - D(x_0, t) + D(x_0, s)``, ``x_0 = R(x_t, t)`` (arXiv:2208.09392, algorithm 2).

    Where D is linear in t, ``D = x + t e``, it returns x whatever R says: errors of the restoration cancel to first
    order, where algorithm 1 piles them up. Published with as many steps as the degradation has. Nothing is clipped.

    Degradations that keep something of a sample (a mask's centre, a layer of snow, a morph's other image) need it as
    their end. ``kept``: the condition's ``end``, and for a morph without one the state that the walk began with ("fixed
    noise" in section 5.1). ``estimated``: for Gaussian schedules, ``(x_t - alpha_t x_0)/sigma_t`` at every step
    ("estimated noise"), which makes a step that of DDIM. s > t degrades further.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"degradation"})

    end: Literal["kept", "estimated"] = setting("kept", _END, choices=("kept", "estimated"))

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """From t to s; one evaluation."""
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        process, end = _process(system), _end(self.end, system, carry, prediction, t)
        now, then = (process.degrade(prediction.x0, u, end=end) for u in (t, s))
        x_s = combine(1.0, combine(1.0, carry.x, -1.0, now), 1.0, then)
        return _taken(carry, t, s, prediction, x_s, end)


def _process(system: System) -> Degradation:
    process = system.process
    if not isinstance(process, Degradation):
        raise Unsupported(f"cold diffusion needs a degradation, got {type(process).__name__}")
    return process


def _end(which: str, system: System, carry: Carry, prediction: Prediction, t: Tensor) -> State | None:
    process = system.process
    if which == "kept":
        kept: State | None = carry.memory.get("end", carry.cond.get("end"))
        return carry.x if kept is None and isinstance(process, Animorph) else kept
    if not isinstance(process, Gaussian):
        raise Unsupported(f"an end is estimated under Gaussian schedules only, not under {type(process).__name__}")
    _, sigma = process.scalars(t)
    require(sigma > 0, "no end can be estimated from a state without any of it: start above t = 0")
    return process.whiten(combine(1.0, carry.x, -1.0, process.mean(prediction.x0, t)), t)


def _taken(
    carry: Carry, t: Tensor, s: Tensor, prediction: Prediction, x_s: State, end: State | None
) -> tuple[Carry, StepInfo]:
    info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe)
    return carry.advance(x_s, {} if end is None else {"end": end}), info
