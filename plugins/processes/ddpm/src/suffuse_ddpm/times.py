"""Where a chain's time is drawn from and where a sampler stops on it."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from suffuse.contracts.objective import Times
from suffuse.contracts.part import setting
from suffuse.contracts.process import Gaussian, Process
from suffuse.contracts.sampler import Grid
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.steps import time_of

__all__ = ["Steps", "Strided"]


@attrs.frozen(kw_only=True)
class Steps(Times):
    """``t = n/T`` with n uniform on 1 ... T, as in Ho et al. 2020, arXiv:2006.11239, algorithm 1.

    T is that of the process; for a process in continuous time, t is uniform on (0, 1].
    """

    T: int | None = setting(None, "steps of the chain; by default those of the process", ge=1)

    def draw(self, process: Gaussian, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Times and unit weights; stream ``times``."""
        T = process.T if self.T is None and isinstance(process, Discrete) else self.T
        rng = rng.at("times")
        if T is None:
            t = 1 - rng.uniform(torch.empty(n, dtype=torch.float64, device=rng.device))
        else:
            t = time_of(rng.integers(1, T + 1), T)
        return t, torch.ones_like(t)


@attrs.frozen(kw_only=True)
class Strided(Grid):
    """Whole steps of a chain of T, evenly spaced from the last: ``n_i = round(T (1 - i/steps))``, ``t_i = n_i/T``.

    For networks that know whole steps only, where ``steps`` does not divide T. Starting at T matters: Lin et al.,
    Common Diffusion Noise Schedules and Sample Steps are Flawed, 2024, arXiv:2305.08891, section 3.3 ("trailing").
    """

    T: int | None = setting(None, "steps of the chain; by default those of the process", ge=1)

    def times(self, process: Process, steps: int) -> Tensor:
        """Float64 ``(steps,)``; ``Unsupported`` for more steps than T, or where nothing says T."""
        T = process.T if self.T is None and isinstance(process, Discrete) else self.T
        if T is None:
            raise Unsupported(f"{type(process).__name__} has no steps of its own: give Strided(T=...)")
        if steps > T:
            raise Unsupported(f"a chain of T={T} has no {steps} distinct steps")
        n = torch.floor(T * (1 - torch.arange(steps, dtype=torch.float64) / steps) + 0.5)
        return time_of(n, T)
