"""The likelihood of data under the flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, ClassVar, cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.process import as_time
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import promote
from suffuse.system import System

__all__ = ["Likelihood"]


@attrs.frozen(kw_only=True)
class Likelihood(Task):
    """``log p_0(x) = log p_1(X_1) + int_0^1 div b(X_t, t) dt`` along ``dX = b dt`` from ``X_0 = x``.

    Section 2.5 of arXiv:2303.08797, in the time where data is at 0. Inputs: ``data``, and if wished ``cond``; for a
    bridge ``base``, a function from states of its far end to their log densities ``(B,)`` (a Gaussian process has its
    prior). Metrics: ``nats``, the mean of ``-log p_0``, and ``bits_per_dim``. States: ``log_prob`` ``(B,)`` of the
    encoded data, and ``latent``, X_1. The classical Runge-Kutta method; the divergence is the trace of the Jacobian,
    which costs a backward pass a dimension, or Hutchinson's unbiased estimate from ``probes`` random signs.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mean|field"})

    steps: int = setting(100, "steps of order 4", ge=1)
    probes: int = setting(0, "random vectors for the divergence; 0 is the exact trace", ge=0)
    first: float = setting(0.0, "the data's time, above 0 for processes without a velocity at 0", ge=0, lt=1)

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs, and for a bridge without ``base``."""
        if not {"data"} <= set(inputs) <= {"data", "cond", "base"}:
            raise InvalidInput(f"likelihood takes data, cond and base, got {sorted(inputs)}")
        x = system.codec.encode(inputs["data"])
        if not isinstance(x, Tensor):
            raise Unsupported("this likelihood is for states of one tensor")
        system.space.check(x)
        x = promote(x)
        cond = Condition(inputs.get("cond", {}))
        system.check(cond)
        base = inputs.get("base") or self._prior(system, x, cond)
        divergence = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        times = torch.linspace(self.first, 1.0, self.steps + 1, dtype=torch.float64)
        signs = [2.0 * (rng.at("probe", i).uniform(x) < 0.5) - 1 for i in range(self.probes)]
        for t, s in pairwise(times):
            x, change = self._step(system, x, t, s - t, cond, signs)
            divergence = divergence + change
        log_prob = cast(Tensor, base(x)).double() + divergence
        nats = float(-log_prob.mean())
        bits = nats / math.log(2) / math.prod(x.shape[1:])
        return Result(metrics={"nats": nats, "bits_per_dim": bits}, states={"log_prob": log_prob, "latent": x})

    @staticmethod
    def _prior(system: System, x: Tensor, cond: Condition) -> Callable[[Tensor], Tensor]:
        law = None if system.process is None else system.process.prior(x, cond)
        if law is None:
            raise InvalidInput("this process has no prior: expected base, a function from states to log densities")
        return law.log_prob

    def _step(
        self, system: System, x: Tensor, t: Tensor, h: Tensor, cond: Condition, signs: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The state and the integral of the divergence over one step."""
        w, moved, change = float(h), torch.zeros_like(x), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        at, k = x, torch.zeros_like(x)
        for part, share in ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6)):
            at = x + part * w * k
            k, divergence = self._field(system, at, as_time(t + part * h), cond, signs)
            moved, change = moved + share * w * k, change + share * w * divergence
        return x + moved, change

    @staticmethod
    def _field(system: System, x: Tensor, t: Tensor, cond: Condition, signs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """``b`` and its divergence ``(B,)``."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            b = cast(Tensor, system.denoise(x, t, cond).velocity)
            eye = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).view(-1, 1, *x.shape[1:])
            vectors = torch.stack(signs) if signs else eye.expand(-1, *x.shape)
            total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
            for v in vectors:
                (slope,) = torch.autograd.grad(b, x, v, retain_graph=True)
                total = total + (slope * v).flatten(1).sum(1).double()
        return b.detach(), total / len(signs) if signs else total
