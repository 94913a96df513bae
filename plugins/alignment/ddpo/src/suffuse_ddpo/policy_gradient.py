"""The two policy gradients: score function, and importance sampling with clipped ratios."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch, Loss, Objective, Progress
from suffuse.contracts.part import setting
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_ddpo.epochs import Epochs
from suffuse_ddpo.rollouts import log_prob

__all__ = ["ImportanceSampling", "ScoreFunction"]


@attrs.frozen(kw_only=True)
class ScoreFunction(Epochs, Objective):
    """``-A mean_t log p(x_s | x_t, c)``, one update on each batch of trajectories (DDPO-SF).

    Denoising is a decision problem: the state is ``(c, t, x_t)``, the action ``x_s``, and the reward comes at the end,
    so that ``grad E[r] = E[A sum_t grad log p(x_s | x_t, c)]``. Black et al., Training Diffusion Models with
    Reinforcement Learning, 2023, arXiv:2305.13301, section 4.3. Steps without a density, as a last one to
    zero noise, are left out.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """One term a trajectory."""
        log_p, _, part = _log_probs(self, system, state, rng)
        return Loss(-part["advantage"] * log_p.mean(0), {"reward": part["reward"].mean()})


@attrs.frozen(kw_only=True)
class ImportanceSampling(Epochs, Objective):
    """``mean_t max(-A w, -A clip(w, 1 - clip, 1 + clip))``, ``w = p(x_s | x_t, c) / p_old`` (DDPO-IS).

    The clipped surrogate of PPO (Schulman et al., 2017, arXiv:1707.06347) on denoising steps, several updates on
    different trajectories of one epoch. The logarithm of the ratio is a mean over a state's elements, to which the tiny
    ``clip`` belongs: for few elements take 0.1 to 0.2. Black et al., 2023, arXiv:2305.13301, section 4.3.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    clip: float = setting(1e-4, "how far the ratio may leave 1", gt=0)
    minibatches: int = setting(4, "updates an epoch, each on trajectories of its own", ge=1)

    @property
    def updates(self) -> int:
        """The minibatches."""
        return self.minibatches

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """One term a trajectory."""
        log_p, old, part = _log_probs(self, system, state, rng)
        ratio, advantage = (log_p - old).exp(), part["advantage"]
        kept = ratio.clamp(1 - self.clip, 1 + self.clip)
        per_sample = torch.maximum(-advantage * ratio, -advantage * kept).mean(0)
        clipped = ((ratio - 1).abs() > self.clip).to(ratio).detach().mean()
        return Loss(per_sample, {"reward": part["reward"].mean(), "clipped": clipped})


def _log_probs(epochs: Epochs, system: System, state: Progress, rng: Rng) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Log-probabilities ``(K, B)`` now and when drawn, and the trajectories."""
    part, steps = epochs.minibatch(state, rng.size, rng)
    cond = Condition(label=part["label"]) if epochs.classes else Condition()
    return log_prob(system, part["states"], steps, cond, rng), part["log_prob"], part
