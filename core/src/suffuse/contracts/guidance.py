"""Guidance: decorators of the denoiser, of the step, or of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from suffuse.contracts.model import Denoise
from suffuse.contracts.part import Part
from suffuse.contracts.sampler import Step

if TYPE_CHECKING:
    from suffuse.system import System

__all__ = ["Guidance"]


class Guidance(Part):
    """Changes what a denoiser answers, or what a step does with it; by default neither.

    ``denoiser(inner)`` works without a sampler (classification, score distillation). ``step(inner)`` may call the
    sampler's step several times, undo it with ``process.renoise`` or by stepping from s to t, weigh a whole batch, or
    correct what it returns. ``space`` says what is combined: ``x0``, ``score``, ``logits`` or ``native``.
    A scale of 1 always means off. ``reads`` names entries of the condition that are this guidance's own, such as a
    measurement: the model neither checks nor sees them, and they follow their rows through every split of a batch.
    """

    kind = "guidance"

    space: ClassVar[str] = "native"
    needs_grad: ClassVar[bool] = False
    reads: ClassVar[frozenset[str]] = frozenset()

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """The guided denoiser."""
        return inner

    def step(self, inner: Step, system: System) -> Step:
        """The guided step."""
        return inner
