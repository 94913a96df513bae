"""S4: score-based sampling with symmetric splitting."""

from __future__ import annotations

from typing import ClassVar

import attrs
from suffuse_graph_sets.law import GraphNormal
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import combine
from suffuse.system import System
from suffuse_gdss.langevin import corrected
from suffuse_gdss.process import GraphSystem, each

__all__ = ["S4", "system_of"]


def system_of(system: System, t: Tensor, s: Tensor) -> GraphSystem:
    """The process. ``Unsupported`` for another kind, and for a step that does not go from t to a lower s."""
    if not isinstance(system.process, GraphSystem):
        raise Unsupported(f"this sampler needs a graph system, got {type(system.process).__name__}")
    if bool((s >= t).any()):
        raise Unsupported("this sampler goes from t to a lower s")
    return system.process


@attrs.frozen(kw_only=True)
class S4(Sampler):
    """One evaluation of both scores a step, for the correction and for the prediction.

    Jo et al. 2022, arXiv:2202.02514, section 3.3 and algorithm 1. With the scores at ``(X_t, A_t)`` and ``h = t - s``:

    1. correct X and A by Langevin dynamics (``suffuse_gdss.langevin``);
    2. half a step of the linear part, to the middle m: ``x <- x / alpha_tm + sigma_tm z``;
    3. the score's part: ``x <- x + h g(t)^2 score``, with the score of before;
    4. the other half of the linear part, from m to s: ``x <- x / alpha_ms + sigma_ms z'``; at s = 0 without z'.

    2 to 4 are one Gaussian, drawn at once: mean ``(x / alpha_tm + h g^2 score) / alpha_ms``, variance
    ``(sigma_tm / alpha_ms)^2 + sigma_ms^2``. ``alpha_tm`` and ``sigma_tm`` are those of the forward kernel from m to t,
    as in the authors' code. (The linear part run backward has the standard deviation ``sigma_tm / alpha_tm``, which is
    the same to second order in h.)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"graph-system", "noise"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(1000, "grid points; the number of steps where the trajectory ends at t = 0", ge=1)
    snr: float = setting(0.05, "the correction's signal-to-noise ratio; 0 for none", ge=0)
    scale: float = setting(0.7, "factor of the correction's noise", ge=0)

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """Streams ``correct``, ``noise`` and ``model``, the model's. The transition is that after the correction."""
        process = system_of(system, t, s)
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        score, x = prediction.score, carry.x
        if self.snr:
            alpha = process.transition(t, s)[0]
            x = corrected(system, x, score, alpha, rng.at("correct"), snr=self.snr, scale=self.scale)
        middle = (t + s) / 2
        (early, wide), (late, narrow) = process.transition(t, middle), process.transition(middle, s)
        keep = each(lambda a, b: 1 / (a * b), early, late)
        move = each(lambda g, b: (t - s) * g**2 / b, process.diffusion(t), late)
        std = each(lambda w, b, v: ((w / b) ** 2 + (s > 0) * v**2) ** 0.5, wide, late, narrow)
        law = GraphNormal(combine(keep, x, move, score), std)
        x_s = law.sample(rng.at("noise"))
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe, transition=law)
        return carry.advance(x_s), info
