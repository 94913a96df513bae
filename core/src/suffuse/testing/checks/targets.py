"""Rules for targets and rewards."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.reward import Reward
from suffuse.contracts.target import Target
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.testing.annealing import bridge_log_z
from suffuse.testing.conformance import Check, Exempt, Subject, demand
from suffuse.testing.statistics import mean_within

F64 = torch.float64
ROWS = 20_000


def _points(target: Target, n: int = 5) -> Tensor:
    return Rng.of(0, n).at("points").normal(torch.empty(n, *target.shape, dtype=F64))


def energy(subject: Subject) -> None:
    """One finite number a row, by itself, in the dtype of x; ``score`` is minus its gradient and differentiable."""
    target = cast(Target, subject.part)
    x = _points(target).requires_grad_()
    e = target.energy(x)
    demand(e.shape == (5,), f"the energy of 5 rows has the shape {tuple(e.shape)}")
    demand(bool(e.isfinite().all()), f"the energy is not finite: {e.tolist()}")
    for dtype in (torch.float32, F64):
        got = target.energy(x.detach().to(dtype)).dtype
        demand(got == dtype, f"{dtype} in gave {got} out")
    alone = target.energy(x[2:3])
    demand(torch.allclose(alone, e[2:3], rtol=1e-12, atol=1e-12), "the energy of a row depends on its neighbours")
    (slope,) = torch.autograd.grad(e.sum(), x)
    score = target.score(x)
    error = float((score.detach() + slope).abs().max())
    demand(error <= 1e-9 * (1 + float(slope.abs().max())), f"score is off minus the energy's gradient by {error:.1e}")
    demand(score.requires_grad, "the score of a state that requires gradients carries none")


def draws(subject: Subject) -> None:
    """Each draw is its stream's own; ``E[dE/dx] = 0`` and ``E[x dE/dx'] = I`` within 5 standard errors (Stein 1972)."""
    target = cast(Target, subject.part)
    try:
        x = target.sample(Rng.of(3, ROWS), dtype=F64)
    except Unsupported as reason:
        raise Exempt(str(reason)) from reason
    demand(x.shape == (ROWS, *target.shape) and x.dtype == F64, f"{ROWS} draws are {x.dtype} {tuple(x.shape)}")
    few = target.sample(Rng.of(3, ROWS).index(slice(2, 4)), dtype=F64)
    demand(torch.equal(few, x[2:4]), "a row's draw depends on its neighbours")
    flat, slope = x.flatten(1), -target.score(x).flatten(1)
    first = mean_within(slope, 0.0)
    demand(first, f"the draws' mean gradient of the energy is not 0: {first}")
    eye = torch.eye(flat.shape[1], dtype=F64)
    second = mean_within(flat[:, :, None] * slope[:, None], eye)
    demand(second, f"the draws' mean of x times the energy's gradient is not the identity: {second}")


def log_z(subject: Subject) -> None:
    """It is what annealed paths to and from exact draws estimate, within 5 standard errors of at most 0.2."""
    target = cast(Target, subject.part)
    if target.log_z is None:
        raise Exempt("log Z is not known")
    try:
        found = bridge_log_z(target)
    except Unsupported as reason:
        raise Exempt(str(reason)) from reason
    assert found.standard_error is not None
    told = f"log_z is {target.log_z:.4f}, annealed paths give {found.value:.4f} +- {found.standard_error:.4f}"
    demand(found.standard_error <= 0.2, f"too uncertain to say: {told}")
    demand(abs(found.value - target.log_z) <= 5 * found.standard_error + 1e-9, told)


def reward(subject: Subject) -> None:
    """One finite number a row, by itself; a gradient reaches the data where it says so, and only there."""
    part = cast(Reward, subject.part)
    shape = subject.component.shape if subject.component is not None and subject.component.shape else (2,)
    x = Rng.of(0, 6).uniform(torch.empty(6, *shape)).requires_grad_()
    cond = Condition(label=torch.arange(6) % 2) if "conditional" in part.gives else Condition()
    r = part.value(x, cond)
    demand(r.shape == (6,), f"the reward of 6 rows has the shape {tuple(r.shape)}")
    demand(bool(r.isfinite().all()), f"the reward is not finite: {r.tolist()}")
    alone = part.value(x[2:3], cond.index(slice(2, 3)))
    demand(torch.allclose(alone, r[2:3], rtol=1e-5, atol=1e-6), "the reward of a row depends on its neighbours")
    if "differentiable" not in part.gives:
        demand(not r.requires_grad, "it carries a gradient, and does not give 'differentiable'")
        return
    demand(r.requires_grad, "it gives 'differentiable', and no gradient reaches the data")
    (slope,) = torch.autograd.grad(r.sum(), x)
    demand(bool(slope.isfinite().all()) and bool((slope != 0).any()), "its gradient is zero or not finite")


TARGET: dict[str, Check] = {"energy": energy, "draws": draws, "log-z": log_z}
REWARD: dict[str, Check] = {"reward": reward}
