"""Objectives on parts of trajectories: detailed balance and sub-trajectory balance, with a learned flow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, cast

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.network import Backbone
from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress
from suffuse.contracts.part import setting
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_gfn_diffusion.off_policy import OffPolicy
from suffuse_gfn_diffusion.paths import NOTHING, Paths
from suffuse_gfn_diffusion.process import Pinned

__all__ = ["DetailedBalance", "SubTrajectoryBalance"]

NEEDS = frozenset({"mean", "pinned", "stochastic"})


@attrs.define(eq=False, slots=False, kw_only=True, on_setattr=attrs.setters.NO_OP)
class Flows(OffPolicy):
    """A learned ``log F(x, t)`` of each state, ``log R`` at the last; a mixin in front of ``Objective``.

    ``forward_looking``: the network learns the difference to ``(1 - u) log p_u(x) + u log R(x)``, ``u = 1 - t`` the
    time from the origin and ``p_u = N(0, scale u I)`` the law of the uncontrolled motion, with u at least one step
    (Pan et al., Better Training of GFlowNets with Local Credit and Incomplete Trajectories, 2023, arXiv:2302.01687;
    Zhang et al., Diffusion Generative Flow Samplers, 2024, arXiv:2310.02679).
    """

    flow: Backbone = setting(doc="a network of (x, 1 - t) with one output")
    forward_looking: bool = setting(False, "the energy of intermediate states enters their flow")

    def players(self, system: System) -> Mapping[str, Player]:
        """The policy and the flow, together."""
        return {"model": Player(modules=(cast(nn.Module, system.model), self.flow))}

    def log_flow(self, system: System, paths: Paths) -> Tensor:
        """``(T + 1, B)``."""
        process, (steps, n) = cast(Pinned, system.process), paths.log_pf.shape
        x, u = paths.states[:-1].flatten(0, 1), (1 - paths.times[:-1]).to(paths.states).repeat_interleave(n)
        raw = self.flow(x, u, NOTHING)
        if raw.shape != (len(x), 1):
            raise InvalidInput(f"expected a flow with one output, got {tuple(raw.shape)} for {tuple(x.shape)}")
        log_f = raw[:, 0]
        if self.forward_looking:
            variance = process.scale * u.clamp_min(1 / steps)
            motion = -0.5 * (x.square().sum(1) / variance + x.shape[1] * (2 * math.pi * variance).log())
            log_f = log_f + (1 - u) * motion - u * self.target.energy(x).detach()
        last = -self.target.energy(paths.states[-1]).detach()
        return torch.cat([log_f.view(steps, n), last[None]])


@attrs.frozen(kw_only=True)
class DetailedBalance(Flows, Objective):
    """``sum_i (log F_i + log PF_i - log F_{i+1} - log PB_i)^2 / 2`` (DB).

    Bengio et al., GFlowNet Foundations, 2023, arXiv:2111.09266; for diffusion, arXiv:2402.05098
    """

    needs: ClassVar[frozenset[str]] = NEEDS

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """A sum over the steps of each trajectory."""
        paths, seen = self.draw(system, state, rng)
        log_f = self.log_flow(system, paths)
        off = log_f[:-1] + paths.log_ratio - log_f[1:]
        return Loss(off.square().sum(0) / 2, {"log_z": log_f[0].detach().mean()}, seen)


@attrs.frozen(kw_only=True)
class SubTrajectoryBalance(Flows, Objective):
    """``sum_{i<j} w_ij (log F_i + sum_{i<=k<j} (log PF_k - log PB_k) - log F_j)^2``, w ~ ``lambda^(j-i)`` (SubTB).

    Madan et al., Learning GFlowNets from Partial Episodes, 2023, arXiv:2209.12782; lambda = 2 as in the code of
    arXiv:2402.05098. The weights sum to one.
    """

    needs: ClassVar[frozenset[str]] = NEEDS

    lambda_: float = setting(2.0, "how much more a part that is longer by one step counts", gt=0)

    def weights(self, steps: int) -> Tensor:
        """``w_ij`` above the diagonal, float64 ``(steps + 1, steps + 1)``."""
        i = torch.arange(steps + 1, dtype=torch.float64)
        length = i - i[:, None]
        logs = torch.where(length > 0, length * math.log(self.lambda_), -math.inf)
        return (logs - logs.flatten().logsumexp(0)).exp()

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """A weighted sum over all parts of each trajectory."""
        paths, seen = self.draw(system, state, rng)
        log_f = self.log_flow(system, paths)
        zero = paths.log_ratio.new_zeros(1, log_f.shape[1])
        height = log_f - torch.cat([zero, paths.log_ratio.cumsum(0)])  # the residual of a part is a difference of two
        off = height[:, None] - height[None, :]
        weights = self.weights(len(paths.log_ratio)).to(off)
        return Loss(torch.einsum("ij,ijb->b", weights, off.square()), {"log_z": log_f[0].detach().mean()}, seen)
