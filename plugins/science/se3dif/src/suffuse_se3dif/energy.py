"""Energies of poses and their gradients on the group."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Field
from suffuse.contracts.process import Process, as_time
from suffuse.errors import SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.state import State
from suffuse_se3dif import so3
from suffuse_se3dif.poses import leaves_of

__all__ = ["Energy", "Sum", "energy_field", "energy_of", "lie_gradient"]


@runtime_checkable
class Energy(Protocol):
    """What a denoiser with the capability ``energy`` has."""

    def energy(self, x: State, t: Tensor, cond: Condition, *, process: Process) -> Tensor:
        """``E(H, t)``, ``(B,)``, differentiable twice; ``exp(-E)`` is the density of noisy poses up to a constant."""


def energy_of(model: object) -> Energy:
    """The model itself; ``Unsupported`` for one that has no energy."""
    if not isinstance(model, Energy):
        raise Unsupported(f"expected a model with an energy, got {type(model).__name__}")
    return model


def lie_gradient(energy: Callable[[State], Tensor], x: State, *, differentiable: bool) -> dict[str, Tensor]:
    """``d/dv E(exp(x, v))`` at v = 0, a tangent ``{"R": (B, 3), "p": (B, 3)}``: the left-trivialised derivative.

    From the gradient G in the nine entries of R it is ``vee(R^T G)``, so E needs no chart, and how it is continued off
    the rotations does not matter. The right-trivialised one, in the world's frame, is R times it. ``differentiable``
    keeps the graph, for losses of the gradient.
    """
    with torch.enable_grad():
        R, p = (v if v.requires_grad else v.detach().requires_grad_() for v in leaves_of(x))
        value = energy({"R": R, "p": p}).sum()
        G, u = torch.autograd.grad(value, [R, p], create_graph=differentiable)
        return {"R": so3.vee(R.mT @ G), "p": u}


def energy_field(model: Denoiser, x: State, t: Tensor, cond: Condition, process: Process) -> Field:
    """The score ``-dE/dH`` of the model's energy, as a tangent at x; a graph is kept only for what asks for one."""
    leaves = [*leaves_of(x), *model.parameters()]
    wanted = torch.is_grad_enabled() and any(v.requires_grad for v in leaves)
    known = energy_of(model)
    slope = lie_gradient(lambda h: known.energy(h, t, cond, process=process), x, differentiable=wanted)
    value = {name: -v if wanted else -v.detach() for name, v in slope.items()}
    return Field(value=value, x_t=x, t=as_time(t), of="score")


@module
class Sum(Denoiser):
    """``sum_i w_i E_i(H, t)``: costs learned apart, minimised together; at weights 1 a product of the experts.

    Urain et al. 2023, arXiv:2209.03855, section IV. The diffused sum is not the diffusion of the product, so at t > 0
    it is an annealing, as published.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"field", "score", "energy"})
    needs: ClassVar[frozenset[str]] = frozenset({"se3-gaussian"})

    terms: tuple[Denoiser, ...] = setting(doc="models with an energy", check=lambda v: None if v else "expected some")
    weights: tuple[float, ...] = setting((), "w_i; empty for ones")

    def __attrs_post_init__(self) -> None:
        if self.weights and len(self.weights) != len(self.terms):
            raise SpecError(f"weights: expected {len(self.terms)}, one for each term, got {len(self.weights)}")
        for term in self.terms:
            energy_of(term)
        self.parts = nn.ModuleList(self.terms)

    def check(self, cond: Condition) -> None:
        """Every term's."""
        for term in self.terms:
            term.check(cond)

    def energy(self, x: State, t: Tensor, cond: Condition, *, process: Process) -> Tensor:
        """``(B,)``."""
        weights = self.weights or (1.0,) * len(self.terms)
        found = [
            w * cast(Energy, e).energy(x, t, cond, process=process) for w, e in zip(weights, self.terms, strict=True)
        ]
        return torch.stack(found).sum(0)

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Field:
        """One evaluation of each term, counted as one."""
        return energy_field(self, x_t, t, cond, process)
