"""The bound as a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_md4.bound import diffusion, process_of, reconstruction, step
from suffuse_md4.nelbo import bits_per_token

__all__ = ["Bound"]


@attrs.frozen(kw_only=True)
class Bound(Task):
    """An upper bound on the negative log-likelihood of data under a masked diffusion, in bits a token.

    Each row is measured at ``draws`` times ``(u + j)/draws`` in (0, 1], with a u of its own, so the estimate is
    unbiased and a row's does not depend on the others. The denoiser is the system's, guidance included.

    Inputs: ``data`` ``(B, *event)``, as the codec takes it, and, for a conditional model, ``cond``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"masked", "logits"})

    draws: int = setting(32, "times a row", ge=1)
    steps: int | None = setting(None, "T, the steps of the chain; none is continuous time", ge=1)
    batch: int = setting(256, "rows at once; changes nothing else", ge=1)

    @torch.no_grad()
    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Metrics ``bits_per_token``, its part ``reconstruction``, and ``standard_error`` over rows.

        State ``bits_per_token``: each row's, ``(B,)``. Raises ``InvalidInput`` for other inputs.
        """
        x0, cond = _inputs(system, inputs, rng)
        process, found = process_of(system), []
        for first in range(0, len(x0), self.batch):
            at = slice(first, first + self.batch)
            found.append(self._diffusion(system, x0[at], cond.index(at), rng.index(at)))
        start = reconstruction(process, x0, torch.zeros(1, dtype=torch.float64, device=x0.device))
        rest = bits_per_token(start.double(), x0).cpu()
        bits = torch.cat(found).double().cpu() + rest
        metrics = {
            "bits_per_token": float(bits.mean()),
            "reconstruction": float(rest.mean()),
            "standard_error": float(bits.std() / len(bits) ** 0.5) if len(bits) > 1 else float("nan"),
        }
        return Result(metrics=metrics, states={"bits_per_token": bits})

    def _diffusion(self, system: System, x0: Tensor, cond: Condition, rng: Rng) -> Tensor:
        process, total = process_of(system), torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
        u = 1 - rng.at("times").uniform(torch.empty(len(x0), dtype=torch.float64, device=x0.device))
        for j in range(self.draws):
            t, stream = (u + j) / self.draws, rng.at("draw", j)
            if self.steps is not None:
                t = (t * self.steps).ceil() / self.steps
            x_t = process.corrupt(x0, t, rng=stream).x_t
            prediction = system.denoise(x_t, t, cond, rng=stream.at("model"))
            if self.steps is None:
                total += diffusion(process, prediction, x0, x_t, t)
            else:
                total += self.steps * step(process, prediction, x0, x_t, t, (t - 1 / self.steps).clamp_min(0))
        return bits_per_token(total / self.draws, x0)


def _inputs(system: System, inputs: Mapping[str, Any], rng: Rng) -> tuple[Tensor, Condition]:
    if set(inputs) - {"data", "cond"} or "data" not in inputs:
        raise InvalidInput(f"the bound takes data and, if the model does, cond; got {', '.join(sorted(inputs))}")
    data, cond = inputs["data"], inputs.get("cond") or Condition()
    x0 = system.codec.encode(data.to(system.device))
    system.space.check(x0)
    if not isinstance(x0, Tensor) or len(x0) != rng.size:
        raise InvalidInput(f"expected one row of tokens for each of {rng.size} streams")
    cond = (cond if isinstance(cond, Condition) else Condition(cond)).to(system.device)
    system.check(cond)
    return x0, cond
