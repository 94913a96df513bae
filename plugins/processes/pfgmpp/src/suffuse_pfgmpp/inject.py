"""The study of robustness: noise injected on the way."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.guidance import Guidance
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Carry, Step, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import combine, promote, tree_map
from suffuse.system import System

__all__ = ["Inject"]


@attrs.frozen(kw_only=True)
class Inject(Guidance):
    """``x_t <- x_t + alpha sigma_t z`` before every step, for any sampler of a process with a scalar kernel.

    How much a sampler's results suffer measures how well it bears the errors of a network (Xu et al. 2023,
    arXiv:2302.04265, section 5.2, where alpha is 0 to 0.4). Unlike churn, no step removes the noise again.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    alpha: float = setting(0.1, "standard deviation of the noise, in units of sigma_t; 0 is off", ge=0)

    def step(self, inner: Step, system: System) -> Step:
        """The inner step from the noisier state (stream ``inject``), which is no draw from the inner transition."""

        def step(system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
            if not isinstance(system.process, Gaussian):
                raise Unsupported(f"noise is injected in units of sigma_t, got {type(system.process).__name__}")
            sigma = system.process.scalars(t)[1]
            if self.alpha == 0 or not bool(torch.any(sigma > 0)):
                return inner(system, carry, t, s, rng)
            z = system.space.noise(tree_map(promote, carry.x), rng.at("inject"))
            noisier = attrs.evolve(carry, x=combine(1.0, carry.x, self.alpha * sigma, z))
            after, info = inner(system, noisier, t, s, rng)
            return after, attrs.evolve(info, x_t=carry.x, transition=None)

        return step
