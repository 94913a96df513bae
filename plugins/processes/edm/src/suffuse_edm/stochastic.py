"""The stochastic sampler: noise is added, then a second-order step removes it and more."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Carry, Grid, Sampler, StepInfo
from suffuse.contracts.space import Space
from suffuse.errors import SpecError
from suffuse.rng import Rng
from suffuse.state import State, combine, promote, tree_map
from suffuse.system import System
from suffuse_edm.grid import Rho
from suffuse_edm.ode import gaussian, heun

__all__ = ["Stochastic"]


@attrs.frozen(kw_only=True)
class Stochastic(Sampler):
    """Algorithm 2 of Karras et al. 2022 (arXiv:2206.00364), for any Gaussian process, at ``sigma = sigma_t/alpha_t``.

    Where ``s_tmin <= sigma <= s_tmax``: ``gamma = min(s_churn/steps, sqrt(2) - 1)``,
    ``sigma_hat = (1 + gamma) sigma``, ``X_hat = X + sqrt(sigma_hat^2 - sigma^2) s_noise z``; then one step of Heun from
    ``sigma_hat``. Published settings (steps, s_churn, s_tmin, s_tmax, s_noise); those of ImageNet-64 are the defaults:

        ImageNet-64, this paper's network   256   40   0.05   50   1.003
        CIFAR-10, earlier VP network              30   0.01    1   1.007
        CIFAR-10, earlier VE network              80   0.05    1   1.007

    The noise is cut where it would lead beyond the process's t = 1, and none is added when inverting (s > t); s = t is
    a corrector that leaves the noise level. Without churn this is ``Heun``, and draws nothing. A step is random
    through X_hat alone, and the law of x_s, that of a Gaussian after a step of the solver, has no density in closed
    form: there is no ``transition``. ``StepInfo.prediction`` is the one at X_hat.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    steps: int = setting(256, "grid points, the N of s_churn/N; 2 steps - 1 evaluations", ge=1)
    grid: Grid = setting(factory=Rho, doc="where the grid points lie")
    s_churn: float = setting(40.0, "how much noise is added over all steps; 0 is deterministic", ge=0)
    s_tmin: float = setting(0.05, "no noise is added below this level", ge=0)
    s_tmax: float = setting(50.0, "no noise is added above this level", ge=0)
    s_noise: float = setting(1.003, "the scale of the added noise; 1 is unbiased", ge=0)

    def __attrs_post_init__(self) -> None:
        if self.s_tmin > self.s_tmax:
            raise SpecError(f"s_tmin must be at most s_tmax, got s_tmin={self.s_tmin:g}, s_tmax={self.s_tmax:g}")

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """Noise up to ``sigma_hat`` (stream ``churn``), then Heun down to s."""
        x_hat, t_hat = self._churn(gaussian(system), system.space, carry.x, t, s, rng.at("churn"))
        x_s, prediction, nfe = heun(system, x_hat, carry.cond, t_hat, s, rng)
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=nfe)
        return carry.advance(x_s), info

    def _churn(self, process: Gaussian, space: Space, x: State, t: Tensor, s: Tensor, rng: Rng) -> tuple[State, Tensor]:
        gamma = min(self.s_churn / self.steps, math.sqrt(2) - 1)
        if gamma == 0:
            return x, t
        alpha, sigma_t = process.scalars(t)
        sigma = sigma_t / alpha
        inside = (s <= t) & (sigma >= self.s_tmin) & (sigma <= self.s_tmax)
        raised = process.time(-2 * ((1 + gamma) * sigma).log())
        t_hat = torch.where(inside & (raised > t), raised, t)
        alpha_hat, sigma_hat = process.scalars(t_hat)
        added = ((sigma_hat / alpha_hat) ** 2 - sigma**2).clamp_min(0).sqrt() * self.s_noise
        if not bool((added > 0).any()):
            return x, t
        z = space.noise(tree_map(promote, x), rng)
        return combine(alpha_hat / alpha, x, alpha_hat * added, z), t_hat
