"""Classifier-free guidance of a denoiser."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoise, evaluate_many
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Prediction
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State, expand, promote, tree_map
from suffuse.system import System

__all__ = ["Cfg"]


@attrs.frozen(kw_only=True)
class Cfg(Guidance):
    """``uncond + w (cond - uncond)`` with ``w = scale``: 1 is off, 0 unconditional, above 1 guides.

    Ho and Salimans, Classifier-Free Diffusion Guidance, 2022, arXiv:2207.12598, equation 6, whose weight is w - 1.
    The combination is taken in the model's own parameterization. x0, eps, v and score are affine in one another at a
    given x_t, so all of them are guided alike; logits are combined as they are.

    Both branches share one batched call, and ``nfe`` counts both. At scale 1 and 0 only one branch is evaluated. In
    rows whose entries are absent from the condition the branches agree, so those rows are not guided.

    ``rescale`` (Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, 2024, arXiv:2305.08891,
    section 3.4) brings each sample's standard deviation, over all its elements, back towards that of the
    conditional branch: the value is multiplied by ``rescale std(cond)/std(guided) + 1 - rescale``. It does depend on
    the parameterization (theirs is v).

    The denoiser raises ``InvalidInput`` for an empty condition (unless off).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"conditional"})

    scale: float = setting(
        1.5,
        "w: 1 is off, 0 is unconditional",
        check=lambda w: None if math.isfinite(w) else f"expected a finite number, got {w!r}",
    )
    rescale: float = setting(0.0, "how far to restore the conditional standard deviation; 0 is off", ge=0, le=1)
    entries: tuple[str, ...] = setting((), "the condition's entries that guide; all if none is named")

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """The guided denoiser; ``inner`` itself at scale 1."""
        if self.scale == 1:
            return inner

        def denoise(
            x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
        ) -> Prediction:
            if not cond.without(system.reads):  # what another guidance reads is the same in both branches
                raise InvalidInput("cfg needs a condition: give --cond label=3")
            dropped = cond.drop(*self.entries)
            if self.scale == 0:
                return inner(x_t, t, dropped, s=s, rng=rng)
            uncond, given = evaluate_many(inner, x_t, t, [dropped, cond], s=s, rng=rng)
            guided = uncond.affine([self.scale], [given])
            return guided if self.rescale == 0 else self._rescaled(guided, given)

        return denoise

    def _rescaled(self, guided: Prediction, given: Prediction) -> Prediction:
        def leaf(value: Tensor, like: Tensor) -> Tensor:
            std, goal = (promote(v).flatten(1).std(1, correction=0) for v in (value, like))
            ratio = torch.where(std > 0, goal / std, 1.0)
            return value * expand(self.rescale * ratio + (1 - self.rescale), value)

        return attrs.evolve(guided, value=tree_map(leaf, guided.value, given.value))
