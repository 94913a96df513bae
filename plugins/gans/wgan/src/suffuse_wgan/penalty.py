"""Wasserstein GAN with a gradient penalty instead of clipped weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import nn

from suffuse.contracts.network import Critic
from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress
from suffuse.contracts.part import module, setting
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_wgan.adversarial import duel, frozen, generate, real
from suffuse_wgan.penalties import between, one_sided, scored, two_sided

__all__ = ["GradientPenalty"]


@module
class GradientPenalty(Objective, nn.Module):
    """``E f(G(z)) - E f(x) + weight E (|grad f(x^)| - 1)^2`` at ``x^ = u x + (1 - u) G(z)``.

    Gulrajani et al., Improved Training of Wasserstein GANs, 2017, arXiv:1704.00028, algorithm 1, with Adam's
    betas (0, 0.9); the published learning rate is 1e-4, the batch 64. With ``sides="one"`` only slopes above 1 cost:
    Petzka et al., On the Regularization of Wasserstein GANs, 2018, arXiv:1709.08894. The log ``critic/wasserstein``
    estimates the distance. Streams: those of a sample, and ``between``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"generator"})

    critic: Critic = setting(doc="f, without a sigmoid and without batch normalisation")
    weight: float = setting(10.0, "lambda, of the penalty", ge=0)
    sides: Literal["two", "one"] = setting(
        "two", "which slopes cost: all but 1, or those above", choices=("two", "one")
    )
    repeats: int = setting(5, "turns of the critic for one of the generator", ge=1)
    betas: tuple[float, float] = setting((0.0, 0.9), "Adam's decay rates")

    def players(self, system: System) -> Mapping[str, Player]:
        """The critic and the generator."""
        return duel(system, self.critic, repeats=self.repeats, betas=self.betas)

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """The critic's penalised difference, or ``-f(G(z))`` for the generator."""
        x, cond = real(batch)
        if player == "generator":
            with frozen(self.critic):
                return Loss(-self.critic(generate(system, cond, rng, x), cond))
        with torch.no_grad():
            fake = generate(system, cond, rng, x)
        gap = self.critic(x, cond) - self.critic(fake, cond)
        _, slope = scored(lambda v: self.critic(v, cond), between(x, fake, rng.at("between")))
        penalty = (two_sided if self.sides == "two" else one_sided)(slope)
        logs = {"wasserstein": gap.detach().mean(), "penalty": penalty.detach().mean()}
        return Loss(self.weight * penalty - gap, logs)
