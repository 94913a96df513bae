"""Rules for spaces, couplings, measurement operators and their noise, metrics and tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Coupling
from suffuse.contracts.operator import LinearOperator, Noise, Operator, SvdOperator
from suffuse.contracts.process import Discrete
from suffuse.contracts.sampler import Sampler
from suffuse.contracts.space import Space
from suffuse.contracts.task import Dataset, Example, Metric, Task
from suffuse.rng import Rng
from suffuse.state import State, leaves, rows, tree_map
from suffuse.testing.conformance import Check, Exempt, Subject, demand, refused
from suffuse.testing.discrete import Joint, joint_system
from suffuse.testing.exact import mixture_system
from suffuse.testing.stand_ins import Circle, FirstOrder, Reverse, three

F64 = torch.float64


def _differ(x: State, y: State) -> float:
    return max(float((v - w).abs().max()) for (_, v), (_, w) in zip(leaves(x), leaves(y), strict=True))


def space_noise(subject: Subject) -> None:
    """``like`` fixes shapes and dtype; noise has them, lies in the space, and each row has its own stream."""
    space, rng = cast(Space, subject.part), Rng.of(0, 5)
    like = space.like(5, dtype=F64)
    demand(all(len(v) == 5 for _, v in leaves(like)), "like(5) has no 5 rows")
    real = [v.dtype for _, v in leaves(like) if v.is_floating_point()]
    demand(set(real) <= {F64}, f"like(5, dtype=float64) has the dtypes {real}")
    noise = space.noise(like, rng)
    space.check(noise)
    demand(_differ(space.project(noise), noise) <= 1e-12, "noise lies off the space: project moves it")
    few = space.noise(rows(like, slice(2, 4)), rng.index(slice(2, 4)))
    demand(_differ(rows(noise, slice(2, 4)), few) == 0, "a row's noise depends on its neighbours")


def space_moves(subject: Subject) -> None:
    """``exp(x, log(x, y)) == y`` for states of the space, and ``sum_event`` gives one number a row."""
    space = cast(Space, subject.part)
    x, y = (space.noise(space.like(5, dtype=F64), Rng.of(seed, 5)) for seed in (0, 1))
    error = _differ(space.exp(x, space.log(x, y)), y)
    demand(error <= 1e-9, f"exp(x, log(x, y)) is off y by {error:.1e}")
    demand(space.sum_event(x).shape == (5,), f"sum_event gives {tuple(space.sum_event(x).shape)}, not one number a row")


def space_refuses(subject: Subject) -> None:
    """``check`` refuses NaN, an empty batch, and a shape too many, each with what came."""
    space = cast(Space, subject.part)
    good = space.noise(space.like(2), Rng.of(0, 2))
    space.check(good)
    if any(v.is_floating_point() for _, v in leaves(good)):
        bad = tree_map(lambda v: torch.full_like(v, float("nan")) if v.is_floating_point() else v, good)
        refused(lambda: space.check(bad), "a batch of NaN", "NaN")
    else:
        bad = tree_map(lambda v: torch.full_like(v, 10**6), good)
        refused(lambda: space.check(bad), "tokens of a million", str(10**6))
    refused(lambda: space.check(space.like(0)), "an empty batch", "0")
    wide = tree_map(lambda v: torch.cat([v, v], dim=-1), good)
    width = max(v.shape[-1] for _, v in leaves(wide))
    refused(lambda: space.check(wide), "states that are twice as wide", str(width))


def coupling(subject: Subject) -> None:
    """Two lists of row indices of one length, in range, the same for the same rng; its inputs are not changed."""
    part = cast(Coupling, subject.part)
    for n in (1, 6):
        x0, x1 = torch.randn(2, n, *(subject.shape if _has_shape(subject) else (2,)), generator=_seeded())
        before = x0.clone(), x1.clone()
        pair = part.pair(x0, x1, Rng.of(0, n))
        demand(torch.equal(x0, before[0]) and torch.equal(x1, before[1]), "the states were changed in place")
        for name, at in zip(("first", "second"), pair, strict=True):
            demand(at.dtype == torch.int64 and at.ndim == 1, f"the {name} indices are {at.dtype} {tuple(at.shape)}")
            demand(((at >= 0) & (at < n)).all(), f"the {name} indices for {n} rows are {at.tolist()}")
        demand(len(pair[0]) == len(pair[1]), f"{len(pair[0])} rows are paired with {len(pair[1])}")
        again = part.pair(x0, x1, Rng.of(0, n))
        demand(all(torch.equal(a, b) for a, b in zip(pair, again, strict=True)), "two runs with one rng differ")


def measurement(subject: Subject) -> None:
    """Row by row and differentiable; the measurement's likelihood is ``(B,)`` and prefers the truth."""
    part, x, rng = cast(Operator, subject.part), _data(subject), Rng.of(0, 4)
    clean = part.A(x.clone().requires_grad_())
    demand(clean.requires_grad and clean.isfinite().all(), "A is not finite and differentiable")
    demand(torch.allclose(part.A(x[2:3]), clean[2:3], atol=1e-9), "A of a row depends on its neighbours")
    y = part.measure(x, rng)
    demand(y.shape == clean.shape, f"A gives {tuple(clean.shape)}, measure gives {tuple(y.shape)}")
    few = part.measure(x[2:3], rng.index(slice(2, 3)))
    demand(torch.allclose(few, y[2:3], atol=1e-9), "the noise of a row depends on its neighbours")
    near, far = part.log_likelihood(y, x), part.log_likelihood(y, x + 100)
    demand(near.shape == (4,), f"log_likelihood of 4 rows has the shape {tuple(near.shape)}")
    demand((near >= far).all(), "the likelihood prefers x + 100 to the x that was measured")


def linear(subject: Subject) -> None:
    """``A`` is linear, ``<A x, y> == <x, A_adjoint y>``, ``A A_dagger A == A``, and ``prox`` is stationary (1e-6)."""
    part = subject.part
    if not isinstance(part, LinearOperator):
        raise Exempt("not linear")
    x, gamma = _data(subject), torch.tensor([0.1, 1.0, 2.0, 10.0], dtype=F64)
    z = x.flip(0) + 0.5
    y = part.A(z)
    wide = gamma.view(-1, *[1] * (x.ndim - 1))
    near = part.prox(x, y, gamma)
    forward, back = (part.A(x) * y).flatten(1).sum(1), (x * part.A_adjoint(y)).flatten(1).sum(1)
    laws = {
        "A(x + 2 z) and A x + 2 A z": (part.A(x + 2 * z), part.A(x) + 2 * y),
        "<A x, y> and <x, A_adjoint y>": (forward, back),
        "A A_dagger A x and A x": (part.A(part.A_dagger(part.A(x))), part.A(x)),
        "A_adjoint (A p - y) and (x - p) / gamma at p = prox": (part.A_adjoint(part.A(near) - y), (x - near) / wide),
    }
    for name, (left, right) in laws.items():
        error = float((left - right).abs().max())
        demand(error <= 1e-6 * (1 + float(right.abs().max())), f"{name} differ by {error:.1e}")


def decomposition(subject: Subject) -> None:
    """``A = U diag(s) V^T`` with positive s and orthonormal columns, and ``A_adjoint = V diag(s) U^T`` (1e-6)."""
    part = subject.part
    if not isinstance(part, SvdOperator):
        raise Exempt("gives no decomposition")
    x = _data(subject)
    y, d = part.A(x), part.svd(x)
    demand(d.s.ndim == 1 and (d.s > 0).all(), "the singular values are not one row of positive numbers")
    z = torch.rand(4, len(d.s), generator=_seeded(), dtype=F64)
    laws = {
        "A x and U s V^T x": (d.U(d.s * d.V_adjoint(x)), y),
        "A_adjoint y and V s U^T y": (d.V(d.s * d.U_adjoint(y)), part.A_adjoint(y)),
        "V^T V z and z": (d.V_adjoint(d.V(z)), z),
        "U^T U z and z": (d.U_adjoint(d.U(z)), z),
    }
    for name, (left, right) in laws.items():
        error = float((left - right).abs().max())
        demand(error <= 1e-6 * (1 + float(right.abs().max())), f"{name} differ by {error:.1e}")


def noise_law(subject: Subject) -> None:
    """Samples follow the likelihood: Bartlett's identities for its score, and ``variance`` on average, within 6 errors.

    ``E[l'] = 0`` and ``E[l'^2 + l''] = 0`` for ``l = log p(y | clean)``, over 20 000 draws at each of four values.
    """
    part, rng = cast(Noise, subject.part), Rng.of(0, 4)
    clean = torch.linspace(-0.6, 0.9, 4, dtype=F64)[:, None].expand(4, 20_000).contiguous()
    y = part.sample(clean, rng)
    demand(y.shape == clean.shape, f"a sample of {tuple(clean.shape)} has the shape {tuple(y.shape)}")
    few = part.sample(clean[2:3], rng.index(slice(2, 3)))
    demand(torch.equal(few, y[2:3]), "the noise of a row depends on its neighbours")
    mean = clean.clone().requires_grad_()
    log_prob = part.log_prob(y, mean)
    demand(log_prob.shape == y.shape, f"log_prob gives {tuple(log_prob.shape)}, not one number an entry")
    (score,) = torch.autograd.grad(log_prob.sum(), mean, create_graph=True)
    (curvature,) = torch.autograd.grad(score.sum(), mean)
    spread = (y - y.mean(1, keepdim=True)).square()
    zeros = {
        "the likelihood's score": score.detach(),
        "the score's square and the curvature": score.detach().square() + curvature,
        "the squared deviation, less the variance": spread - part.variance(y),
    }
    for name, value in zeros.items():
        z = value.mean(1) / (value.std(1) / math.sqrt(value.shape[1]))
        demand(z.abs().max() <= 6, f"{name} should be 0 on average, it is off by {float(z.abs().max()):.1f} errors")


def metric(subject: Subject) -> None:
    """Named finite numbers, the same each time; samples and reference are not changed."""
    part = cast(Metric, subject.part)
    pair = _pair(subject)
    before = [tree_map(torch.clone, e.x) for e in pair]
    found = part.measure(*pair)
    demand(isinstance(found, Mapping) and found, "expected named numbers")
    odd = {k: v for k, v in found.items() if not (isinstance(v, float | int) and torch.tensor(float(v)).isfinite())}
    demand(not odd, f"expected finite numbers, got {odd}")
    demand(part.measure(*pair) == found, "two runs differ")
    same = all(_differ(e.x, was) == 0 for e, was in zip(pair, before, strict=True))
    demand(same, "samples or reference were changed in place")


def _pair(subject: Subject) -> list[Example]:
    """Two sets: the halves of the data set beside the part, or random numbers of its shape."""
    data = cast(Dataset, subject.beside("dataset"))
    if data is not None:
        return [data.rows(half, Rng.of(0, len(half))) for half in torch.arange(len(data)).tensor_split(2)]
    shape, g = subject.shape if _has_shape(subject) else (2,), _seeded()
    label, y = torch.arange(32) % 2, torch.rand(32, *shape, generator=_seeded())
    return [Example(x=torch.rand(32, *shape, generator=g), cond=Condition(label=label, y=y)) for _ in (0, 1)]


def task(subject: Subject) -> None:
    """An input that it does not know is refused by name."""
    part = cast(Task, subject.part)
    process = subject.beside("process")
    if isinstance(process, Discrete):
        sampler: Sampler = cast(Sampler, subject.beside("sampler")) or Reverse(steps=4)
        system = joint_system(Joint.random(2, process.symbols, seed=3), process, sampler=sampler)
    else:
        sampler = cast(Sampler, subject.beside("sampler")) or FirstOrder(steps=4)
        system = mixture_system(three(), Circle(), sampler=sampler)
    inputs = {"no_such_input": torch.zeros(2, 2)}
    refused(lambda: part.run(system, inputs, Rng.of(0, 2)), "an unknown input", "no_such_input")


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _has_shape(subject: Subject) -> bool:
    return subject.component is not None and bool(subject.component.shape)


def _data(subject: Subject) -> Tensor:
    return torch.rand(4, *subject.shape, generator=_seeded(), dtype=F64)


SPACE: dict[str, Check] = {"noise": space_noise, "moves": space_moves, "bad-input": space_refuses}
COUPLING: dict[str, Check] = {"indices": coupling}
OPERATOR: dict[str, Check] = {"measurement": measurement, "linear": linear, "svd": decomposition}
NOISE: dict[str, Check] = {"law": noise_law}
METRIC: dict[str, Check] = {"numbers": metric}
TASK: dict[str, Check] = {"bad-input": task}
