"""Local search: samples refined by parallel Metropolis-adjusted Langevin chains, and replayed by rank."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.target import Target
from suffuse.errors import SpecError
from suffuse.rng import Rng

__all__ = ["LocalSearch", "by_rank"]


@attrs.frozen(kw_only=True)
class LocalSearch:
    """When and how samples are refined (Sendera et al. 2024, arXiv:2402.05098).

    Every ``every`` training steps a batch is drawn from the policy's samples by rank and moved by ``steps`` Langevin
    proposals ``x + h score + sqrt(2 h) z``, accepted as Metropolis and Hastings do. All accepted states after the first
    ``burn_in`` are kept for replay.
    """

    every: int = setting(100, "training steps between searches", ge=2)
    steps: int = setting(200, "Langevin steps of a search", ge=1)
    burn_in: int = setting(100, "first steps, whose states are not kept", ge=0)
    step_size: float = setting(0.1, "h at the first step", gt=0)
    acceptance: float = setting(0.574, "share of accepted proposals that h is moved towards, by 1 % a step", gt=0, lt=1)
    capacity: int = setting(600_000, "samples kept, of the policy and of the search each", ge=1)

    def __attrs_post_init__(self) -> None:
        if self.burn_in >= self.steps:
            raise SpecError(f"burn_in must be below steps, got burn_in={self.burn_in}, steps={self.steps}")

    def refine(self, target: Target, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Accepted states ``(M, D)`` and their ``log R`` ``(M,)`` of one chain from each row of x."""
        h = torch.full((), self.step_size, dtype=x.dtype, device=x.device)
        log_r, score = -target.energy(x), target.score(x)
        kept: list[Tensor] = []
        kept_log_r: list[Tensor] = []
        accepted, proposed, rate = h.new_zeros(()), 0, h.new_zeros(())
        for i in range(self.steps):
            if i:
                h = h * torch.where(rate > self.acceptance, 1.01, 0.99)
            proposal = x + h * score + (2 * h).sqrt() * rng.at("proposal", i).normal(x)
            new_log_r, new_score = -target.energy(proposal), target.score(proposal)
            there = (proposal - x - h * score).square().sum(1) / (4 * h)
            back = (x - proposal - h * new_score).square().sum(1) / (4 * h)
            accept = new_log_r - log_r + there - back > -rng.at("accept", i).exponential(log_r)  # False for NaN
            if i >= self.burn_in:
                kept.append(proposal[accept])
                kept_log_r.append(new_log_r[accept])
            x, score = (torch.where(accept[:, None], new, old) for new, old in ((proposal, x), (new_score, score)))
            log_r = torch.where(accept, new_log_r, log_r)
            accepted, proposed = accepted + accept.sum(), proposed + len(x)
            if i % 5 == 0:
                rate, accepted, proposed = accepted / proposed, h.new_zeros(()), 0
        return torch.cat(kept), torch.cat(kept_log_r)


def by_rank(log_r: Tensor, rng: Rng, *, weight: float = 0.01) -> Tensor:
    """An index for each row of ``rng``, with probability proportional to ``1/(weight n + rank)``, rank 0 the best.

    Tripp et al., Sample-Efficient Optimization in the Latent Space of Deep Generative Models, 2020, arXiv:2006.09191.
    """
    n = len(log_r)
    order = log_r.argsort(descending=True, stable=True)
    table = (1 / (weight * n + torch.arange(n, dtype=torch.float64, device=log_r.device))).cumsum(0)
    u = rng.at("rank").uniform(torch.empty(rng.size, dtype=torch.float64, device=log_r.device))
    return order[torch.searchsorted(table, u * table[-1], right=True).clamp_max(n - 1)]


def latest(x: Tensor, more: Tensor, capacity: int) -> Tensor:
    """Both, up to the newest ``capacity`` rows."""
    return torch.cat([x, more])[-capacity:]
