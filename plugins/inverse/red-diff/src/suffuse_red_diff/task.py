"""Restoration as stochastic optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast, get_args

import attrs
import torch
from suffuse_operators.metrics import consistency
from suffuse_operators.restore import quality
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.operator import LinearOperator, Operator
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Grid
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput, Unsupported
from suffuse.parts import Uniform
from suffuse.rng import Rng
from suffuse.state import promote, same_form
from suffuse.system import System
from suffuse_red_diff.regularizer import WeightingName, regularizer

__all__ = ["RedDiff"]

_ORDERS = ("descending", "ascending", "random")
_LEAST_STD = 1e-3  # of the noise that the start is regularised for


def _betas(value: tuple[float, float]) -> str | None:
    if len(value) != 2 or not all(0 <= b < 1 for b in value):
        return f"expected two numbers in [0, 1), got {value!r}"
    return None


@attrs.frozen(kw_only=True)
class RedDiff(Task):
    """``min_mu mean(|y - A(mu)|^2)/2 + lambda w_t mean(sg[eps_hat(x_t) - eps] mu)`` by Adam, one time t a step.

    Mardani et al., A Variational Perspective on Solving Inverse Problems with Diffusion Models, 2023,
    arXiv:2305.04391, algorithm 1: the posterior is approximated by ``N(mu, s^2 I)``, s to 0, so mu seeks a mode. See
    ``regularizer`` for the second term. As in the released code both means are over elements, the first over what the
    measurement holds, and times descend. Nothing passes back through the denoiser; no sampler is used.

    Inputs: ``y``, the measurement of states ``(B, *measurement)``; optionally ``cond``, what the model is told;
    ``start``, states to start from; ``truth``, states to compare with. Without ``start``, linear operators start from
    ``argmin |y - A z|^2 + sigma_n^2 |z|^2``, which is the pseudo-inverse's but for singular values below the noise, and
    others from standard normals.

    States: ``restored`` and ``y``. Metrics: ``nfe``, evaluations a sample, ``consistency``, and with ``truth`` those
    of ``suffuse_operators.restore.quality``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    operator: Operator = setting(doc="what measured the state, and with what noise")
    steps: int = setting(1000, "steps of the optimiser, each at one time", ge=1)
    lambda_: float = setting(0.25, "weight of the regulariser; 0 is least squares", ge=0)
    weighting: WeightingName = setting("linear", "w_t, of sigma_t/alpha_t", choices=get_args(WeightingName))
    order: Literal["descending", "ascending", "random"] = setting("descending", "of the times", choices=_ORDERS)
    grid: Grid = setting(factory=Uniform, doc="where the times lie")
    learning_rate: float = setting(0.1, "of Adam, in units of the state", gt=0)
    betas: tuple[float, float] = setting((0.9, 0.99), "of Adam", check=_betas)

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs, for shapes that do not fit, and unless rng has a stream a row."""
        if unknown := set(inputs) - {"y", "cond", "start", "truth"}:
            raise InvalidInput(f"red-diff takes y, cond, start and truth, got {sorted(unknown)}")
        if torch.is_inference_mode_enabled():
            raise Unsupported("RED-diff differentiates the operator: run it outside torch.inference_mode")
        if not isinstance(y := inputs.get("y"), Tensor) or len(y) != rng.size:
            got = tuple(y.shape) if isinstance(y, Tensor) else y
            raise InvalidInput(f"expected a measurement y of {rng.size} rows, as many as rng has, got {got!r}")
        y, rng = promote(y).to(system.device), rng.to(system.device)
        given = inputs.get("cond", {})
        cond = (given if isinstance(given, Condition) else Condition(given)).to(system.device)
        system.check(cond)
        mu, nfe = self._optimise(system, y, self._start(system, y, inputs.get("start"), rng), cond, rng)
        metrics: dict[str, float] = {"nfe": nfe, "consistency": float(consistency(self.operator, y, mu).mean())}
        if "truth" in inputs:
            truth = inputs["truth"].to(mu)
            same_form(truth, mu, "truth")
            metrics |= quality(self.operator, truth, y, mu)
        return Result(metrics=metrics, states={"restored": mu, "y": y})

    def _optimise(self, system: System, y: Tensor, start: Tensor, cond: Condition, rng: Rng) -> tuple[Tensor, int]:
        times, nfe = self.grid.times(cast(Gaussian, system.process), self.steps), 0
        held = (torch.ones_like(y) * self.operator.seen(y)).flatten(1).sum(1)
        with torch.enable_grad():
            mu = start.clone().requires_grad_()
            adam = torch.optim.Adam([mu], lr=self.learning_rate, betas=self.betas)
            for i in range(self.steps):
                step = rng.at("step", i)
                loss = (y - self.operator.A(mu)).flatten(1).square().sum(1) / (2 * held)
                if self.lambda_:
                    t = self._time(times, i, step)
                    prior, spent = regularizer(system, mu, t, cond, step, weighting=self.weighting)
                    loss, nfe = loss + self.lambda_ * prior, nfe + spent
                (mu.grad,) = torch.autograd.grad(loss.sum(), mu)
                adam.step()
        return mu.detach(), nfe

    def _time(self, times: Tensor, i: int, rng: Rng) -> Tensor:
        """One for all rows, or in random order one for each."""
        if self.order == "random":
            return times.to(rng.device)[rng.at("times").integers(0, len(times))]
        return times[i if self.order == "descending" else -1 - i]

    def _start(self, system: System, y: Tensor, start: Tensor | None, rng: Rng) -> Tensor:
        like = cast(Tensor, system.space.like(len(y), dtype=y.dtype, device=y.device))
        with torch.no_grad():
            same_form(y, self.operator.A(like), "y")
            if start is not None:
                same_form(start, like, "start")
                return start.to(like)
            if not isinstance(self.operator, LinearOperator):
                return rng.at("start").normal(like)
            variance = torch.as_tensor(self.operator.noise.variance(y)).to(y)
            variance = variance.flatten(1).mean(1) if variance.ndim else variance
            return self.operator.prox(torch.zeros_like(like), y, 1 / variance.clamp_min(_LEAST_STD**2))
