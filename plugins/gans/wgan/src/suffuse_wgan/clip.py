"""Wasserstein GAN as published: a critic whose weights are clipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from suffuse.contracts.network import Critic
from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress
from suffuse.contracts.part import module, setting
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_wgan.adversarial import duel, frozen, generate, real

__all__ = ["Clip"]


@module
class Clip(Objective, nn.Module):
    """``max_w E f_w(x) - E f_w(G(z))`` over weights in ``[-limit, limit]``; the generator minimises ``-E f_w(G(z))``.

    Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017, arXiv:1701.07875, algorithm 1: after each update all of the
    critic's weights are clipped, and both players use RMSProp; the published learning rate is 5e-5, the batch 64. At
    each of the first ``warm`` steps and at every ``burst_every``-th the critic plays ``burst`` turns, as in the
    authors' code. The log ``critic/wasserstein`` estimates the distance up to the Lipschitz constant of the weights
    in the box. Streams: those of a sample.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"generator"})

    critic: Critic = setting(doc="f, without a sigmoid")
    limit: float = setting(0.01, "c, the largest weight; for deep critics with normalisation", gt=0)
    repeats: int = setting(5, "n_critic, turns of the critic for one of the generator", ge=1)
    warm: int = setting(25, "steps at the start with the longer turns", ge=0)
    burst: int = setting(100, "turns of the critic in these", ge=1)
    burst_every: int = setting(500, "and at every step divisible by this", ge=1)

    def turns(self, step: int) -> int:
        """How often the critic plays at a step, counted from 0."""
        return self.burst if step < self.warm or step % self.burst_every == 0 else self.repeats

    def players(self, system: System) -> Mapping[str, Player]:
        """The critic and the generator."""
        return duel(system, self.critic, repeats=self.turns, optimizer="rmsprop")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """``f(G(z)) - f(x)`` for the critic, ``-f(G(z))`` for the generator."""
        x, cond = real(batch)
        if player == "generator":
            with frozen(self.critic):
                return Loss(-self.critic(generate(system, cond, rng, x), cond))
        with torch.no_grad():
            fake = generate(system, cond, rng, x)
        gap = self.critic(x, cond) - self.critic(fake, cond)
        return Loss(-gap, {"wasserstein": gap.detach().mean()})

    def project(self, player: str, system: System) -> None:
        """Clip the critic's weights, biases and gains."""
        if player == "critic":
            for p in self.critic.parameters():
                p.clamp_(-self.limit, self.limit)
