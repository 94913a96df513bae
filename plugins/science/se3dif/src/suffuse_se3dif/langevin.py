"""The sampler."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Law
from suffuse.contracts.part import setting
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse_se3dif.poses import PoseNormal, scaled
from suffuse_se3dif.process import se3_gaussian

__all__ = ["Se3Langevin"]


@attrs.frozen(kw_only=True)
class Se3Langevin(Sampler):
    """Annealed Langevin dynamics on the group, then a descent without noise.

    Urain et al. 2023, arXiv:2209.03855, eq. 7 and its code. At each grid time t, ``repeats`` moves

        ``H <- exp(H, c/2 score(H, t) + temperature sqrt(c) z)``,  ``c = step sigma(t)^2 / sigma(floor)^2``,

    and in the step that ends at t = 0 ``descents`` moves ``H <- exp(H, descent/2 score(H, floor))``, then the nearest
    rotation. ``temperature`` 1 is Langevin dynamics; the code's 0.5 is colder. The paper moves on the left,
    ``exp(R v) R``, by the derivative in the world's frame: the same move, as noise has no preferred direction.

    A step with one move and no descent has a transition; after more of them x_s has no closed law given x_t.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"se3", "se3-gaussian", "score"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(70, "noise levels, from t = 1", ge=1)
    repeats: int = setting(2, "moves at each level", ge=1)
    descents: int = setting(50, "final moves without noise", ge=0)
    step_size: float = setting(1e-3, "c at the floor", gt=0)
    descent_size: float = setting(3e-3, "twice the factor of the score in the final moves", gt=0)
    temperature: float = setting(0.5, "factor of the noise", ge=0)
    floor: float = setting(1e-3, "the least time at which the score is evaluated", gt=0, lt=1)

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """Streams ``noise`` and ``model``, by number of the move. ``Unsupported`` unless s is below t."""
        process = se3_gaussian(system.process)
        if bool((s >= t).any()):
            raise Unsupported("annealed dynamics goes from t to a lower s")
        level, floor = as_time(t).clamp_min(self.floor), torch.tensor(self.floor, dtype=torch.float64)
        c = self.step_size * (process.sigma(level) / process.sigma(floor)) ** 2
        x: State = carry.x
        law: Law | None = None
        nfe = 0
        descents = self.descents if bool((s == 0).all()) else 0
        for i in range(self.repeats + descents):
            last = i >= self.repeats
            at = floor if last else level
            prediction = system.denoise(x, at, carry.cond, s=s, rng=rng.at("model", i))
            nfe += prediction.nfe
            mean = scaled(self.descent_size / 2 if last else c / 2, prediction.score)
            if last or not self.temperature:
                x = system.space.exp(x, mean)
            else:
                law = PoseNormal(x, mean, self.temperature * c.sqrt())
                x = law.sample(rng.at("noise", i))
        if bool((s == 0).all()):
            x = system.space.project(x)
        info = StepInfo(
            x_t=carry.x,
            x_s=x,
            t=t,
            s=s,
            prediction=prediction,
            nfe=nfe,
            transition=law if self.repeats == 1 and not descents else None,
        )
        return carry.advance(x), info
