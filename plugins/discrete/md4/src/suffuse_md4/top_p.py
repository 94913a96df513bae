"""Nucleus sampling of each token."""

from __future__ import annotations

from typing import ClassVar

import attrs
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoise
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Logits, Prediction
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System

__all__ = ["TopP"]

_NEVER = -1e7  # not -inf, which other guidance could not combine


@attrs.frozen(kw_only=True)
class TopP(Guidance):
    """Of each token's symbols keeps the likeliest whose probabilities reach ``p``; the others are never drawn.

    Holtzman et al., The Curious Case of Neural Text Degeneration, 2020, arXiv:1904.09751; with p = 0.98 the authors'
    option for masked diffusion (Shi et al. 2024, arXiv:2406.04329). p = 1 is off.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    space: ClassVar[str] = "logits"

    p: float = setting(0.98, "the probability to keep", gt=0, le=1)

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """The denoiser with the tail cut off; ``inner`` itself at p = 1."""
        if self.p == 1:
            return inner

        def denoise(
            x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
        ) -> Prediction:
            prediction = inner(x_t, t, cond, s=s, rng=rng)
            if not isinstance(prediction, Logits):
                raise Unsupported(f"top-p cuts logits, got a prediction of kind '{prediction.name}'")
            return attrs.evolve(prediction, value=self._cut(prediction.logits))

        return denoise

    def _cut(self, logits: Tensor) -> Tensor:
        chance, order = logits.softmax(-1).sort(dim=-1, descending=True)
        beyond = chance.cumsum(-1) - chance >= self.p  # what comes before suffices
        return logits.masked_fill(beyond.gather(-1, order.argsort(-1)), _NEVER)
