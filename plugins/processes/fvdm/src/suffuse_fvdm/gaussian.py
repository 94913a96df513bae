"""Gaussian videos, whose denoiser is known for every vector of times."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, promote
from suffuse_fvdm.frames import per_frame

__all__ = ["GaussianVideos", "covariance"]


def covariance(frames: int, length: float = 4.0, jitter: float = 1e-3) -> Tensor:
    """``K_ij = exp(-(i - j)^2 / (2 length^2)) + jitter (i = j)``, float64 ``(frames, frames)``."""
    f = torch.arange(frames, dtype=torch.float64)
    return torch.exp(-((f[:, None] - f) ** 2) / (2 * length**2)) + jitter * torch.eye(frames, dtype=torch.float64)


@module
class GaussianVideos(Denoiser):
    """The exact ``E[. | x_t]`` of videos ``N(0, K (x) I)`` at times ``()``, ``(B,)`` or ``(B, F)``.

    With ``C = A K A + S^2``, A and S the diagonal matrices of the frames' alpha and sigma,
    ``E[x_0 | x_t] = K A C^{-1} x_t`` and ``E[eps | x_t] = S C^{-1} x_t``. Read as v, finite at both ends of time.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"mean"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    frames: int = setting(16, "frames of a video", ge=1)
    length: float = setting(4.0, "over how many frames a pixel is correlated", gt=0)

    def check(self, cond: Condition) -> None:
        """Takes no condition."""
        if cond:
            raise InvalidInput(f"this model takes no condition, got {sorted(cond)}")

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
        """``v = A eps - S x_0``; one linear solve for each vector of times in the batch."""
        if not isinstance(process, Gaussian) or not isinstance(x_t, Tensor):
            raise Unsupported("Gaussian videos need a tensor state of a Gaussian process")
        x, t = promote(x_t), as_time(t)
        vectors, which = torch.unique(per_frame(t, x), dim=0, return_inverse=True)
        alpha, sigma = process.scalars(vectors)
        k = covariance(self.frames, self.length)
        spread = alpha[:, :, None] * k * alpha[:, None, :] + torch.diag_embed(sigma**2)
        # v = (A S - S K A) C^{-1} x_t, and C is symmetric.
        to_v = torch.diag_embed(alpha * sigma) - sigma[:, :, None] * k * alpha[:, None, :]
        gain = torch.linalg.solve(spread, to_v.mT).mT
        flat = x.double().reshape(len(x), self.frames, -1)
        v = torch.einsum("ij,bjd->bid", gain[0], flat) if len(gain) == 1 else gain[which] @ flat
        a, b = process.scalars(t)
        return Mean(value=v.reshape(x.shape).to(x.dtype), x_t=x, t=t, process=process, mix=(-b, a))
