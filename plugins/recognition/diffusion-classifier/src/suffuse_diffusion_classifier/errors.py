"""Denoising errors under several conditions, at shared times and with shared noise.

Li et al., Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023, arXiv:2303.16203, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import evaluate_many
from suffuse.contracts.objective import Weighting
from suffuse.contracts.process import Gaussian
from suffuse.rng import Rng
from suffuse.state import State, leaves
from suffuse.system import System

__all__ = ["Loss", "errors", "grid", "subgrid"]

Loss = Literal["l2", "l1", "huber"]

_LOSSES = {"l2": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}


def grid(samples: int, chain: int) -> Tensor:
    """``t_i = (T//N//2 + i (T//N) + 1)/T``, i < N: the middles of N equal parts of a chain of T steps, float64."""
    stride = chain // samples
    return (torch.arange(samples, dtype=torch.float64) * stride + stride // 2 + 1) / chain


def subgrid(samples: int, whole: int) -> list[int]:
    """Where ``samples`` of ``whole`` grid points lie, evenly: positions ``N//n//2 + j (N//n)``."""
    stride = whole // samples
    return [stride // 2 + j * stride for j in range(samples)]


def errors(
    system: System,
    x0: State,
    conds: Sequence[Condition],
    times: Tensor,
    at: Sequence[int],
    rng: Rng,
    *,
    loss: Loss,
    weighting: Weighting,
    mean: bool,
) -> tuple[Tensor, int]:
    """``w_i |eps_i - eps(x_{t_i}, t_i, c_k)|^p`` for each sample, condition and point ``at`` of the times.

    eps_i is the stream ``(noise, i)`` of each sample, so it is the same for every condition, and for the same point in
    another call. The model is asked without guidance. Errors are averaged over a sample's entries, or summed.
    Returns float64 ``(B, K, n)`` and the evaluations for each sample.
    """
    process, found, nfe = cast(Gaussian, system.process), [], 0
    for i in at:
        t = times[i]
        corruption = process.corrupt(x0, t, rng=rng.at("noise", i))
        predictions = evaluate_many(system.plain, corruption.x_t, t, conds, rng=rng.at("model", i))
        weight = weighting.weight(process, t, (0.0, 1.0))
        noise = dict(leaves(cast(State, corruption.noise)))
        rows = []
        for p in predictions:
            parts = [
                _LOSSES[loss](v.double(), noise[k].double(), reduction="none").flatten(1) for k, v in leaves(p.eps)
            ]
            each = torch.cat(parts, 1)
            rows.append(weight.to(each) * (each.mean(1) if mean else each.sum(1)))
        nfe += sum(p.nfe for p in predictions)
        found.append(torch.stack(rows, 1))
    return torch.stack(found, 2), nfe
