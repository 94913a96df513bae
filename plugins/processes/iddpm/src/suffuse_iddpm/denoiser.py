"""The denoiser that learns its variance."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Mean, Variance
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.state import State, expand
from suffuse_iddpm.transition import log_range

__all__ = ["LearnedRange"]


@module
class LearnedRange(Denoiser):
    """A network with twice the state's channels: the first half is what its parameterization says, the second v.

    The variance of the step from t to s is, element by element, ``exp(f log beta + (1 - f) log beta-tilde)`` with
    ``f = (v + 1)/2``, which nothing holds in [0, 1] (Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic
    Models, 2021, arXiv:2102.09672, eq. 15). At s = 0 beta-tilde is that of the next step of the same length. The
    variance is there where the caller says s, the time aimed at; v does not depend on it, so that one network serves
    every sub-sequence of its chain (section 4: beta and beta-tilde are those of the longer steps).

    Under another process than that of training the range is the training process's at equal log-SNR, in the other's
    scale: schedules can be swapped as for any ``Preconditioned``.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"mean", "conditional", "variance"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    model: Preconditioned = setting(doc="the network, its parameterization and the process of training")

    @property
    def trained(self) -> Gaussian:
        """The process of training."""
        return self.model.trained

    @property
    def gives(self) -> frozenset[str]:
        """What the network gives, and ``variance``."""
        return self.model.gives | {"variance"}

    def check(self, cond: Condition) -> None:
        """The network's check."""
        self.model.check(cond)

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Mean:
        """A mean, with the variance of the step to ``s`` where that is given."""
        both = self.model(x_t, t, cond, process=process, s=s, rng=rng)
        assert isinstance(both.value, Tensor)
        assert isinstance(both.x_t, Tensor)
        if both.value.shape[1] != 2 * both.x_t.shape[1]:
            raise InvalidInput(
                f"a learned variance needs twice the state's {both.x_t.shape[1]} channels from the network, got "
                f"{both.value.shape[1]}: set outputs={2 * both.x_t.shape[1]}"
            )
        value, v = both.value.chunk(2, dim=1)
        variance = None if s is None else Variance(self._variance(v, process, both.t, as_time(s)), of="transition")
        return attrs.evolve(both, value=value, variance=variance)

    def _variance(self, v: Tensor, process: Process, t: Tensor, s: Tensor) -> Tensor:
        if not isinstance(process, Gaussian):
            raise Unsupported(f"a learned range needs a Gaussian process, got {type(process).__name__}")
        scale = torch.zeros((), dtype=torch.float64)
        if process != self.trained:
            alpha, sigma = process.scalars(s)
            t, s = (self.trained.time(process.log_snr(w)) for w in (t, s))
            scale = 2 * (torch.hypot(alpha, sigma).log() - torch.hypot(*self.trained.scalars(s)).log())
        small, large = (expand(w + scale, v) for w in log_range(self.trained, t, s))
        f = (v + 1) / 2
        return (f * large + (1 - f) * small).exp()
