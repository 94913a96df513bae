"""The classical adversarial losses, which the paper is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import nn
from torch.nn.functional import softplus

from suffuse.contracts.network import Critic
from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress
from suffuse.contracts.part import module, setting
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_wgan.adversarial import duel, frozen, generate, real

__all__ = ["Gan"]


@module
class Gan(Objective, nn.Module):
    """``E log sigma(D(x)) + E log(1 - sigma(D(G(z))))``, maximised by the discriminator.

    Goodfellow et al., Generative Adversarial Networks, 2014, arXiv:1406.2661, equation 1 and section 3. The generator
    minimises it (``saturating``) or ``-E log sigma(D(G(z)))``. The log ``critic/divergence`` is the value plus
    ``2 log 2``: twice the Jensen-Shannon divergence for the best discriminator, in nats. Streams: those of a sample.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"generator"})

    critic: Critic = setting(doc="D, the logit of being data")
    generator_loss: Literal["non-saturating", "saturating"] = setting(
        "non-saturating", "which of the two", choices=("non-saturating", "saturating")
    )
    repeats: int = setting(1, "k, turns of the discriminator for one of the generator", ge=1)
    betas: tuple[float, float] = setting((0.5, 0.999), "Adam's decay rates (those of DCGAN)")

    def players(self, system: System) -> Mapping[str, Player]:
        """The discriminator, named ``critic``, and the generator."""
        return duel(system, self.critic, repeats=self.repeats, betas=self.betas)

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """In logits: ``log sigma(a) = -softplus(-a)``, ``log(1 - sigma(a)) = -softplus(a)``."""
        x, cond = real(batch)
        if player == "generator":
            with frozen(self.critic):
                logit = self.critic(generate(system, cond, rng, x), cond)
            return Loss(softplus(-logit) if self.generator_loss == "non-saturating" else -softplus(logit))
        with torch.no_grad():
            fake = generate(system, cond, rng, x)
        per_sample = softplus(-self.critic(x, cond)) + softplus(self.critic(fake, cond))
        divergence = 2 * torch.log(per_sample.new_tensor(2.0)) - per_sample.detach().mean()
        return Loss(per_sample, {"divergence": divergence})
