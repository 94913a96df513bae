"""What categorical draws by Gumbel noise do when the noise is cut off, in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["chain_law", "grid_law", "gumbel_max", "largest_gumbel", "truncated_law"]


def largest_gumbel(bits: int) -> float:
    """``M = -log(-log(1 - 2^-bits))``: no Gumbel of uniforms on that grid exceeds it; 16.6355 for float32's 24."""
    return -math.log(-math.log1p(-(2.0**-bits)))


def gumbel_max(p: Tensor, u: Tensor) -> Tensor:
    """``argmax_k p_k / (1e-10 - log(u_k + 1e-10))``, as discrete diffusion codes draw categories, in the dtype of u.

    It is the Gumbel-max trick, ``argmax_k log p_k - log(-log u_k)``, of uniforms u in [0, 1).
    """
    return (p.to(u) / (1e-10 - (u + 1e-10).log())).argmax(-1)


def truncated_law(p: Tensor, cut: float) -> Tensor:
    """The law of the Gumbel-max trick with Gumbels that never exceed ``cut``, for probabilities ``(..., K)``.

    Zheng et al. 2024, arXiv:2409.02908, section 5: sorted, ``p_1 <= ... <= p_K``, with ``c = exp(-cut)`` and
    ``S_i = sum_{k >= i} p_k``,

        P(n) = p_n sum_{i <= n} b_i,   b_i = e^((K + 1 - i) c) (e^(-S_i c/p_i) - e^(-S_i c/p_{i-1})) / S_i,   p_0 = 0.

    A class wins only at a height that its own noise can reach; the i-th term is the range of heights that i - 1 classes
    cannot. Likely classes gain, unlikely ones lose, as at a lower temperature. Float64.
    """
    rising, order = p.double().sort(dim=-1)
    k, c = p.shape[-1], math.exp(-cut)
    above = rising.flip(-1).cumsum(-1).flip(-1)
    before = torch.cat([torch.zeros_like(rising[..., :1]), rising[..., :-1]], dim=-1)
    alive = torch.arange(k, 0, -1, dtype=torch.float64, device=p.device)
    b = (alive * c).exp() * ((-above * c / rising).exp() - (-above * c / before).exp()) / above
    return torch.empty_like(rising).scatter(-1, order, rising * b.cumsum(-1))


def grid_law(p: Tensor, bits: int) -> Tensor:
    """The law of the Gumbel-max trick with uniforms on ``0, 1, ..., 2^bits - 1`` in units of 2^-bits, ``(K,)``.

    By summing over all levels of the winner, so for small K and bits: ``E = -log u`` of the others must exceed its own
    times ``p_k/p_n``; of equals the first wins. What float32 noise does at 24 bits: it is not only cut off but coarse
    near 1, which gives back half of what the cut takes, so ``truncated_law`` is nearer to it with one bit more.
    """
    n, p = 2**bits, p.double()
    level = torch.arange(1, n, dtype=torch.float64, device=p.device)
    found = []
    for winner in range(len(p)):
        # In levels below 1: those of class k at or above this bound lose to the winner at each of its levels.
        bound = -n * torch.expm1(torch.log1p(-level / n) * p[:, None] / p[winner])
        first = torch.arange(len(p), device=p.device)[:, None] < winner
        wins = torch.where(first, (bound + 1e-9).floor(), (bound - 1e-9).ceil() - 1)
        others = (1 - wins / n).clamp(0, 1)
        others[winner] = 1.0
        found.append(others.prod(0).sum() / n)
    return torch.stack(found)


def chain_law(p: Tensor, steps: int, cut: float = math.inf) -> Tensor:
    """The law of one token, data law ``p`` ``(K,)``, after ancestral sampling in ``steps`` even steps of ``1 - t``.

    Each step draws among the K symbols and the mask with noise cut off at ``cut``; all that competes with a symbol in
    a step is a mask of probability ``1 - 1/(steps left)``, so what a step loses adds up with their number.
    """
    if math.isinf(cut):
        return p.double()
    left = torch.arange(steps, 0, -1, dtype=torch.float64, device=p.device)[:, None]
    law = torch.cat([truncated_law(torch.cat([p.double() / n, 1 - 1 / n]), cut)[None] for n in left])
    stay = torch.cat([torch.ones_like(law[:1, -1]), law[:-1, -1].cumprod(0)])
    return (stay[:, None] * law[:, :-1]).sum(0)
