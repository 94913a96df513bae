"""The bound alone, with steps drawn by importance."""

from __future__ import annotations

from typing import ClassVar, cast

import attrs
import torch
from suffuse_ddpm.chain import LEVELS, STEPS, ReverseChain, bits_per_dim, check_levels
from torch import Tensor

from suffuse.contracts.objective import Batch, Loss, Objective, Progress
from suffuse.contracts.part import setting
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_iddpm.history import probabilities, remember
from suffuse_iddpm.terms import term

__all__ = ["Vlb"]


@attrs.frozen(kw_only=True)
class Vlb(Objective):
    """``L_vlb = E_{n ~ p}[L_n / p_n]`` in bits/dim, without the constant L_T, for mean and variance alike.

    Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, arXiv:2102.09672, section 3.3, eq. 18:
    ``p_n`` is proportional to ``sqrt(E[L_n^2])`` over the latest ``history`` losses of step n, mixed with a share
    ``uniform`` of the uniform law; it is uniform until every step has as many. The losses are kept in the objective's
    ``Progress``, those of all processes in each. Under any p the expectation is the same; this one has the least
    variance.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean", "variance"})

    T: int | None = setting(None, STEPS, ge=2)
    levels: int = setting(256, LEVELS, check=check_levels)
    history: int = setting(10, "losses that are kept of each step; 0 draws steps uniformly", ge=0)
    uniform: float = setting(1e-3, "share of the draws that is uniform", gt=0, le=1)

    def start(self, system: System, rng: Rng) -> Progress:
        """No losses yet: ``losses_of_steps`` ``(T, history)`` and ``counts`` ``(T,)``, how many each step had."""
        T = self._chain(system).T
        losses = torch.zeros(T, self.history, dtype=torch.float64, device=system.device)
        return {"losses_of_steps": losses, "counts": torch.zeros(T, dtype=torch.int64, device=system.device)}

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Bits/dim for each sample; the model is the unguided one. Streams: ``times``, ``noise``, ``model``."""
        if batch is None:
            raise InvalidInput("the variational bound needs data")
        chain = self._chain(system)
        p = probabilities(cast(Tensor, state["losses_of_steps"]), cast(Tensor, state["counts"]), self.uniform)
        u = rng.at("times").uniform(torch.empty(len(batch.index), dtype=torch.float64, device=p.device))
        edges = p.cumsum(0)
        n = torch.searchsorted(edges, u * edges[-1], right=True) + 1
        t, s = chain.times(n)
        x_t = chain.process.corrupt(batch.x, t, rng=rng).x_t
        said = system.plain(x_t, t, batch.cond, s=s, rng=rng.at("model"))
        bits = bits_per_dim(term(chain.process, batch.x, said, t, s, chain.levels), batch.x)
        estimate = bits / p[n - 1].to(bits)
        return Loss(
            estimate, {"bits_per_dim": estimate.detach().mean()}, {"steps": n, "losses": bits.detach().double()}
        )

    def after(self, state: Progress, step: int, system: System, rng: Rng) -> Progress:
        """The losses of this step's batch take the place of the oldest of their steps."""
        if "steps" not in state:
            return state
        steps, losses = cast(Tensor, state["steps"]) - 1, cast(Tensor, state["losses"])
        kept = remember(cast(Tensor, state["losses_of_steps"]), cast(Tensor, state["counts"]), steps, losses)
        return {"losses_of_steps": kept[0], "counts": kept[1]}

    def _chain(self, system: System) -> ReverseChain:
        return ReverseChain.of_system(system, self.T, "small", self.levels)
