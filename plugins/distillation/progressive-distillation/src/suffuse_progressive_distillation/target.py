"""What a student has to say for its one step to land where two of its teacher's do."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoise
from suffuse.contracts.process import Gaussian
from suffuse.rng import Rng
from suffuse.state import State, combine

__all__ = ["two_step_target"]


@torch.no_grad()
def two_step_target(
    teacher: Denoise,
    process: Gaussian,
    x_t: State,
    t: Tensor,
    middle: Tensor,
    s: Tensor,
    cond: Condition,
    rng: Rng | None = None,
) -> State:
    """The x0 from which one DDIM step t -> s gives what the teacher's steps t -> middle -> s give.

    With ``x_s`` the teacher's end and ``r = sigma_s/sigma_t``,

        x0 = (x_s - r x_t) / (alpha_s - r alpha_t)

    (Salimans and Ho 2022, arXiv:2202.00512, algorithm 2 and appendix G). At s = 0, without noise, it is the teacher's
    own x0 at ``middle``. No gradients; times are ``()`` or ``(B,)``, with t > middle > s. Two evaluations.
    """
    x = x_t
    for step, (now, then) in enumerate(((t, middle), (middle, s))):
        alpha, sigma = process.scalars(then)
        stream = None if rng is None else rng.at("teacher", step)
        p = teacher(x, now, cond, s=then, rng=stream)
        x = combine(alpha, p.x0, sigma, p.eps)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = process.scalars(t), process.scalars(s)
    ratio = sigma_s / sigma_t
    scale = 1 / (alpha_s - ratio * alpha_t)
    return combine(scale, x, -ratio * scale, x_t)
