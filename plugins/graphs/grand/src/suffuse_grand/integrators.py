"""Solvers of ``dX/dt = L(X) X + S`` on the nodes of a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import attrs
import torch
from torch import Tensor
from torchdiffeq import odeint

from suffuse.contracts.part import Part, setting

__all__ = ["AdamsBashforth", "Dopri5", "Euler", "Flow", "ImplicitEuler", "Integrator", "RungeKutta4"]


@attrs.frozen(eq=False)
class Flow:
    """``f(X) = L(X) X + S``: ``matrix`` gives L ``(B, N, N)``, S ``(B, N, d)`` is the source, or None."""

    matrix: Callable[[Tensor], Tensor]
    source: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """``f(X)``, ``(B, N, d)``."""
        return self.add(self.matrix(x) @ x, 1.0)

    def add(self, x: Tensor, weight: float) -> Tensor:
        """``X + weight S``."""
        return x if self.source is None else x + weight * self.source


class Integrator(Part, ABC):
    """A solver of the flow from time 0 to T, differentiable in the state and in all that the flow holds."""

    kind = "integrator"

    @abstractmethod
    def solve(self, flow: Flow, x: Tensor, time: float) -> Tensor:
        """``X(T)`` from X(0) ``(B, N, d)``, T = ``time``."""


@attrs.frozen(kw_only=True)
class Euler(Integrator):
    """``X_{k+1} = X_k + tau f(X_k)``, tau = T/steps.

    Chamberlain et al., GRAND: Graph Neural Diffusion, 2021, arXiv:2106.10934. For ``f = (A - I) X`` with a
    row-stochastic A, a step with tau <= 1 takes means with non-negative weights: maxima fall and minima rise.
    """

    steps: int = setting(32, "number of steps", ge=1)

    def solve(self, flow: Flow, x: Tensor, time: float) -> Tensor:
        """One evaluation a step."""
        tau = time / self.steps
        for _ in range(self.steps):
            x = x + tau * flow(x)
        return x


@attrs.frozen(kw_only=True)
class ImplicitEuler(Integrator):
    """``(I - tau L(X_k)) X_{k+1} = X_k + tau S``, tau = T/steps: ``((1 + tau) I - tau A(X_k)) X_{k+1} = X_k``.

    Chamberlain et al. 2021, arXiv:2106.10934, implicit scheme: stable for every tau. By dense factorisation.
    """

    steps: int = setting(4, "number of steps", ge=1)

    def solve(self, flow: Flow, x: Tensor, time: float) -> Tensor:
        """One linear system a step."""
        tau = time / self.steps
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        for _ in range(self.steps):
            x = torch.linalg.solve(eye - tau * flow.matrix(x), flow.add(x, tau))
        return x


@attrs.frozen(kw_only=True)
class RungeKutta4(Integrator):
    """The classical Runge-Kutta method of order 4."""

    steps: int = setting(8, "number of steps", ge=1)

    def solve(self, flow: Flow, x: Tensor, time: float) -> Tensor:
        """Four evaluations a step."""
        for _ in range(self.steps):
            x = _runge_kutta(flow, x, time / self.steps, flow(x))
        return x


# Weights of the last slopes, newest first (Hairer, Norsett and Wanner, Solving ODEs I, 1993, section III.1).
_WEIGHTS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@attrs.frozen(kw_only=True)
class AdamsBashforth(Integrator):
    """``X_{k+1} = X_k + tau sum_j b_j f(X_{k-j})`` over the last m slopes; Runge-Kutta steps until there are m.

    Chamberlain et al. 2021, arXiv:2106.10934.
    """

    steps: int = setting(32, "number of steps", ge=1)
    order: int = setting(4, "m, slopes in a step and order of convergence", ge=1, le=4)

    def solve(self, flow: Flow, x: Tensor, time: float) -> Tensor:
        """One evaluation a step, and three more in each of the first m - 1."""
        tau, weights = time / self.steps, _WEIGHTS[self.order - 1]
        last: list[Tensor] = []
        for _ in range(self.steps):
            last = [flow(x), *last][: self.order]
            if len(last) < self.order:
                x = _runge_kutta(flow, x, tau, last[0])
            else:
                x = x + tau * sum(w * f for w, f in zip(weights, last, strict=True))
        return x


@attrs.frozen(kw_only=True)
class Dopri5(Integrator):
    """Dormand and Prince's adaptive method of order 5, by torchdiffeq: the paper's own choice on the benchmarks.

    The step is chosen for a whole batch at once, so a graph's result depends on its neighbours within the tolerance.
    """

    rtol: float = setting(1e-5, "relative tolerance", gt=0)
    atol: float = setting(1e-7, "absolute tolerance", gt=0)

    def solve(self, flow: Flow, x: Tensor, time: float) -> Tensor:
        """As many evaluations as the tolerances take."""
        ends = torch.tensor([0.0, time], dtype=x.dtype, device=x.device)
        path: Tensor = odeint(lambda _, v: flow(v), x, ends, method="dopri5", rtol=self.rtol, atol=self.atol)
        return path[-1]


def _runge_kutta(flow: Flow, x: Tensor, tau: float, k1: Tensor) -> Tensor:
    k2 = flow(x + tau / 2 * k1)
    k3 = flow(x + tau / 2 * k2)
    k4 = flow(x + tau * k3)
    return x + tau / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
