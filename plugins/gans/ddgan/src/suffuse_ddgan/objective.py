"""A conditional GAN for each denoising step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import torch
from suffuse_ddpm.times import Steps
from suffuse_wgan.adversarial import duel, frozen, real
from suffuse_wgan.penalties import scored, zero_centred
from torch import Tensor, nn
from torch.nn.functional import softplus

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Critic
from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress
from suffuse.contracts.part import module, setting
from suffuse.contracts.process import Gaussian
from suffuse.errors import IncompatibleComponents, InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.system import System

__all__ = ["DenoisingGan", "Pair"]


@attrs.frozen(eq=False)
class Pair:
    """Neighbours of one path of the forward chain, x_s the parent of x_t."""

    x_s: Tensor
    x_t: Tensor
    t: Tensor
    s: Tensor


@module
class DenoisingGan(Objective, nn.Module):
    """``min_D E softplus(-D(x_s, x_t, t)) + E softplus(D(x'_s, x_t, t))``, ``min_G E softplus(-D(x'_s, x_t, t))``.

    Xiao et al., Tackling the Generative Learning Trilemma with Denoising Diffusion GANs, 2022, arXiv:2112.07804,
    section 3.2: t is uniform on 1/T ... 1, ``s = t - 1/T``, ``x_s ~ q(x_s | x_0)``, ``x_t ~ q(x_t | x_s)``, and
    the sample is ``x'_s ~ q(x_s | x_t, x_0 = G(x_t, t, z))``, through which G learns. At every ``lazy``-th step the
    discriminator pays ``gamma/2 |grad_{x_s} D(x_s, x_t, t)|^2`` on the forward chain's pairs. Both players draw pairs
    of their own. Defaults are those of CIFAR-10, for a run with learning rate 1.6e-4, an average of the weights with
    0.9999, and 64 images for each of four devices; CelebA-HQ has T = 2, gamma = 2, lazy = 10.

    Streams: ``times``, ``pair``, ``model``, ``posterior``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "draw"})

    critic: Critic = setting(doc="D, a logit of steps: ddgan/step-critic")
    T: int = setting(4, "steps of the chain", ge=1)
    gamma: float = setting(0.02, "weight of the gradient penalty", ge=0)
    lazy: int = setting(15, "steps from one penalty to the next", ge=1)
    critic_rate: float = setting(1.25 / 1.6, "the discriminator's learning rate, in the run's", gt=0)
    betas: tuple[float, float] = setting((0.5, 0.9), "Adam's decay rates")

    def players(self, system: System) -> Mapping[str, Player]:
        """The discriminator, named ``critic``, and the generator."""
        if "transitions" not in self.critic.gives:
            name = type(self.critic).__name__
            raise IncompatibleComponents(f"a critic of steps is needed, got {name}: put it into ddgan/step-critic")
        both = duel(system, self.critic, betas=self.betas)
        return {**both, "critic": attrs.evolve(both["critic"], learning_rate_scale=self.critic_rate)}

    def start(self, system: System, rng: Rng) -> Progress:
        """The number of steps done."""
        return {"step": 0}

    def after(self, state: Progress, step: int, system: System, rng: Rng) -> Progress:
        """One step more."""
        return {"step": step}

    def pair(self, x0: Tensor, process: Gaussian, rng: Rng) -> Pair:
        """Two neighbours for each row: the second is noised from the first."""
        t, _ = Steps(T=self.T).draw(process, len(x0), rng)
        s = (t * self.T - 1).round() / self.T
        x_s = process.corrupt(x0, s, rng=rng.at("pair")).x_t
        x_t = process.renoise(x_s, s, t, rng=rng.at("pair", "step"))
        if not isinstance(x_s, Tensor) or not isinstance(x_t, Tensor):
            raise InvalidInput("expected states of one tensor")
        return Pair(x_s, x_t, t, s)

    def sample(self, system: System, pair: Pair, cond: Condition, rng: Rng) -> Tensor:
        """``x'_s`` from x_t, differentiable in G."""
        process = _gaussian(system)
        x0 = system.plain(pair.x_t, pair.t, cond, s=pair.s, rng=rng.at("model")).x0
        x_s = process.posterior(pair.x_t, x0, pair.t, pair.s).sample(rng.at("posterior"))
        assert isinstance(x_s, Tensor)
        return x_s

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """One for each pair."""
        x0, cond = real(batch)
        pair = self.pair(x0, _gaussian(system), rng)
        told = cond.also(x_t=pair.x_t, t=pair.t)
        if player == "generator":
            with frozen(self.critic):
                return Loss(softplus(-self.critic(self.sample(system, pair, cond, rng), told)))
        with torch.no_grad():
            fake = self.sample(system, pair, cond, rng)
        on_fake = self.critic(fake, told)
        if int(state["step"]) % self.lazy or not self.gamma:
            on_real, penalty = self.critic(pair.x_s, told), torch.zeros_like(on_fake)
        else:
            on_real, slope = scored(lambda v: self.critic(v, told), pair.x_s)
            penalty = zero_centred(slope)
        logs = {"real": on_real.detach().mean(), "fake": on_fake.detach().mean(), "r1": penalty.detach().mean()}
        return Loss(softplus(-on_real) + softplus(on_fake) + self.gamma / 2 * penalty, logs)


def _gaussian(system: System) -> Gaussian:
    if not isinstance(system.process, Gaussian):
        raise Unsupported("a denoising diffusion GAN needs a Gaussian process")
    return system.process
