"""Objectives on whole trajectories: trajectory balance, its form without a parameter, and maximum likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress
from suffuse.contracts.part import module, setting
from suffuse.contracts.target import Target
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_gfn_diffusion.off_policy import OffPolicy
from suffuse_gfn_diffusion.paths import Paths, backward, differentiable, evaluate

__all__ = ["MaximumLikelihood", "ReverseKl", "TrajectoryBalance", "VarGrad"]

NEEDS = frozenset({"gaussian", "mean", "stochastic"})


def residual(target: Target, paths: Paths) -> Tensor:
    """``sum log PF - sum log PB - log R`` of each trajectory: minus its log-weight. No gradient through the energy."""
    return paths.log_ratio.sum(0) + target.energy(paths.states[-1]).detach()


@module
class TrajectoryBalance(OffPolicy, Objective, nn.Module):
    """``(log Z + sum log PF - sum log PB - log R)^2 / 2`` with a learned log Z (TB).

    Malkin et al., Trajectory Balance, 2022, arXiv:2201.13259; for diffusion, Lahlou et al., A Theory of Continuous
    Generative Flow Networks, 2023, arXiv:2301.12594; with the settings of Sendera et al., 2024, arXiv:2402.05098. Zero
    for all trajectories if and only if the policy samples the target, so that it can be trained on any.
    """

    needs: ClassVar[frozenset[str]] = NEEDS

    log_z_rate: float = setting(100.0, "Adam's step of log Z, in the run's learning rates", gt=0)

    def __attrs_post_init__(self) -> None:
        # Adam's steps do not depend on a parameter's scale: log Z moves log_z_rate times as far as this does.
        self.scaled_log_z = nn.Parameter(torch.zeros(()))

    @property
    def log_z(self) -> Tensor:
        """The learned ``log Z``."""
        return self.log_z_rate * self.scaled_log_z

    def players(self, system: System) -> Mapping[str, Player]:
        """The policy and log Z, together."""
        return {"model": Player(modules=(cast(nn.Module, system.model), self))}

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """One residual a trajectory."""
        paths, seen = self.draw(system, state, rng)
        off = self.log_z + residual(self.target, paths)
        return Loss(off.square() / 2, {"log_z": self.log_z.detach()}, seen)


@attrs.frozen(kw_only=True)
class VarGrad(OffPolicy, Objective):
    """TB with the batch's mean log-weight as log Z: half the variance of the log-weights.

    Richter et al., VarGrad, 2020, arXiv:2010.10436; Zhang et al., Robust Scheduling with GFlowNets, 2023,
    arXiv:2302.05446. A sample's loss depends on its batch; the gradient passes through the mean, where it is zero.
    """

    needs: ClassVar[frozenset[str]] = NEEDS

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """One residual a trajectory, less their mean."""
        paths, seen = self.draw(system, state, rng)
        off = residual(self.target, paths)
        return Loss((off - off.mean()).square() / 2, {"log_z": -off.detach().mean()}, seen)


@attrs.frozen(kw_only=True)
class ReverseKl(Objective):
    """``log PF - log PB - log R`` of reparametrised trajectories, differentiated through them: on-policy only.

    The path integral sampler: Zhang and Chen, 2022, arXiv:2111.15141, for the policy's own time steps.
    """

    needs: ClassVar[frozenset[str]] = NEEDS
    uses_data = False

    target: Target = setting(doc="what is sampled")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """``KL(PF || PB R/Z) - log Z``, one term a trajectory."""
        paths = differentiable(system, rng)
        off = paths.log_ratio.sum(0) + self.target.energy(paths.states[-1])
        return Loss(off, {"log_z": -off.detach().mean()})


@attrs.frozen(kw_only=True)
class MaximumLikelihood(Objective):
    """``-sum log PF`` on trajectories of the process from exact draws of the target: what can be learned from data.

    The backward loss ``mle`` of Sendera et al.'s code, with draws of the target in place of a buffer.
    """

    needs: ClassVar[frozenset[str]] = NEEDS
    uses_data = False

    target: Target = setting(doc="what is sampled; it must have exact draws")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """``log PB - log PF``: the constant first term makes it an upper bound of the negative log-likelihood."""
        x = self.target.sample(rng.at("draws"))
        paths = evaluate(system, backward(system, x.to(system.device), rng.at("backward")), rng.at("evaluate"))
        return Loss(-paths.log_ratio.sum(0))
