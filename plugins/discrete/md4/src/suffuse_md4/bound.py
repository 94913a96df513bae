"""The terms of the negative evidence lower bound, in nats a sequence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.special import xlogy

from suffuse.contracts.prediction import Prediction
from suffuse.errors import InvalidInput, Unsupported
from suffuse.state import State
from suffuse.system import System
from suffuse_md4.process import Masked, of_symbol, spread

__all__ = ["diffusion", "process_of", "reconstruction", "step"]


def process_of(system: System) -> Masked:
    """The system's process. Raises ``Unsupported`` for one that masks nothing."""
    if not isinstance(system.process, Masked):
        raise Unsupported(f"this bound is of masked processes, got {type(system.process).__name__}")
    return system.process


def diffusion(process: Masked, prediction: Prediction, x0: State, x_t: State, t: Tensor) -> Tensor:
    """``sum_{masked i} sum_v r_v (mu_v - 1[v = x0] (1 + log mu_v))`` with ``r = -alpha'/(1 - alpha)``, ``(B,)``.

    Its mean over x_t, integrated over t, is the bound of the continuous-time chain. Where all symbols have one schedule
    it is the weighted cross-entropy ``-r sum_{masked i} log mu_i[x0_i]`` (Shi et al. 2024, arXiv:2406.04329, sections 3
    and 6).
    """
    x, logs, hidden = _read(process, prediction, x0, x_t)
    rate = process.hazard(spread(t, x)).to(logs)
    terms = -of_symbol(rate, x) * logs.gather(-1, x[..., None])[..., 0]
    if rate.shape[-1] > 1:
        terms = terms + (rate * logs.exp()).sum(-1) - of_symbol(rate, x)
    return (terms * hidden).flatten(1).sum(1)


def step(process: Masked, prediction: Prediction, x0: State, x_t: State, t: Tensor, s: Tensor) -> Tensor:
    """``KL(q(x_s | x_t, x_0) || p(x_s | x_t))``, ``(B,)``: one term of the bound of a chain (section 3)."""
    x, logs, hidden = _read(process, prediction, x0, x_t)
    seen, hides = (w.to(logs) for w in process.reveal(spread(t, x), spread(s, x)))
    terms = -of_symbol(seen, x) * logs.gather(-1, x[..., None])[..., 0]
    if seen.shape[-1] > 1:
        own = of_symbol(hides, x)
        terms = terms + xlogy(own, own) - xlogy(own, (hides * logs.exp()).sum(-1))
    return (terms * hidden).flatten(1).sum(1)


def reconstruction(process: Masked, x0: Tensor, t: Tensor) -> Tensor:
    """The term of t, where next to nothing is masked: ``-sum_i (1 - alpha(x_i)) log p(x_i)``, ``(B,)``.

    A masked token is guessed by ``p_v ~ 1 - alpha_t(v)`` alone, which for one schedule is uniform.
    """
    gone = process.masked(t)
    gone = gone.expand(*gone.shape[:-1], process.symbols)
    total = gone.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    return of_symbol(-xlogy(gone, gone / total), x0).flatten(1).sum(1)


def _read(process: Masked, prediction: Prediction, x0: State, x_t: State) -> tuple[Tensor, Tensor, Tensor]:
    """Data, log mu, and where x_t is masked."""
    if not isinstance(x0, Tensor) or not isinstance(x_t, Tensor):
        raise InvalidInput("the bound is of one tensor of tokens")
    return x0, prediction.logits.log_softmax(-1), x_t == process.symbols
