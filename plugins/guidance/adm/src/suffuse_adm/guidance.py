"""Classifier guidance: of the score, for any sampler, and of the mean of random steps."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.law import Normal
from suffuse.contracts.model import Denoise, Denoiser
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mean, Prediction
from suffuse.contracts.sampler import Carry, Step, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine
from suffuse.system import System
from suffuse_adm.gradient import log_prob_gradient

__all__ = ["GuidedMean", "GuidedScore"]

_STRENGTH = "the paper's scale s: 0 is off; with the exact classifier 1 makes an unconditional model conditional"
_ALONE = "the label is for the classifier alone: the model, an unconditional one, does not see it"


def _finite(w: float) -> str | None:
    return None if math.isfinite(w) else f"expected a finite number, got {w!r}"


@attrs.frozen(kw_only=True)
class GuidedScore(Guidance):
    """``score + strength grad log p(y | x_t)``: ``eps - strength sigma_t grad``, for any sampler.

    Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021, arXiv:2105.05233, algorithm 2 (there for
    DDIM); for any process, since ``score = -eps/sigma_t``. The samples follow the law whose score this is at every
    level, ``p_t(x_t) p(y | x_t)^strength`` up to a constant: at strength 1 the conditional law.

    The gradient is taken at x_t, in each row by itself; rows without a label are not guided. A learned variance of the
    step stays as it is. ``nfe`` counts the denoiser's evaluations; the classifier adds one with its gradient each.
    Raises ``InvalidInput`` for an empty condition (unless off).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    space: ClassVar[str] = "score"
    needs_grad: ClassVar[bool] = True

    classifier: Denoiser = setting(doc="p(y | x_t), which gives logits")
    strength: float = setting(1.0, _STRENGTH, check=_finite)
    alone: bool = setting(False, _ALONE)

    @property
    def reads(self) -> frozenset[str]:  # type: ignore[override]
        """The label, where it is the classifier's alone."""
        return frozenset({"label"} if self.alone else ())

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """The guided denoiser; ``inner`` itself at strength 0."""
        if self.strength == 0:
            return inner

        def denoise(
            x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
        ) -> Prediction:
            said = inner(x_t, t, cond, s=s, rng=rng)
            if not isinstance(said, Mean):
                raise Unsupported(f"only a mean has a score to guide, got a prediction of kind '{said.name}'")
            gradient = log_prob_gradient(self.classifier, x_t, t, cond, said.process)
            (a, b), (alpha, sigma) = said.mix, said.process.scalars(said.t)
            # eps moves by -strength sigma gradient, and x0 by strength sigma^2/alpha gradient.
            in_x0 = 0.0 if not isinstance(a, Tensor) and a == 0 else a * sigma / alpha
            value = combine(1.0, said.value, self.strength * sigma * (in_x0 - b), gradient)
            kept = said.variance if said.variance is not None and said.variance.of == "transition" else None
            return attrs.evolve(said, value=value, variance=kept)

        return denoise


@attrs.frozen(kw_only=True)
class GuidedMean(Guidance):
    """``x_s ~ N(mu + strength Sigma grad log p(y | x_t), Sigma)`` for the random steps of a sampler.

    Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021, arXiv:2105.05233, algorithm 1: the first
    order of ``log p(y | x_s)`` about mu, with the gradient at x_t as in the authors' code. Sigma is the transition's
    own variance: fixed (``ddpm/ancestral``), or learned, element by element (``iddpm/ancestral``). Guiding a clipped x0
    means ``suffuse/clip`` inside, as theirs does. A step without noise, such as the last, is not guided.

    Rows without a label are not guided. ``nfe`` counts the denoiser's evaluations; the classifier adds one with its
    gradient each. Raises ``InvalidInput`` for an empty condition (unless off).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "stochastic"})
    space: ClassVar[str] = "x0"
    needs_grad: ClassVar[bool] = True

    classifier: Denoiser = setting(doc="p(y | x_t), which gives logits")
    strength: float = setting(1.0, _STRENGTH, check=_finite)
    alone: bool = setting(False, _ALONE)

    @property
    def reads(self) -> frozenset[str]:  # type: ignore[override]
        """The label, where it is the classifier's alone."""
        return frozenset({"label"} if self.alone else ())

    def step(self, inner: Step, system: System) -> Step:
        """The guided step; ``inner`` itself at strength 0."""
        if self.strength == 0:
            return inner

        def step(system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
            after, info = inner(system, carry, t, s, rng)
            law, process = info.transition, system.process
            if law is None or process is None:
                return after, info
            if not isinstance(law, Normal) or not isinstance(law.std, float | Tensor):
                raise Unsupported("only a Gaussian step of one tensor has a mean to guide")
            gradient = log_prob_gradient(self.classifier, carry.x, t, carry.cond, process)
            variance = torch.as_tensor(law.std) ** 2
            x_s, mean = (combine(1.0, x, self.strength * variance, gradient) for x in (info.x_s, law.mean))
            told = attrs.evolve(info, x_s=x_s, transition=Normal(mean, law.std))
            return attrs.evolve(after, x=x_s), told

        return step
