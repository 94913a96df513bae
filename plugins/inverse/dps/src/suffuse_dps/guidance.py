"""Diffusion posterior sampling: each step goes down the gradient of the measurement's residual."""

from __future__ import annotations

from typing import ClassVar, cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.guidance import Guidance
from suffuse.contracts.law import Normal
from suffuse.contracts.operator import Operator
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Carry, Step, StepInfo
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import combine, promote
from suffuse.system import System

__all__ = ["Dps"]


@attrs.frozen(kw_only=True)
class Dps(Guidance):
    """``x_s = x'_s - (zeta / |r|) grad_{x_t} |r|^2`` with ``r = y - A(x0(x_t))`` and x'_s the sampler's own step.

    ``p(y | x_t)`` is approximated by ``p(y | x0(x_t))``, x0 the mean of the data given x_t; A is any differentiable
    operator. Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2022, arXiv:2209.14687,
    section 3.2 and algorithm 1. The gradient passes through the denoiser.

    For noise whose variance differs from entry to entry (Poisson: algorithm 2, weights 1/(2 y_j)) it is
    ``|r|^2 = sum_j w_j r_j^2``, w_j the mean variance over that of entry j, as y tells it, so that zeta means the same
    for every noise. One norm is taken for each sample.

    The step is published for variance-preserving processes. With ``k = sqrt(alpha^2 + sigma^2)``, x/k is the state of
    one, so for any Gaussian process the correction is that of x/k: ``(zeta / |r|) k_s k_t grad_{x_t} |r|^2``, and
    guided samples do not depend on how the process is scaled.

    The condition's ``y`` is the measurement ``(B, *measurement)``, of states. ``zeta`` 0 is off; the released code's
    scale is ``2 zeta``: it is 0.3 for super-resolution and deblurring, 0.5 for inpainting, 1 for phase retrieval, with
    1000 steps. The corrections of all steps add up, so the right zeta depends on their number.

    Raises ``InvalidInput`` without ``y`` or for one of the wrong shape, ``Unsupported`` in ``torch.inference_mode`` and
    where the sampler's prediction does not depend on x_t.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    needs_grad: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    operator: Operator = setting(doc="what measured the state, and with what noise")
    zeta: float = setting(0.15, "step size, in units of the state over the residual's norm; 0 is off", ge=0)

    def step(self, inner: Step, system: System) -> Step:
        """The sampler's step with the correction; ``inner`` itself where zeta is 0."""
        return self._guided(inner) if self.zeta else inner

    def distance(self, y: Tensor, x0: Tensor) -> Tensor:
        """``|y - A(x0)|`` of each row, weighted where the noise is, ``(B,)``."""
        clean = self.operator.A(x0)
        if y.shape != clean.shape:
            raise InvalidInput(f"y must have the shape of A(x), {tuple(clean.shape)}, got {tuple(y.shape)}")
        residual = (y.to(clean) - clean).flatten(1)
        variance = self.operator.noise.variance(y)
        if isinstance(variance, Tensor):
            variance = variance.to(clean).flatten(1)
            residual = residual * (variance.mean(1, keepdim=True) / variance).sqrt()
        return torch.linalg.vector_norm(residual, dim=1)

    def _guided(self, inner: Step) -> Step:
        def step(system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
            process = system.process
            if not isinstance(process, Gaussian) or not isinstance(carry.x, Tensor):
                raise Unsupported("DPS needs a tensor state of a Gaussian process")
            if torch.is_inference_mode_enabled():
                raise Unsupported("DPS differentiates the denoiser: sample outside torch.inference_mode")
            if "y" not in carry.cond:
                raise InvalidInput(f"DPS needs the condition's entry y, got {sorted(carry.cond) or 'none'}")
            # A caller who asked for gradients gets them through the guidance too; else each step's graph ends with it.
            weights = system.model.parameters()
            traced = torch.is_grad_enabled() and (carry.x.requires_grad or any(w.requires_grad for w in weights))
            with torch.enable_grad():
                x_t = promote(carry.x)
                x_t = x_t if traced and x_t.requires_grad else x_t.detach().requires_grad_()
                now, info = inner(system, attrs.evolve(carry, x=x_t), t, s, rng)
                slope = self._slope(x_t, carry.cond["y"], info, traced=traced)
            (a, b), (c, d) = process.scalars(t), process.scalars(s)
            shift = -2 * self.zeta * (a * a + b * b).sqrt() * (c * c + d * d).sqrt()
            law, x_s = info.transition, combine(1.0, now.x, shift, slope)
            assert isinstance(x_s, Tensor)
            moved = Normal(combine(1.0, law.mean, shift, slope), law.std) if isinstance(law, Normal) else None
            x_s = x_s if traced else x_s.detach()
            return attrs.evolve(now, x=x_s), attrs.evolve(info, x_t=carry.x, x_s=x_s, transition=moved)

        return step

    def _slope(self, x_t: Tensor, y: Tensor, info: StepInfo, *, traced: bool) -> Tensor:
        """``grad_{x_t} |r|``; half the gradient of the square, over the norm."""
        answer = None if info.prediction is None else info.prediction.value
        if not isinstance(answer, Tensor) or not answer.requires_grad:
            raise Unsupported("DPS needs a sampler whose prediction depends on x_t, and autograd through the denoiser")
        x0 = cast(Tensor, info.prediction.x0)  # type: ignore[union-attr]
        (slope,) = torch.autograd.grad(self.distance(y, x0).sum(), x_t, create_graph=traced)
        return slope
