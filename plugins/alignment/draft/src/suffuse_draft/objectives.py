"""The objectives: the reward's gradient through all steps, the last K, or the last one several times."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from suffuse_ddpo.epochs import conditions
from suffuse_ddpo.rollouts import evaluating
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch, Loss, Objective, Progress
from suffuse.contracts.part import setting
from suffuse.contracts.process import Markov
from suffuse.contracts.reward import Reward
from suffuse.contracts.sampler import Carry
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_draft.sampling import last_step, sample

__all__ = ["Draft", "DraftLv"]


@attrs.frozen(kw_only=True)
class Draft(Objective):
    """``-r(x_0, c)``, differentiated through the last K steps of sampling x_0 (DRaFT-K; DRaFT where K is all).

    ``grad_theta r(x_0(theta), c)`` with the state before the last K steps taken as a constant. Clark et al., Directly
    Fine-Tuning Diffusion Models on Differentiable Rewards, 2023, arXiv:2309.17400.
    K = 1 is their usual best. Any sampler and guidance; noise of random samplers is reparametrised. Dropout is off.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"differentiable"})
    uses_data = False

    reward: Reward = setting(doc="what is raised")
    classes: int = setting(0, "labels that prompts are drawn from; 0 for none", ge=0)
    last: int | None = setting(None, "K, the last steps that carry gradients; all by default", ge=1)
    recompute: bool = setting(False, "repeat each step in the backward pass instead of keeping what it computed")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """One term a sample."""
        cond = conditions(self.classes, rng)
        with evaluating(system.model):
            x = sample(system, cond, rng, last=self.last, recompute=self.recompute)
            r = _reward(self.reward, system, x, cond)
        return Loss(-r, {"reward": r.detach().mean()})


@attrs.frozen(kw_only=True)
class DraftLv(Objective):
    """DRaFT-1, and the same last step from ``copies`` fresh noisings of the sample: a gradient of lower variance.

    ``x_1 ~ q(x_1 | x_0)`` with x_0 a constant; the loss is the mean of ``-r`` over all 1 + n ends. It costs n last
    steps, and no further trajectory. Clark et al., 2023, arXiv:2309.17400; n = 2 there.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"differentiable", "markov"})
    uses_data = False

    reward: Reward = setting(doc="what is raised")
    classes: int = setting(0, "labels that prompts are drawn from; 0 for none", ge=0)
    copies: int = setting(2, "n, further noisings of each sample", ge=0)

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """One term a sample, its mean over the ends."""
        process, cond = system.process, conditions(self.classes, rng)
        if not isinstance(process, Markov):
            raise Unsupported(f"noising a sample again needs a Markov process, got {type(process).__name__}")
        with evaluating(system.model):
            ends = [sample(system, cond, rng, last=1)]
            t, s = system.points[-2:]
            for i in range(self.copies):
                with torch.no_grad():
                    x_t = process.renoise(ends[0].detach(), s, t, rng=rng.at("renoise", i))
                carry, _ = last_step(system)(system, Carry(x=x_t, cond=cond), t, s, rng.at("copy", i))
                assert isinstance(carry.x, Tensor)
                ends.append(carry.x)
            r = torch.stack([_reward(self.reward, system, x, cond) for x in ends])
        return Loss(-r.mean(0), {"reward": r[0].detach().mean()})


def _reward(reward: Reward, system: System, x: Tensor, cond: Condition) -> Tensor:
    return reward.value(system.codec.decode(x), cond)
