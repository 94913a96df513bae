"""Models: denoisers, which answer at a noisy state, and generators, which have no process."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Law
from suffuse.contracts.part import Part
from suffuse.contracts.prediction import Mix, Prediction
from suffuse.contracts.process import Gaussian, Process
from suffuse.rng import Rng
from suffuse.state import State, size, tree_map

__all__ = [
    "Denoise",
    "Denoiser",
    "Generator",
    "Latent",
    "Parameterization",
    "Scaling",
    "evaluate_many",
]


class Denoise(Protocol):
    """A denoiser as samplers, guidance and tasks call it: the process is already bound."""

    def __call__(
        self, x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
    ) -> Prediction:
        """Predict at x_t, time t; ``s`` is the time aimed at, for two-time models; ``rng`` for random ones."""


class Denoiser(nn.Module, Part):
    """Answers at ``(x_t, t)`` with a typed prediction."""

    kind = "denoiser"

    def check(self, cond: Condition) -> None:
        """Raise ``InvalidInput`` for a condition that this model cannot take; called once per sampling."""

    @abstractmethod
    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Prediction:
        """Predict at ``x_t``, a state of ``process`` at time t, ``()`` or ``(B,)``."""


@attrs.frozen(eq=False)
class Scaling:
    """The network's view of a noise level: its input is ``c_in x_t`` and its conditioning ``c_noise``."""

    c_in: float | Tensor
    c_noise: Tensor


class Parameterization(Part):
    """What a network's raw output means under the process it was trained with.

    The output is the mean of ``a x_0 + b eps``; the training target is that mix itself (``suffuse.regression``).
    """

    kind = "parameterization"
    needs = frozenset({"gaussian"})

    @abstractmethod
    def mix(self, process: Gaussian, t: Tensor) -> Mix:
        """``(a, b)`` at time t: numbers where constant, else float64 of the shape of t."""

    @abstractmethod
    def scaling(self, process: Gaussian, t: Tensor) -> Scaling:
        """``(c_in, c_noise)`` at time t."""


def evaluate_many(
    denoise: Denoise,
    x_t: State,
    t: Tensor,
    conds: Sequence[Condition],
    *,
    s: Tensor | None = None,
    rng: Rng | None = None,
) -> list[Prediction]:
    """Predictions under several conditions from one batched call, the same as from as many single calls.

    So a random model draws the same noise for each condition. Each prediction counts its own evaluations.
    """
    n, k = size(x_t), len(conds)
    many = tree_map(lambda v: v.repeat(k, *(1,) * (v.ndim - 1)), x_t)
    times, aims = (u if u is None or u.ndim == 0 else u.repeat(k, *(1,) * (u.ndim - 1)) for u in (t, s))
    assert times is not None
    out = denoise(many, times, Condition.cat(conds), s=aims, rng=None if rng is None else Rng.cat([rng] * k))
    return [out.index(slice(i * n, (i + 1) * n)) for i in range(k)]


class Latent(Part):
    """The law that a generator's input comes from: Gaussian, uniform, heavy-tailed, a mixture; may be trained."""

    kind = "latent"

    @abstractmethod
    def law(self, n: int, *, dtype: torch.dtype, device: torch.device | str) -> Law:
        """The law of n latents."""


class Generator(nn.Module, Part):
    """Maps latents to states at once. A flow also inverts itself: see ``Invertible``."""

    kind = "generator"
    provides: ClassVar[frozenset[str]] = frozenset({"generator"})

    latent: Latent

    def check(self, cond: Condition) -> None:
        """Raise ``InvalidInput`` for a condition that this model cannot take; called once per sampling."""

    @abstractmethod
    def forward(self, z: State, cond: Condition, *, rng: Rng | None = None) -> State:
        """The sample at latent z."""


class Invertible(Protocol):
    """A generator with an exact inverse: normalising flows."""

    inverse: Callable[[State, Condition], tuple[State, Tensor]]  # (z, log |det dz/dx|), shapes state and (B,)
