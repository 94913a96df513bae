"""Predictor-corrector sampling of the two equations at once."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
import torch
from suffuse_graph_sets.law import GraphNormal
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.rng import Rng
from suffuse.state import State, combine
from suffuse.system import System
from suffuse_gdss.langevin import corrected
from suffuse_gdss.process import Coefficients, GraphSystem, each
from suffuse_gdss.s4 import system_of

__all__ = ["PredictorCorrector"]


@attrs.frozen(kw_only=True)
class PredictorCorrector(Sampler):
    """Langevin corrections at t, then a predictor to s; both move nodes and edges by scores of the same state.

    Song et al. 2021, arXiv:2011.13456, algorithms 3 to 5, on a system of equations (Jo et al. 2022, arXiv:2202.02514,
    section 3.3). Predictors, with ``h = t - s``:

    - ``euler``: ``x - (f - g^2 score) h + g sqrt(h) z``;
    - ``reverse``: ``(2 - alpha_ts) x + sigma_ts^2 score + sigma_ts z``, the reverse of the forward chain's step.

    No noise is added where s = 0. The defaults are the paper's for community-small; one step costs
    ``corrections + 1`` evaluations.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"graph-system", "noise"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(1000, "grid points; the number of steps where the trajectory ends at t = 0", ge=1)
    predictor: Literal["euler", "reverse"] = setting("euler", "the predictor", choices=("euler", "reverse"))
    corrections: int = setting(1, "corrections a step", ge=0)
    snr: float = setting(0.05, "the correction's signal-to-noise ratio", gt=0)
    scale: float = setting(0.7, "factor of the correction's noise", ge=0)

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """Streams ``correct`` and ``predict``; the model's own is ``model``, at each evaluation's number."""
        process, x, nfe = system_of(system, t, s), carry.x, 0
        prediction: Prediction
        for i in range(self.corrections + 1):
            prediction = system.denoise(x, t, carry.cond, s=s, rng=rng.at("model", i))
            nfe += prediction.nfe
            if i < self.corrections:
                alpha, stream = process.transition(t, s)[0], rng.at("correct", i)
                x = corrected(system, x, prediction.score, alpha, stream, snr=self.snr, scale=self.scale)
        mean, std = self._predict(process, x, prediction.score, t, s)
        law = None
        if bool((s > 0).any()):
            law = GraphNormal(mean, each(lambda w: torch.where(s > 0, torch.as_tensor(w), 0.0), std))
        x_s = mean if law is None else law.sample(rng.at("predict"))
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=nfe, transition=law)
        return carry.advance(x_s), info

    def _predict(
        self, process: GraphSystem, x: State, score: State, t: Tensor, s: Tensor
    ) -> tuple[State, Coefficients]:
        """The mean and standard deviation of x_s."""
        if self.predictor == "reverse":
            alpha, sigma = process.transition(t, s)
            return combine(each(lambda a: 2 - a, alpha), x, each(lambda w: w**2, sigma), score), sigma
        g, h = process.diffusion(t), t - s
        moved = combine(1.0, x, each(lambda w: h * w**2, g), score)
        return combine(1.0, moved, -h, process.drift(x, t)), each(lambda w: w * h.sqrt(), g)
