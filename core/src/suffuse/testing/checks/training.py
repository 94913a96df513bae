"""Rules for objectives, their sub-parts, data sets, shipped weights and claims."""

from __future__ import annotations

from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.network import Codec
from suffuse.contracts.objective import Batch, Objective, Times, Weighting
from suffuse.contracts.process import Bridge, Discrete, Gaussian, Process
from suffuse.contracts.space import Euclidean, Space, Tokens
from suffuse.contracts.task import Claim, Dataset
from suffuse.parts import Identity
from suffuse.pipeline import Pipeline
from suffuse.rng import Rng
from suffuse.state import State, leaves
from suffuse.system import System, parts_of
from suffuse.testing.conformance import Check, Exempt, Subject, demand, refused
from suffuse.testing.stand_ins import Circle, Explosion, LinearGenerator, trainable_system


def _setting(subject: Subject) -> tuple[Objective, System]:
    part = subject.part
    assert isinstance(part, Objective)
    if not part.uses_data:
        raise Exempt("draws its own batches")
    if "generator" in part.needs:
        generator = cast(Any, subject.beside("generator") or LinearGenerator(dim=2))
        z = generator.latent.law(1, dtype=torch.float32, device="cpu").sample(Rng.of(0, 1))
        return part, System(model=generator, space=Euclidean(shape=tuple(generator(z, Condition()).shape[1:])))
    process = cast(Process, subject.beside("process") or Circle())
    codec = subject.beside("codec")
    known = process if isinstance(process, Gaussian | Discrete) else Circle()  # of the network that ``model`` replaces
    system = trainable_system(known, codec=cast(Codec, codec) if codec is not None else Identity())
    model = cast(Any, subject.beside("model"))
    if model is None:
        return part, system
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():  # zero-initialised layers would hide what the loss depends on
            p.add_(torch.randn(p.shape, generator=g) * 0.05)
    space = cast(Space, subject.beside("space")) or system.space
    return part, attrs.evolve(system, model=model, process=process, space=space)


def _batch(system: System, n: int = 6) -> Batch:
    g = torch.Generator().manual_seed(0)
    like = system.space.like(n)
    x: State
    if isinstance(like, Tensor):
        x = torch.randn(like.shape, generator=g).clamp(-1, 1)
    else:
        x = system.space.noise(like, Rng.of(4, n))
    if isinstance(system.space, Tokens) and isinstance(like, Tensor):
        x = torch.randint(system.space.symbols, like.shape, generator=g)
    # Networks of plain tensors here take labels whether they say so or not; those of other states say so.
    labels = "conditional" in system.model.gives or (isinstance(system.model, Denoiser) and isinstance(like, Tensor))
    cond = Condition(label=torch.arange(n) % 3) if labels else Condition()
    end = x.flip(1) if isinstance(system.process, Bridge) and isinstance(x, Tensor) else None
    return Batch(x=x, cond=cond, index=torch.arange(n), end=end)


def loss(subject: Subject) -> None:
    """One finite loss a sample for every player, differentiable in that player's parameters."""
    part, system = _setting(subject)
    rng = Rng.of(0, 6)
    state = part.start(system, rng)
    for name, player in part.players(system).items():
        got = part.loss(name, _batch(system), system, state, rng)
        demand(got.per_sample.shape == (6,), f"{name}: expected one loss a sample (6,), got {got.per_sample.shape}")
        demand(bool(got.per_sample.isfinite().all()), f"{name}: the loss is not finite")
        parameters = [p for m in player.modules for p in m.parameters() if p.requires_grad]
        slopes = torch.autograd.grad(got.per_sample.sum(), parameters, allow_unused=True)
        demand(any(g is not None and bool((g != 0).any()) for g in slopes), f"{name}: no gradient in its parameters")
        demand(not any(v.requires_grad for v in got.logs.values()), f"{name}: logs must be detached")


def loss_replay(subject: Subject) -> None:
    """The same rng gives the same losses, another one others, and torch's global generator is left alone."""
    part, system = _setting(subject)
    before = torch.get_rng_state()
    first = _losses(part, system, _batch(system), Rng.of(0, 6))
    demand(torch.equal(torch.get_rng_state(), before), "torch's global generator was used: draw from rng")
    demand(torch.equal(_losses(part, system, _batch(system), Rng.of(0, 6)), first), "two runs with one rng differ")
    other = _losses(part, system, _batch(system), Rng.of(1, 6))
    demand(not torch.equal(other, first), "another seed gives the same loss")


def loss_rows(subject: Subject) -> None:
    """A sample's losses do not depend on its neighbours, also where B == D."""
    part, system = _setting(subject)
    if any(isinstance(p, Times) and p.joint for _, p in parts_of(part)):
        raise Exempt("draws the times of a batch together")
    for n in (6, 2):
        every = _losses(part, system, _batch(system, n), Rng.of(0, n))
        for i in range(n):
            at = torch.tensor([i])
            one = _losses(part, system, _batch(system, n).select(at), Rng.of(0, n).index(at))
            same = torch.allclose(one, every[:, i : i + 1], rtol=1e-4, atol=1e-6)
            demand(same, f"the loss of row {i} of {n} is {every[:, i].tolist()}, alone it is {one[:, 0].tolist()}")


def _losses(part: Objective, system: System, batch: Batch, rng: Rng) -> Tensor:
    """Every player's, ``(players, B)``."""
    state = part.start(system, rng)
    players = part.players(system)
    return torch.stack([part.loss(name, batch, system, state, rng).per_sample.detach() for name in players])


def loss_purity(subject: Subject) -> None:
    """Neither the batch nor the weights change."""
    part, system = _setting(subject)
    batch, fresh = _batch(system), _batch(system)
    weights = [p for player in part.players(system).values() for m in player.modules for p in m.parameters()]
    before = [p.detach().clone() for p in weights]
    _losses(part, system, batch, Rng.of(0, 6))
    same = all(torch.equal(v, w) for (_, v), (_, w) in zip(leaves(batch.x), leaves(fresh.x), strict=True))
    demand(
        same and all(torch.equal(batch.cond[k], fresh.cond[k]) for k in fresh.cond), "the batch was changed in place"
    )
    same = all(torch.equal(p, was) for p, was in zip(weights, before, strict=True))
    demand(same, "weights were changed by computing a loss")


def times(subject: Subject) -> None:
    """Float64 times in (0, 1] with finite non-negative weights, each row by itself, other seeds other times."""
    part = subject.part
    assert isinstance(part, Times)
    beside = subject.beside("process")
    for process in [cast(Gaussian, beside)] if beside is not None else [Circle(), Explosion()]:
        t, weight = part.draw(process, 500, Rng.of(0, 500))
        good = t.dtype == torch.float64 and t.shape[:1] == weight.shape == (500,)
        demand(good, f"times of {t.dtype} {tuple(t.shape)}, weights {tuple(weight.shape)}")
        demand(bool(((t > 0) & (t <= 1)).all()), f"times from {float(t.min())} to {float(t.max())}")
        demand(bool((weight.isfinite() & (weight >= 0)).all()), "weights are negative or not finite")
        few, _ = part.draw(process, 3, Rng.of(0, 500).index(slice(4, 7)))
        demand(part.joint or torch.equal(few, t[4:7]), "a row's time depends on its neighbours")
        demand(len(torch.unique(t)) > 10, "the times hardly differ")


def weighting(subject: Subject) -> None:
    """Finite, non-negative, of the shape of t, inside (0, 1), for eps, x0 and v outputs."""
    part = subject.part
    assert isinstance(part, Weighting)
    t = torch.linspace(0.01, 0.99, 33, dtype=torch.float64)
    beside = subject.beside("process")
    for process in [cast(Gaussian, beside)] if beside is not None else [Circle(), Explosion()]:
        alpha, sigma = process.scalars(t)
        # The same error has one weight whatever the output means: the outputs' errors are in the ratio of det/sigma.
        relative = []
        for a, b in ((0.0, 1.0), (1.0, 0.0), (-sigma, alpha)):
            w = part.weight(process, t, (a, b))
            demand(w.shape == t.shape and bool((w.isfinite() & (w >= 0)).all()), "not finite and non-negative")
            relative.append(w * ((alpha * b - sigma * a) / sigma) ** 2)
        demand(bool(relative[0].isfinite().all()), "not finite in x0")


def dataset(subject: Subject) -> None:
    """Rows by index: the same each time, whatever the order; an index out of range is refused."""
    part = subject.part
    assert isinstance(part, Dataset)
    n = len(part)
    demand(n > 0, "no rows")
    index = torch.tensor([0, n - 1, n // 2])
    first = part.rows(index, Rng.of(0, 3))
    again = part.rows(index.flip(0), Rng.of(0, 3).index(torch.tensor([2, 1, 0])))
    pairs = zip(leaves(first.x), leaves(again.x), strict=True)
    demand(all(torch.equal(v, w.flip(0)) for (_, v), (_, w) in pairs), "rows depend on their order")
    demand(first.cond.size in (None, 3), "the condition has another batch size")
    refused(lambda: part.rows(torch.tensor([n]), Rng.of(0, 1)), f"row {n} of {n}", str(n))


def weights_load(subject: Subject) -> None:
    """The shipped pipeline loads, is frozen, and its samples are finite and repeatable."""
    if subject.ref is None or subject.known is None:
        raise Exempt("registered by no plugin")
    pipeline = Pipeline.load(subject.known.resolve(subject.ref, "weights"), registry=subject.known)
    frozen = all(not p.requires_grad for m in pipeline.system.modules().values() for p in m.parameters())
    demand(frozen, "loaded weights must be frozen")
    settings: dict[str, Any] = {"n": 2}
    if "conditional" in pipeline.system.model.gives:
        settings = {"cond": {"label": torch.tensor([0, 1])}}
    first, again = (dict(leaves(pipeline.system.sample(seed=0, **settings))) for _ in (0, 1))
    demand(all(v.isfinite().all() for v in first.values()), "samples are not finite")
    demand(all(torch.equal(again[name], v) for name, v in first.items()), "not repeatable")


def claim_stated(subject: Subject) -> None:
    """It says what it asserts, in which tier, and how many seeds judge it. (``suffuse verify`` runs it.)"""
    cls: Any = subject.known.resolve(subject.ref, "claim") if subject.known and subject.ref else type(subject.part)
    demand(issubclass(cls, Claim) and len(getattr(cls, "statement", "").split()) >= 4, "no statement")
    demand(cls.tier in ("exact", "claim", "parity"), f"unknown tier {cls.tier!r}")
    demand(cls.tier != "claim" or cls.seeds >= 5, "a claim is judged over at least five seeds")
    demand(not issubclass(cls, nn.Module), "a claim keeps no weights")


CHECKS: dict[str, Check] = {
    "loss": loss,
    "replay": loss_replay,
    "batch-invariance": loss_rows,
    "purity": loss_purity,
}
TIMES: dict[str, Check] = {"times": times}
WEIGHTING: dict[str, Check] = {"weighting": weighting}
DATASET: dict[str, Check] = {"dataset": dataset}
WEIGHTS: dict[str, Check] = {"load": weights_load}
CLAIM: dict[str, Check] = {"stated": claim_stated}
