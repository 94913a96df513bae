"""The data step of half-quadratic splitting, on any denoiser's estimate of the data."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoise
from suffuse.contracts.operator import LinearOperator, Operator
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mean, Prediction
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, expand
from suffuse.system import System

__all__ = ["DataProx"]

_LEAST_STD = 1e-3  # the released code's: a measurement without noise would leave rho = 0
# Beyond it the step moves nothing along singular values above 1e-5; at zero signal 1/rho is infinite.
_LARGEST = 1e12


@attrs.frozen(kw_only=True)
class DataProx(Guidance):
    """``x0 <- argmin_z |y - A z|^2 + rho_t |z - x0|^2`` with ``rho_t = lambda sigma_n^2 alpha_t^2/sigma_t^2``.

    Zhu et al., Denoising Diffusion Models for Plug-and-Play Image Restoration, 2023, arXiv:2305.08995, algorithm 1:
    half-quadratic splitting, the denoiser being the step of the prior. ``sigma_n`` is the noise of the measurement,
    at least 0.001. eps and all other readings follow from x_t and the new x0. It fits any sampler of a Gaussian
    process; with ``diffpir/diffpir`` it is the published method. Nothing passes back through the denoiser.

    The step is exact for linear operators. Other operators get one step along ``g = J^T (y - A(x0))``, the published
    first-order step, but of length ``|g|^2/(rho |g|^2 + |J g|^2)`` and not ``1/rho``, which diverges where
    ``rho < |J|^2``: it is the minimum along g of the linearised problem.

    The condition's ``y`` is the measurement ``(B, *measurement)``, of states. Noise whose variance differs from entry
    to entry (Poisson) counts as white, with its mean variance over what is seen.

    Raises ``InvalidInput`` without ``y`` or for one of the wrong shape, ``Unsupported`` for predictions that are not
    means of one tensor, and for nonlinear operators in ``torch.inference_mode``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    space: ClassVar[str] = "x0"
    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    operator: Operator = setting(doc="what measured the state, and with what noise")
    lambda_: float = setting(1.0, "weight of the prior; at 1 the step is Bayes' rule for N(x0_hat, I/SNR_t)", gt=0)

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """The denoiser with its data estimate moved towards the measurement."""

        def denoise(
            x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
        ) -> Prediction:
            prediction = inner(x_t, t, cond, s=s, rng=rng)
            if not isinstance(prediction, Mean) or not isinstance(x0 := prediction.x0, Tensor):
                raise Unsupported(f"a data step needs the mean of one tensor, got kind '{prediction.name}'")
            if "y" not in cond:
                raise InvalidInput(f"a data step needs the condition's entry y, got {sorted(cond) or 'none'}")
            y = cond["y"].to(x0)
            gamma = torch.exp(-prediction.process.log_snr(t)) / (self.lambda_ * self._variance(y))
            return prediction.with_x0(self.solve(x0, y, gamma.clamp_max(_LARGEST)))

        return denoise

    def solve(self, x0: Tensor, y: Tensor, gamma: Tensor) -> Tensor:
        """The data step for ``gamma = 1/rho``, ``()`` or ``(B,)``."""
        with torch.no_grad():
            shape = self.operator.A(x0[:1]).shape[1:]
        if y.shape[1:] != shape:
            raise InvalidInput(f"y must have the shape of A(x), {(len(x0), *shape)}, got {tuple(y.shape)}")
        if isinstance(self.operator, LinearOperator):
            return self.operator.prox(x0, y, gamma)
        return self._first_order(x0, y, gamma)

    def _variance(self, y: Tensor) -> Tensor:
        """``sigma_n^2``, ``()`` or ``(B,)``."""
        variance = torch.as_tensor(self.operator.noise.variance(y), dtype=torch.float64)
        if variance.ndim:
            seen = torch.ones_like(y) * self.operator.seen(y)
            variance = (seen * variance).flatten(1).sum(1) / seen.flatten(1).sum(1)
        return variance.clamp_min(_LEAST_STD**2)

    def _first_order(self, x0: Tensor, y: Tensor, gamma: Tensor) -> Tensor:
        if torch.is_inference_mode_enabled():
            raise Unsupported("the data step of a nonlinear operator differentiates it: leave torch.inference_mode")
        traced = torch.is_grad_enabled() and x0.requires_grad
        with torch.enable_grad():
            x = x0 if traced else x0.detach().requires_grad_()
            clean = self.operator.A(x)
            r = y - clean if traced else (y - clean).detach().requires_grad_()
            (g,) = torch.autograd.grad(clean, x, r, create_graph=True)
            # J^T r is linear in r, so its own transpose, at any r, is J.
            (along,) = torch.autograd.grad(g, r, g, create_graph=traced)
        square, curve = (v.flatten(1).square().sum(1) for v in (g, along))
        length = gamma * square / (square + gamma * curve).clamp_min(torch.finfo(x0.dtype).tiny)
        moved = x0 + expand(length, x0) * g
        return moved if traced else moved.detach()
