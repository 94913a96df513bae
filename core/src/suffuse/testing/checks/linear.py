"""Rules for linear Gaussian processes, scalar or not, and for states of several leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from suffuse.contracts.process import LinearGaussian, Process, Sde
from suffuse.contracts.space import Euclidean, Space
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine, leaves, rows, tree_map
from suffuse.testing.conformance import Check, Exempt, Subject, demand, refused

F64 = torch.float64
TIMES = (0.05037, 0.3037, 0.9037)  # between the grid points of a chain of 1000 steps
Map = Callable[[State, Tensor], State]


def _process(subject: Subject) -> LinearGaussian:
    if not isinstance(subject.part, LinearGaussian):
        raise Exempt("not a linear Gaussian process")
    return subject.part


def _space(subject: Subject) -> Space:
    """The one that the manifest names beside the process, or plain vectors."""
    space = cast(Space | None, subject.beside("space"))
    if space is None and getattr(subject.part, "space", None) is not None:
        raise Exempt("its states are not plain vectors: the manifest names no space beside it")
    return space or Euclidean(shape=(3,))


def _wide(x: State) -> Tensor:
    return torch.cat([v.detach().flatten(1) for _, v in leaves(x)], 1)


def _apart(x: State, y: State) -> float:
    return float((_wide(x) - _wide(y)).abs().max() / (1 + _wide(y).abs().max()))


def linear(subject: Subject) -> None:
    """``x_t = M x_0 + L eps`` for the noise told; ``L^{-1} L = 1``; a score is ``-L^{-T} eps``."""
    process, space, rng = _process(subject), _space(subject), Rng.of(0, 4)
    x = space.noise(space.like(4, dtype=F64), rng.at("x"))
    drawn = (process.corrupt(x, torch.tensor(0.5, dtype=F64), rng=rng.at(name)).noise for name in "ab")
    a, b = (cast(State, noise) for noise in drawn)  # what the process itself moves: no mask, no absent node
    for time in TIMES:
        t = torch.tensor(time, dtype=F64)
        made = process.corrupt(x, t, rng=rng)
        demand(made.noise is not None, "corrupt tells no noise")
        again = combine(1.0, process.mean(x, t), 1.0, process.spread(cast(State, made.noise), t))
        demand(_apart(made.x_t, again) < 1e-9, f"at t = {time}: corrupt is not mean + spread of the noise it tells")
        back = _apart(process.whiten(process.spread(a, t), t), a)
        demand(back < 1e-6, f"at t = {time}: whiten after spread is off by {back:.1e}")
        try:
            score = process.score(b, t)
        except Unsupported:
            continue
        left, right = (_wide(process.spread(a, t)) * _wide(score)).sum(1), -(_wide(a) * _wide(b)).sum(1)
        error = float(((left - right).abs() / (1 + right.abs())).max())
        demand(error < 1e-6, f"at t = {time}: <L a, score(b)> is not -<a, b>, off by {error:.1e}")


def moments(subject: Subject) -> None:
    """``M' = A M`` and ``(L L^T)' = A L L^T + L L^T A^T + G G^T`` with its drift A and diffusion G; G is symmetric.

    By central differences, whose error ``h^2`` and rounding over h are both below 1e-6.
    """
    process, space, h = _process(subject), _space(subject), 1e-6
    if not isinstance(process, Sde) or "sde" not in process.gives:
        raise Exempt("has no SDE")
    for time in TIMES:
        t = torch.tensor(time, dtype=F64)
        (M, S), A, G = _moments(process, space, t), _matrix(process.drift, space, t), _matrix(process.diffuse, space, t)
        (late_M, late_S), (early_M, early_S) = (_moments(process, space, t + d) for d in (h, -h))
        equal = {
            "G and its transpose": (G, G.T),
            "d mean/dt and the drift of the mean": ((late_M - early_M) / (2 * h), A @ M),
            "d covariance/dt and that of drift and noise": ((late_S - early_S) / (2 * h), A @ S + S @ A.T + G @ G.T),
        }
        for what, (one, other) in equal.items():
            error = float((one - other).abs().max() / (1 + other.abs().max()))
            demand(error < 1e-4, f"at t = {time}: {what} differ by {error:.1e}")


def _moments(process: LinearGaussian, space: Space, t: Tensor) -> tuple[Tensor, Tensor]:
    L = _matrix(process.spread, space, t)
    return _matrix(process.mean, space, t), L @ L.T


def _matrix(f: Map, space: Space, t: Tensor) -> Tensor:
    """The matrix of a linear map of states, from its images of the unit vectors."""
    like = space.like(1, dtype=F64)
    n = _wide(like).shape[1]
    parts = torch.split(torch.eye(n, dtype=F64), [v[0].numel() for _, v in leaves(like)], 1)
    units = {name: part.reshape(n, *v.shape[1:]) for (name, v), part in zip(leaves(like), parts, strict=True)}
    return _wide(f(units[""] if isinstance(like, Tensor) else units, t)).T


def states(subject: Subject) -> None:
    """States of the space beside it: each row has its own time and stream, alone and among others; inputs stay.

    Float64 is kept, float32 agrees with it, torch's global generator is left alone, a wrong time is refused.
    """
    process, space = cast(Process, subject.part), subject.beside("space")
    if space is None:
        raise Exempt("the manifest names no space beside it")
    space, rng = cast(Space, space), Rng.of(2, 4)
    x0 = space.noise(space.like(4, dtype=F64), Rng.of(1, 4))
    t, before, generator = (
        torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=F64),
        tree_map(torch.clone, x0),
        torch.get_rng_state(),
    )
    whole = process.corrupt(x0, t, rng=rng).x_t
    demand(torch.equal(torch.get_rng_state(), generator), "torch's global generator was used: draw from rng")
    demand(_apart(x0, before) == 0, "corrupt changed x0 in place")
    demand(_apart(process.corrupt(x0, t, rng=rng).x_t, whole) == 0, "two draws with one rng differ")
    demand(_apart(process.corrupt(x0, t, rng=Rng.of(3, 4)).x_t, whole) > 0, "another seed gives the same noise")
    for i in range(4):
        row = slice(i, i + 1)
        alone = process.corrupt(rows(x0, row), t[i], rng=rng.index(row)).x_t
        demand(_apart(alone, rows(whole, row)) < 1e-12, f"row {i} of 4 is not what it is alone")
    single = process.corrupt(tree_map(Tensor.float, x0), t, rng=rng).x_t
    demand(all(v.dtype == F64 for _, v in leaves(whole)), "float64 is not kept")
    demand(all(v.dtype == torch.float32 for _, v in leaves(single)), "float32 is not kept")
    demand(_apart(tree_map(Tensor.double, single), whole) < 1e-4, "float32 and float64 differ")
    refused(lambda: process.corrupt(x0, t[:2], rng=rng), "a time of shape (2,) for 4 rows", "(2,)")
    law = process.prior(x0)
    if law is not None:
        drawn = law.sample(rng)
        demand(all(v.isfinite().all() for _, v in leaves(drawn)), "the prior's draws are not finite")
        few = process.prior(rows(x0, slice(2, 4)))
        assert few is not None
        same = _apart(few.sample(rng.index(slice(2, 4))), rows(drawn, slice(2, 4))) == 0
        demand(same, "rows of the prior's draws depend on their neighbours")


CHECKS: dict[str, Check] = {"linear": linear, "moments": moments, "states": states}
