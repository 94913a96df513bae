"""The sampler: go to the data estimate, and back to the next noise level with partly fresh noise."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
from torch import Tensor

from suffuse.contracts.law import Normal
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Carry, Grid, Sampler, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import combine
from suffuse.system import System
from suffuse_diffpir.grid import Quadratic

__all__ = ["DiffPir"]


@attrs.frozen(kw_only=True)
class DiffPir(Sampler):
    """``x_s = alpha_s x0 + sigma_s (sqrt(1 - zeta) eps + sqrt(zeta) z)``, x0 and eps as predicted at x_t.

    Zhu et al., Denoising Diffusion Models for Plug-and-Play Image Restoration, 2023, arXiv:2305.08995, algorithm 1,
    for any Gaussian process. With the guidance ``diffpir/data-prox``, x0 is the data step's and
    ``eps = (x_t - alpha_t x0)/sigma_t`` follows from it. zeta = 0 is DDIM; zeta = 1 forgets x_t.

    Without a measurement it samples the model's law at zeta = 0 only. Fresh noise at a fixed share is a Langevin step
    of size ``(1 - sqrt(1 - zeta)) sigma^2``, and where the law is much wider than sigma, these shrink its variance to
    ``(1 + sqrt(1 - zeta))/2``.

    The noise is of the stream ``noise``, and is not drawn where ``sigma_s = 0``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})
    order: ClassVar[int | None] = 1  # at zeta = 0

    steps: int = setting(100, "grid points; the number of steps where the trajectory ends at t = 0", ge=1)
    zeta: float = setting(0.1, "share of fresh noise: published are 0.1 for blur, 1 for inpainting", ge=0, le=1)
    grid: Grid = setting(factory=Quadratic, doc="where the grid points lie")

    @property
    def gives(self) -> frozenset[str]:
        """``stochastic`` where noise is drawn."""
        return frozenset({"stochastic"} if self.zeta else ())

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """From t to s; t and s are ``()`` or ``(B,)``."""
        process = system.process
        if not isinstance(process, Gaussian):
            raise Unsupported(f"DiffPIR needs a Gaussian process, got {type(process).__name__}")
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        alpha, sigma = process.scalars(s)
        x_s, law = combine(alpha, prediction.x0, sigma * math.sqrt(1 - self.zeta), prediction.eps), None
        if self.zeta and bool((sigma > 0).any()):
            law = Normal(x_s, sigma * math.sqrt(self.zeta))
            x_s = law.sample(rng.at("noise"))
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe, transition=law)
        return carry.advance(x_s), info
