"""Scenes whose views a frozen denoiser takes for data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Times, Weighting
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput
from suffuse.parts import UnitWeight
from suffuse.rng import Rng
from suffuse.state import State, combine, same_form, tree_map
from suffuse.system import System
from suffuse_sjc.descent import Descent
from suffuse_sjc.levels import Ticks
from suffuse_sjc.perturb import perturbed
from suffuse_sjc.renderer import Camera, Renderer

__all__ = ["Lift"]


@attrs.frozen(kw_only=True)
class Lift(Task):
    """Score Jacobian chaining: ``grad_theta log p(theta) = E_pi J_pi^T grad_x log p_sigma(x_pi)``, x_pi = g(theta, pi).

    Each step draws a camera, a noise level and a noise for each scene and moves its parameters along

        J_pi^T w(t) (alpha_t D(alpha_t x_pi + sigma_t n) - alpha_t x_pi)/sigma_t,

    for ``alpha = 1`` the released code's ``(D - x)/sigma``: the variance-reduced score times sigma. It is the gradient
    of score distillation (DreamFusion, arXiv:2209.14988), ``w(t) (eps - eps_hat)``, with a constant weight of eps;
    ``weighting`` is that weight. The denoiser is guided and never differentiated. Wang et al., Score Jacobian
    Chaining, 2023, arXiv:2212.00774, section 4.

    As many scenes as ``rng`` has rows, each its own. Inputs, all optional: ``start``, parameters to begin with;
    ``cond``, a condition of one row a scene; or instead ``views``, one such condition for each of the renderer's
    ``directions`` (the paper's view-dependent prompts). States: ``theta``, the parameters, and ``views`` ``(B, V,
    *data)``, what they look like on the renderer's tour, decoded. Metrics: ``evaluations`` for each scene.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    renderer: Renderer = setting(doc="what the parameters are, and how they are seen")
    descent: Descent = setting(factory=Descent, doc="steps and optimiser")
    times: Times = setting(factory=Ticks, doc="the noise levels")
    weighting: Weighting = setting(factory=UnitWeight, doc="weight of each noise level's error of eps")
    samples: int = setting(1, "noises a step; steps average over more", ge=1)
    reduced: bool = setting(True, "leave out the noise's own term, whose mean is zero")
    tour: int = setting(100, "views of the result, at most", ge=1)

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs, or views that are no states of the system."""
        if unknown := set(inputs) - {"start", "cond", "views"}:
            raise InvalidInput(f"sjc/lift takes start, cond or views, got {', '.join(sorted(unknown))}")
        process, evaluations = cast(Gaussian, system.process), 0
        told = self._told(system, inputs, rng.size)
        rng = rng.to(system.device)
        start: State = self.renderer.start(rng.at("start"))
        if "start" in inputs:
            same_form(inputs["start"], start, "start")
            start = tree_map(lambda v: v.to(system.device), inputs["start"])
        system.space.check(self._render(start, self.renderer.camera(rng.at("start"))).x)

        def pull(theta: State, step: int, rng: Rng) -> Tensor:
            nonlocal evaluations
            camera = self.renderer.camera(rng.at("camera"))
            rendering = self._render(theta, camera)
            with torch.no_grad():
                t, importance = self.times.draw(process, rng.size, rng)
                x_t = process.mean(rendering.x, t)
                cond = told[0] if len(told) == 1 else _picked(told, self.renderer.direction(camera))
                settings = {"samples": self.samples, "reduced": self.reduced}
                p = perturbed(system.denoise, process, x_t, t, cond, rng=rng, **settings)
                slope = combine(importance * self.weighting.weight(process, t, (0.0, 1.0)), p.eps, 0.0, p.eps)
            evaluations += p.nfe
            along = (cast(Tensor, slope) * rendering.x).flatten(1).sum(1)
            return along + self.renderer.penalty(rendering, step / self.descent.steps)

        theta = self.descent.run(start, pull, rng, scales=self.renderer.scales)
        with torch.no_grad():
            path = self.renderer.tour(self.tour)
            views = [
                system.codec.decode(
                    self._render(theta, {k: v[[i]].expand(rng.size, *v.shape[1:]) for k, v in path.items()}).x
                )
                for i in range(len(next(iter(path.values()))))
            ]
        seen = tree_map(lambda *vs: torch.stack(vs, 1), views[0], *views[1:])
        return Result(metrics={"evaluations": float(evaluations)}, states={"theta": theta, "views": seen})

    def _render(self, theta: State, camera: Camera) -> Any:  # noqa: ANN401
        return self.renderer.render(cast("Mapping[str, Tensor]", theta), camera)

    def _told(self, system: System, inputs: Mapping[str, Any], n: int) -> list[Condition]:
        """One condition for all directions, or one for each."""
        if "cond" in inputs and "views" in inputs:
            raise InvalidInput("sjc/lift takes cond, for all views, or views, one for each direction, not both")
        given = inputs.get("views", {"": inputs.get("cond", {})})
        if "views" in inputs and (set(given) != set(self.renderer.directions) or not given):
            known = ", ".join(self.renderer.directions) or "none"
            raise InvalidInput(f"views must have a condition for each direction ({known}), got {sorted(given)}")
        told = []
        for name in self.renderer.directions if "views" in inputs else ("",):
            cond = given[name] if isinstance(given[name], Condition) else Condition(given[name])
            system.check(cond)
            if cond.size not in (None, n):
                raise InvalidInput(f"a condition of {cond.size} rows for {n} scenes")
            told.append(cond.to(system.device))
        return told


def _picked(told: list[Condition], direction: Tensor) -> Condition:
    """Each row's own direction."""
    n = len(direction)
    return Condition.cat(told).index(direction * n + torch.arange(n, device=direction.device))
