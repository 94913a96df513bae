"""Reflection between a strong and a weak model."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
from torch import Tensor

from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoise, Denoiser
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Carry, Step, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine
from suffuse.system import System

__all__ = ["Reflection"]


@attrs.frozen(kw_only=True)
class Reflection(Guidance):
    """Before a step from t to s, go down to s with the strong model and back up to t with the weak one:

        y = alpha_s x0_S(x, t) + sigma_s eps_S(x, t),
        x <- alpha_t/alpha_s y + (sigma_t - sigma_s alpha_t/alpha_s) eps_W(y, t).

    The state moves by ``k (eps_W - eps_S)`` with ``k = sigma_t - sigma_s alpha_t/alpha_s > 0``, so along
    ``score_S - score_W``: what separates the strong model from the weak stands in for what separates the data from the
    strong model (Bai et al., Weak-to-Strong Diffusion with Reflection, 2025, arXiv:2502.00473, algorithm 1).

    Any pair serves: another network, or another guidance of the same one (the paper's LoRA scales 1.5 and -1.5, CFG
    scales 5.5 and 1). Then follows the system's own step, with any sampler. A reflected step costs one evaluation of
    each of the two more. The last step is not reflected, nor are steps that go up.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    weak: Denoiser | None = setting(None, "the weak model; the system's own if none is named")
    weak_guidance: Guidance | None = setting(None, "the weak side's guidance; none if none is named")
    strong: Denoiser | None = setting(None, "the strong model; the system's own if none is named")
    strong_guidance: Guidance | None = setting(
        None, "the strong side's guidance; what the system has if neither it nor a strong model is named"
    )
    level: Literal["t", "s"] = setting(
        "t",
        "the noise level that the weak model is told of y: t as in the authors' code, or s, which y has",
        choices=("t", "s"),
    )
    reflected: int | None = setting(
        None, "how many steps from the first are reflected; all but the last if not said", ge=0
    )

    def step(self, inner: Step, system: System) -> Step:
        """The reflected step."""
        process = system.process
        if not isinstance(process, Gaussian):
            raise Unsupported(f"reflection needs a Gaussian process, got {type(process).__name__}")
        own = self.strong is None and self.strong_guidance is None
        strong = system.denoise if own else _side(system, self.strong, self.strong_guidance)
        weak = _side(system, self.weak, self.weak_guidance)

        def step(system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
            enough = self.reflected is not None and carry.n >= self.reflected
            if enough or s >= t or s <= system.points[-1]:
                return inner(system, carry, t, s, rng)
            x, nfe = self._reflect(process, strong, weak, carry, t, s, rng.at("reflection"))
            after, info = inner(system, attrs.evolve(carry, x=x), t, s, rng)
            return after, attrs.evolve(info, x_t=carry.x, nfe=info.nfe + nfe)

        return step

    def _reflect(
        self, process: Gaussian, strong: Denoise, weak: Denoise, carry: Carry, t: Tensor, s: Tensor, rng: Rng
    ) -> tuple[State, int]:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = process.scalars(t), process.scalars(s)
        down = strong(carry.x, t, carry.cond, s=s, rng=rng.at("strong"))
        y = combine(alpha_s, down.x0, sigma_s, down.eps)
        up = weak(y, t if self.level == "t" else s, carry.cond, s=t, rng=rng.at("weak"))
        ratio = alpha_t / alpha_s
        return combine(ratio, y, sigma_t - sigma_s * ratio, up.eps), down.nfe + up.nfe


def _side(system: System, model: Denoiser | None, guidance: Guidance | None) -> Denoise:
    """The denoiser of one side. What the whole system's guidance reads is not for its model."""
    side = attrs.evolve(system, model=model or system.model, guidance=guidance, sampler=None)
    own, theirs = side.denoise, system.reads - side.reads
    if not theirs:
        return own
    return lambda x_t, t, cond, *, s=None, rng=None: own(x_t, t, cond.without(theirs), s=s, rng=rng)
