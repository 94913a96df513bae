"""Filling in what is missing by putting back what is known."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Carry, Step, StepInfo
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, same_form, size
from suffuse.system import System

__all__ = ["Replace"]


@attrs.frozen(kw_only=True)
class Replace(Guidance):
    """After each step to time s, known elements of the state become ``x_s ~ q(x_s | known)``; the rest is sampled.

    Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021, arXiv:2011.13456,
    appendix I.2. With ``resamplings`` r > 1 each step is followed by ``x_t ~ q(x_t | x_s)`` and taken again, r times in
    all, so that what is sampled agrees better with what is known: Lugmayr et al., RePaint, 2022, arXiv:2201.09865,
    algorithm 1 with jumps of one step. The last step, to no noise, is taken once. A step then costs r times as much.

    The condition's entries ``known`` (data; what it holds where it is not known does not matter, if finite) and
    ``mask`` (bool, True where known), both shaped like the data, are read here and not by the model. Known data come
    back as they were, up to the codec. Any sampler of one step's memory; one that remembers earlier steps remembers
    them as they were before known elements were put back.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})
    reads: ClassVar[frozenset[str]] = frozenset({"known", "mask"})

    resamplings: int = setting(1, "how often each step is taken; 1 is plain replacement", ge=1)

    def step(self, inner: Step, system: System) -> Step:
        """The step with what is known put back. Streams: ``known`` and, from the second time on, ``again``."""

        def step(system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
            process = system.process
            if not isinstance(process, Gaussian):
                raise Unsupported(f"replacement needs a Gaussian process, got {type(process).__name__}")
            known, mask = _known(system, carry)
            noisy = bool((s > 0).any())
            rounds = self.resamplings if noisy and bool((s < t).all()) else 1
            now, nfe = carry, 0
            for i in range(rounds):
                mine = rng if i == 0 else rng.at("again", i)
                if i:
                    now = attrs.evolve(carry, x=process.renoise(now.x, s, t, rng=mine.at("renoise")))
                now, info = inner(system, now, t, s, mine)
                there = process.corrupt(known, s, rng=mine.at("known")).x_t if noisy else process.mean(known, s)
                assert isinstance(there, Tensor)
                assert isinstance(now.x, Tensor)
                now = attrs.evolve(now, x=torch.where(mask, there.to(now.x), now.x))
                nfe += info.nfe
            return now, attrs.evolve(info, x_t=carry.x, x_s=now.x, nfe=nfe, transition=None)

        return step


def _known(system: System, carry: Carry) -> tuple[State, Tensor]:
    cond: Condition = carry.cond
    if missing := {"known", "mask"} - set(cond):
        raise InvalidInput(f"replacement needs the condition's entries known and mask, got no {sorted(missing)}")
    mask = cond["mask"]
    known = system.codec.encode(cond["known"])
    if carry.n == 0:
        like = system.space.like(size(carry.x))
        same_form(mask, like, "the mask")
        if mask.dtype != torch.bool:
            raise InvalidInput(f"the mask must be bool, True where known, got {mask.dtype}")
        system.space.check(known)
    return known, mask
