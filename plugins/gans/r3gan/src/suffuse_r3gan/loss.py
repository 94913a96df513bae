"""The relativistic pairing loss with two zero-centred gradient penalties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from suffuse_wgan.adversarial import duel, frozen, generate, real
from suffuse_wgan.penalties import scored, zero_centred
from torch import Tensor, nn
from torch.nn.functional import softplus

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Critic
from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress
from suffuse.contracts.part import module, setting
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_r3gan.schedule import half_cosine

__all__ = ["R3Gan"]


def _ends(ends: tuple[float, float]) -> str | None:
    good = len(ends) == 2 and all(v >= 0 for v in ends)
    return None if good else f"expected the first and the last value, both at least 0, got {ends!r}"


def _decays(ends: tuple[float, float]) -> str | None:
    return _ends(ends) or (None if max(ends) < 1 else f"expected decay rates below 1, got {ends!r}")


@module
class R3Gan(Objective, nn.Module):
    """``E softplus(-(D(x) - D(G(z)))) + gamma/2 (R1 + R2)``; the generator swaps the roles of x and G(z).

    Huang, Gokaslan, Kuleshov and Tompkin, The GAN is dead; long live the GAN! A Modern GAN Baseline, 2024,
    arXiv:2501.05441, equation 2 and section 2.2. ``R1 = |grad D(x)|^2`` on data, ``R2`` the same on samples, both at
    every step; the i-th row of data is paired with the i-th sample, which has the same condition. One turn each of
    the critic and of the generator, Adam with ``beta_1 = 0``. Four things follow half a cosine over ``burn_in``
    steps: gamma, the learning rate (the run's times ``rate``; published is 2e-4), ``beta_2``, and the half-life of
    the moving average of the weights, in steps. Published are images, here over the batch of CIFAR-10's
    configuration, 512: 2e7 images of burn-in and a half-life up to 5e6. ``penalties`` other than ``both`` are the
    paper's ablations. Streams: those of a sample.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"generator"})

    critic: Critic = setting(doc="D, a logit")
    penalties: Literal["both", "r1", "r2", "none"] = setting(
        "both", "on data (r1), on samples (r2)", choices=("both", "r1", "r2", "none")
    )
    burn_in: int = setting(39062, "steps from the first to the last values", ge=1)
    gamma: tuple[float, float] = setting((0.05, 0.005), "the penalties' weight", check=_ends)
    rate: tuple[float, float] = setting((1.0, 0.25), "factor of the run's learning rate", check=_ends)
    beta2: tuple[float, float] = setting((0.9, 0.99), "Adam's second decay rate", check=_decays)
    half_life: tuple[float, float] = setting((0.0, 9766.0), "of the weights' average, in steps", check=_ends)

    def players(self, system: System) -> Mapping[str, Player]:
        """The critic and the generator."""
        return duel(
            system,
            self.critic,
            learning_rate_scale=lambda step: half_cosine(step, self.burn_in, self.rate),
            betas=lambda step: (0.0, half_cosine(step, self.burn_in, self.beta2)),
        )

    def ema(self, step: int) -> float:
        """``2^(-1/half-life)``."""
        half_life = half_cosine(step, self.burn_in, self.half_life)
        return 0.5 ** (1 / half_life) if half_life > 1e-3 else 0.0

    def start(self, system: System, rng: Rng) -> Progress:
        """The number of steps done."""
        return {"step": 0}

    def after(self, state: Progress, step: int, system: System, rng: Rng) -> Progress:
        """One step more."""
        return {"step": step}

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """One for each pair."""
        x, cond = real(batch)
        if player == "generator":
            fake = generate(system, cond, rng, x)
            with frozen(self.critic):
                return Loss(softplus(self.critic(x, cond) - self.critic(fake, cond)))
        with torch.no_grad():
            fake = generate(system, cond, rng, x)
        on_data, r1 = self._scored(x, cond, "r1")
        on_samples, r2 = self._scored(fake, cond, "r2")
        gamma = half_cosine(int(state["step"]), self.burn_in, self.gamma)
        gap = on_data - on_samples
        logs = {"gap": gap.detach().mean(), "r1": r1.detach().mean(), "r2": r2.detach().mean()}
        return Loss(softplus(-gap) + gamma / 2 * (r1 + r2), logs)

    def _scored(self, x: Tensor, cond: Condition, penalty: str) -> tuple[Tensor, Tensor]:
        """The scores, and the penalty where it is asked for."""
        if self.penalties in ("both", penalty):
            value, slope = scored(lambda v: self.critic(v, cond), x)
            return value, zero_centred(slope)
        value = self.critic(x, cond)
        return value, torch.zeros_like(value)
