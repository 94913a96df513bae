"""The training objective: the bound of one random time, in bits a token."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.objective import Batch, Loss, Objective, Progress, Times
from suffuse.contracts.part import setting
from suffuse.contracts.process import Process
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_md4.bound import diffusion, process_of, reconstruction, step

__all__ = ["Antithetic", "Nelbo", "bits_per_token"]


@attrs.frozen(kw_only=True)
class Antithetic(Times):
    """``t_i = 1 - ((u + i/B) mod 1)``: one uniform u a batch, so that its times cover (0, 1] evenly.

    Kingma et al., Variational Diffusion Models, 2021, arXiv:2107.00630, appendix I.1. Each time alone is uniform.
    """

    joint: ClassVar[bool] = True

    def draw(self, process: Process, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Times and unit weights; stream ``times`` of the whole batch."""
        u = rng.pool().at("times").uniform(torch.empty(1, dtype=torch.float64, device=rng.device))
        t = 1 - (u + torch.arange(n, dtype=torch.float64, device=rng.device) / n) % 1
        return t, torch.ones_like(t)


@attrs.frozen(kw_only=True)
class Nelbo(Objective):
    """The negative evidence lower bound at a random time, in bits a token: a weighted cross-entropy of masked tokens.

    Shi et al. 2024, arXiv:2406.04329, section 3; without the prior's term, which is next to 0. With ``steps``
    it is the bound of a chain of T steps: ``t = ceil(t T)/T``, ``s = t - 1/T`` and the divergence times T.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"masked", "logits"})

    steps: int | None = setting(None, "T, the steps of the chain; none is continuous time", ge=1)
    times: Times = setting(factory=Antithetic, doc="the distribution of training times")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Bits a token for each sample; the model is the unguided one. Streams: ``times``, ``noise``, ``model``."""
        if batch is None or not isinstance(batch.x, Tensor):
            raise InvalidInput("the bound needs data, one tensor of tokens")
        process, x0 = process_of(system), batch.x
        t, importance = self.times.draw(process, len(x0), rng)
        if self.steps is not None:
            t = (t * self.steps).ceil() / self.steps
        x_t = process.corrupt(x0, t, rng=rng).x_t
        prediction = system.plain(x_t, t, batch.cond, rng=rng.at("model"))
        if self.steps is None:
            terms = diffusion(process, prediction, x0, x_t, t)
        else:
            terms = self.steps * step(process, prediction, x0, x_t, t, (t - 1 / self.steps).clamp_min(0))
        nats = terms * importance.to(terms) + reconstruction(process, x0, torch.zeros_like(t[:1])).to(terms)
        bits = bits_per_token(nats, x0)
        return Loss(bits, {"bits_per_token": bits.detach().mean()})


def bits_per_token(nats: Tensor, x0: Tensor) -> Tensor:
    """Nats a sequence in bits a token."""
    return nats / (math.prod(x0.shape[1:]) * math.log(2))
