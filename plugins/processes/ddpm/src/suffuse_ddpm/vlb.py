"""Training on the variational bound: as an objective, and as the loss weight that it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.objective import Batch, Loss, Objective, Progress, Times, Weighting
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mix
from suffuse.contracts.process import Gaussian
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_ddpm.chain import LEVELS, STEPS, VARIANCE, ReverseChain, bits_per_dim, check_levels
from suffuse_ddpm.steps import step_of
from suffuse_ddpm.times import Steps

__all__ = ["Vlb", "VlbWeight"]


@attrs.frozen(kw_only=True)
class VlbWeight(Weighting):
    """``beta_n^2 / (2 sigma_n^2 (1 - beta_n) (1 - alpha_bar_n))`` for an error in eps: the bound's own weight.

    Ho et al. 2020, arXiv:2006.11239, eq. 12, for the step of a chain of T that a time belongs to; converted for other
    readings of the output. At the first step sigma_n is that of ``ReverseChain``.
    """

    T: int | None = setting(None, STEPS, ge=2)
    variance: Literal["small", "large"] = setting("small", VARIANCE, choices=("small", "large"))

    def weight(self, process: Gaussian, t: Tensor, mix: Mix) -> Tensor:
        """Of the squared error of ``a x_0 + b eps``, in nats an element."""
        chain = ReverseChain.of(process, self.T, self.variance)
        n = step_of(t, chain.T)
        alpha, sigma = process.scalars(chain.times(n)[0])
        return chain.weight(n) * (sigma / (alpha * mix[1] - sigma * mix[0])) ** 2


@attrs.frozen(kw_only=True)
class Vlb(Objective):
    """One random term of the variational bound, times T: an unbiased estimate in bits/dim, without the constant L_T.

    Ho et al. 2020, arXiv:2006.11239, eq. 5: ``KL(q(x_{n-1} | x_n, x_0) || p)``, and at n = 1 the discretised-Gaussian
    decoder, or with ``levels=0`` the density. The step n is the one that the drawn time belongs to.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    T: int | None = setting(None, STEPS, ge=2)
    variance: Literal["small", "large"] = setting("small", VARIANCE, choices=("small", "large"))
    levels: int = setting(256, LEVELS, check=check_levels)
    times: Times = setting(factory=Steps, doc="the distribution of training times")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Bits/dim for each sample; the model is the unguided one. Streams: ``times``, ``noise``, ``model``."""
        if batch is None:
            raise InvalidInput("the variational bound needs data")
        chain = ReverseChain.of_system(system, self.T, self.variance, self.levels)
        drawn, importance = self.times.draw(chain.process, len(batch.index), rng)
        n = step_of(drawn, chain.T)
        t, s = chain.times(n)
        x_t = chain.process.corrupt(batch.x, t, rng=rng).x_t
        estimate = system.plain(x_t, t, batch.cond, s=s, rng=rng.at("model")).x0
        bits = bits_per_dim(chain.term(batch.x, estimate, n), batch.x) * chain.T
        logs: Mapping[str, Tensor] = {"bits_per_dim": bits.detach().mean()}
        return Loss(bits * torch.as_tensor(importance).to(bits), logs)
