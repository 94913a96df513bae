"""The published chain of few steps, and what its networks see of it."""

from __future__ import annotations

import torch
from suffuse_ddpm.linear import Linear
from torch import Tensor

from suffuse.contracts.process import as_time
from suffuse.state import require

__all__ = ["one_hot", "planes", "published", "step_of"]


def published(*, beta_min: float = 0.1, beta_max: float = 20.0, first: float = 1e-3) -> Linear:
    """The process whose times k/T are the published chain's steps, for every T.

    Published are ``A_k = a(u_k)/a(u_0)`` at ``u_k = first + (1 - first) k/T`` with
    ``log a(u) = -u beta_min - u^2 (beta_max - beta_min)/2`` (Xiao et al., Tackling the Generative Learning Trilemma
    with Denoising Diffusion GANs, 2022, arXiv:2112.07804, and its code). In the time t = k/T that is again
    noise at a rate linear in time.
    """
    rest = 1 - first
    return Linear(beta_min=rest * (beta_min + first * (beta_max - beta_min)), beta_max=rest * beta_max)


def step_of(t: Tensor, T: int) -> Tensor:
    """The step k in 1 ... T with t = k/T, int64. Raises ``Unsupported`` between steps: nothing was trained there."""
    n = as_time(t) * T
    k = n.round()
    require(((n - k).abs() < 1e-6) & (k >= 1) & (k <= T), f"these networks know the times k/{T}, k = 1 ... {T}, only")
    return k.long()


def planes(numbers: Tensor, like: Tensor) -> Tensor:
    """``(B, n)`` as n constant channels of the size of ``like`` ``(B, C, *size)``, in its dtype."""
    shape = (*numbers.shape, *like.shape[2:])
    return numbers.to(like.dtype).reshape(*numbers.shape, *(1 for _ in like.shape[2:])).expand(shape)


def one_hot(k: Tensor, T: int) -> Tensor:
    """Step k of T as a row of zeros and a one."""
    return torch.nn.functional.one_hot(k - 1, T)
