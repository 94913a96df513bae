"""The hybrid objective."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from suffuse_ddpm.chain import LEVELS, STEPS, ReverseChain, bits_per_dim, check_levels
from suffuse_ddpm.steps import step_of
from suffuse_ddpm.times import Steps
from torch import Tensor

from suffuse.contracts.objective import Batch, Loss, Objective, Progress, Times
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mean
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import combine, leaves, tree_map
from suffuse.system import System
from suffuse_iddpm.terms import term

__all__ = ["Hybrid"]


@attrs.frozen(kw_only=True)
class Hybrid(Objective):
    """``L_simple + weight L_vlb``, where the bound trains the variance alone.

    Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, arXiv:2102.09672, eq. 16. L_simple is
    the mean squared error of what the network says (``ddpm/eps``: the paper's); L_vlb, in bits/dim, is estimated by T
    times the term of one random step. Inside it the mean is held fixed, so that it gives no gradient to the mean.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean", "variance"})

    weight: float = setting(1e-3, "weight of the bound, the paper's lambda", ge=0, lt=float("inf"))
    T: int | None = setting(None, STEPS, ge=2)
    levels: int = setting(256, LEVELS, check=check_levels)
    times: Times = setting(factory=Steps, doc="the distribution of training times")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """The loss of each sample; the model is the unguided one. Streams: ``times``, ``noise``, ``model``."""
        if batch is None:
            raise InvalidInput("the hybrid objective needs data")
        chain = ReverseChain.of_system(system, self.T, "small", self.levels)
        drawn, importance = self.times.draw(chain.process, len(batch.index), rng)
        t, s = chain.times(step_of(drawn, chain.T))
        corruption = chain.process.corrupt(batch.x, t, rng=rng)
        said = system.plain(corruption.x_t, t, batch.cond, s=s, rng=rng.at("model"))
        if not isinstance(said, Mean) or corruption.noise is None:
            raise Unsupported(f"the hybrid objective needs a model that predicts means, got '{said.name}'")
        goal = combine(said.mix[0], corruption.x0, said.mix[1], corruption.noise)
        errors = combine(1.0, said.value, -1.0, goal)
        simple = torch.cat([e.flatten(1).square() for _, e in leaves(errors)], dim=1).mean(1)
        held = attrs.evolve(said, value=tree_map(Tensor.detach, said.value))
        bits = bits_per_dim(term(chain.process, batch.x, held, t, s, chain.levels), batch.x) * chain.T
        logs = {"mse": simple.detach().mean(), "bits_per_dim": bits.detach().mean()}
        return Loss((simple + self.weight * bits) * importance.to(simple), logs)
