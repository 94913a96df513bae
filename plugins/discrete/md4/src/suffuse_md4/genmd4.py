"""The objective that also learns the schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress, Times
from suffuse.contracts.part import setting
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_md4.bound import diffusion, process_of, reconstruction
from suffuse_md4.nelbo import Antithetic, bits_per_token
from suffuse_md4.process import Masked, of_symbol, spread

__all__ = ["GenMd4"]


@attrs.frozen(kw_only=True)
class GenMd4(Objective):
    """The bound under learned schedules, with the gradient that flows through what is masked.

    Shi et al. 2024, arXiv:2406.04329, section 6 and appendix: times in (t1, 1], two draws a, b of x_t at each, and the
    loss ``(L_a + L_b)/2 + 1/2 stop(L_a - L_b) (log q(a | x_0) - log q(b | x_0))`` plus the term of t1. The second
    part is 0 in value for no single batch but in mean, and its gradient is REINFORCE with the other draw as baseline.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"masked", "logits", "learned"})

    t1: float = setting(1e-3, "the least time", gt=0, lt=1)
    times: Times = setting(factory=Antithetic, doc="the distribution of training times, before they are moved above t1")

    def players(self, system: System) -> Mapping[str, Player]:
        """The model and the process, with one optimiser."""
        modules = (cast(nn.Module, system.model), cast(nn.Module, system.process))
        return {"model": Player(modules=modules)}

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Bits a token for each sample. Streams: ``times``, ``first``, ``second``.

        The log ``bits_per_token`` is the bound alone, without the part for the gradient.
        """
        if batch is None or not isinstance(batch.x, Tensor):
            raise InvalidInput("the bound needs data, one tensor of tokens")
        process, x0 = process_of(system), batch.x
        drawn, importance = self.times.draw(process, len(x0), rng)
        t = self.t1 + (1 - self.t1) * drawn
        losses, logs = [], []
        for name in ("first", "second"):
            x_t = cast(Tensor, process.corrupt(x0, t, rng=rng.at(name)).x_t)
            prediction = system.plain(x_t, t, batch.cond, rng=rng.at(name, "model"))
            terms = diffusion(process, prediction, x0, x_t, t)
            losses.append((1 - self.t1) * terms * importance.to(terms))
            logs.append(_log_chance(process, x_t, x0, t).to(terms))
        start = reconstruction(process, x0, torch.full_like(t[:1], self.t1)).to(losses[0])
        bound = (losses[0] + losses[1]) / 2 + start
        moves = (losses[0] - losses[1]).detach() * (logs[0] - logs[1]) / 2
        bits = bits_per_token(bound + moves, x0)
        return Loss(bits, {"bits_per_token": bits_per_token(bound, x0).detach().mean()})


def _log_chance(process: Masked, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """``log q(x_t | x_0)`` of each sample."""
    masked = of_symbol(process.masked(spread(t, x0)), x0)
    return torch.where(x_t == process.symbols, masked.log(), torch.log1p(-masked)).flatten(1).sum(1)
