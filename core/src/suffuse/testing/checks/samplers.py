"""Rules for samplers and guidance, on mixtures whose denoiser is exact."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import patch

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.process import Gaussian
from suffuse.contracts.rng import Rng
from suffuse.contracts.sampler import Sampler, StepInfo, stream
from suffuse.errors import SpecError, SuffuseError, Unsupported
from suffuse.parts import ToZero, Uniform
from suffuse.system import System
from suffuse.testing.conformance import Check, Exempt, Subject, demand
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, Explosion, FirstOrder, three
from suffuse.testing.statistics import compare, slope

F64 = torch.float64
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def _system(subject: Subject, *, steps: int | None = None, dim: int = 2, **parts: Any) -> System:  # noqa: ANN401
    """The subject in a system of exact parts, with what its manifest asks for beside it."""
    part = subject.part
    process = cast(Gaussian, subject.beside("process") or parts.pop("process", Circle()))
    if isinstance(part, Sampler):
        sampler: Sampler = part if steps is None else attrs.evolve(part, steps=steps)
        guidance = subject.beside("guidance")
    else:
        assert isinstance(part, Guidance)
        sampler = cast(Sampler, subject.beside("sampler")) or FirstOrder(steps=steps or 12, grid=Uniform(start=0.99))
        guidance = parts.pop("guidance", part)
    return mixture_system(three(dim), process, sampler=sampler, guidance=guidance, **parts)


def _cond(subject: Subject, n: int) -> Condition | None:
    """Guidance is tried with labels, samplers without."""
    return Condition(label=LABELS.repeat(math.ceil(n / 6))[:n]) if isinstance(subject.part, Guidance) else None


def _draw(system: System, subject: Subject, n: int, seed: int = 0, **settings: Any) -> Tensor:  # noqa: ANN401
    settings = {"dtype": F64, "cond": _cond(subject, n), **settings}
    return cast(Tensor, system.sample(n, seed=seed, **settings))


def _close(x: Tensor, y: Tensor, message: str, tolerance: float = 1e-9) -> None:
    error = float((x - y).abs().max())
    demand(error <= tolerance, f"{message}: they differ by {error:.2e}")


def marginals(subject: Subject) -> None:
    """1000 samples of an exact mixture in 100 steps pass a permutation test of the energy distance at 1e-3."""
    system = _system(subject, steps=100)
    x = _draw(system, subject, 1000, seed=11)
    demand(bool(x.isfinite().all()), "samples are not finite")
    true = three().sample(torch.Generator().manual_seed(5), 1000)
    p = compare(x, true, "energy", permutations=2000, seed=0).p_value or 0.0
    demand(p > 1e-3, f"samples differ from the exact mixture: permutation p-value {p:.4f}")


def order(subject: Subject) -> None:
    """The error against the closed-form flow of one Gaussian falls with the declared order, less one quarter.

    From t = 0.8 to 0.2, where every schedule is smooth, with 32 to 256 steps in float64.
    """
    part = subject.part
    assert isinstance(part, Sampler)
    if part.order is None or "stochastic" in part.gives:
        raise Exempt("declares no order of convergence to the probability flow")
    mean, spread = torch.tensor([[0.8, -0.5]], dtype=F64), torch.tensor([0.6, 0.3], dtype=F64)
    law = GaussianMixture(weights=torch.ones(1), means=mean, covariances=spread[None] ** 2)
    process = cast(Gaussian, subject.beside("process") or Circle())
    system = mixture_system(law, process, sampler=attrs.evolve(part, terminal=ToZero()))
    start = Rng.of(0, 8).normal(torch.empty(8, 2, dtype=F64))
    ends = torch.tensor([0.8, 0.2], dtype=F64)
    alpha, sigma = process.scalars(ends)
    width = (alpha[:, None] ** 2 * spread**2 + sigma[:, None] ** 2).sqrt()
    exact = alpha[1] * mean + width[1] / width[0] * (start - alpha[0] * mean)
    counts, errors = [32, 64, 128, 256], []
    for n in counts:
        times = torch.linspace(0.8, 0.2, n + 1, dtype=F64)
        x = start
        for carry, _ in stream(system, start, Condition(), Rng.of(0, 8), start=start, times=times):
            x = cast(Tensor, carry.x)
        errors.append(float((x - exact).norm(dim=1).mean()))
    if max(errors) < 1e-10:
        return  # exact on Gaussians
    measured = slope(counts, errors).value
    demand(measured >= part.order - 0.25, f"declares order {part.order}, converges with {measured:.2f}: {errors}")


def batch_invariance(subject: Subject) -> None:
    """A sample is the same alone, among others, and in a split batch."""
    system = _system(subject)
    whole = _draw(system, subject, 6)
    _close(_draw(system, subject, 6, batch=4), whole, "a split batch and a whole one")
    _close(_draw(system, subject, 2), whole[:2], "two samples alone and among six")


def broadcast(subject: Subject) -> None:
    """With B == D each sample is what it is with any other B."""
    system = _system(subject, dim=3)
    _close(_draw(system, subject, 3), _draw(system, subject, 5)[:3], "three of three dimensions, and of five")


def interleaving(subject: Subject) -> None:
    """Two trajectories of one sampler, step by step in turn, are what they are alone."""
    system = _system(subject)
    streams = [system.stream(3, cond=_cond(subject, 3), seed=seed, dtype=F64) for seed in (1, 2)]
    ends: list[Tensor] = [torch.empty(0), torch.empty(0)]
    for both in zip(*streams, strict=True):
        ends = [cast(Tensor, carry.x) for carry, _ in both]
    for seed, x in zip((1, 2), ends, strict=True):
        _close(x, _draw(system, subject, 3, seed=seed), f"seed {seed}, interleaved and alone", 0.0)


def replay(subject: Subject) -> None:
    """The same seed gives the same bits, another seed another sample, and torch's global generator is left alone."""
    system = _system(subject)
    before = torch.get_rng_state()
    first = _draw(system, subject, 3)
    demand(torch.equal(torch.get_rng_state(), before), "torch's global generator was used")
    _close(_draw(system, subject, 3), first, "two runs with one seed", 0.0)
    demand(not torch.equal(_draw(system, subject, 3, seed=7), first), "another seed gives the same samples")


def noise_unused(subject: Subject) -> None:
    """What is drawn during the steps has an effect: a deterministic setting draws nothing."""
    system = _system(subject)
    start = Rng.of(3, 6).normal(torch.empty(6, 2, dtype=F64))
    with _counting() as draws:
        ends = [_draw(system, subject, 6, seed=seed, start=start) for seed in (1, 2)]
    unused = draws and torch.equal(ends[0], ends[1])
    demand(not unused, f"{len(draws)} draws were made in the steps ({draws[:1]}) and changed nothing")


@contextmanager
def _counting() -> Iterator[list[str]]:
    draws: list[str] = []
    plain = Rng._draw

    def counted(self: Rng, method: str, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        draws.append(f"{method} at {self.path}")
        return plain(self, method, *args, **kwargs)

    with patch.object(Rng, "_draw", counted):
        yield draws


def endpoints(subject: Subject) -> None:
    """From the very prior to t = 0 in few steps: finite, or refused with a reason."""
    beside = subject.beside("process")
    for process in [beside] if beside is not None else [Circle(), Explosion()]:
        for steps in (1, 2, 5):
            try:
                x = _draw(_system(subject, steps=steps, process=process), subject, 3)
            except SuffuseError:
                continue
            demand(bool(x.isfinite().all()), f"steps={steps} on {type(process).__name__} gives NaN or infinity")


def dtypes(subject: Subject) -> None:
    """float32 agrees with float64; half precision is promoted, never worked in."""
    system = _system(subject)
    exact, single = _draw(system, subject, 6), _draw(system, subject, 6, dtype=torch.float32)
    demand(single.dtype == torch.float32, f"float32 in gave {single.dtype} out")
    _close(single.double(), exact, "float32 and float64", 1e-3)
    for dtype in (torch.float16, torch.bfloat16):
        half = _draw(system, subject, 6, dtype=dtype)
        demand(half.dtype == torch.float32, f"{dtype} in gave {half.dtype} out: solvers work in at least float32")
        _close(half, single, f"{dtype} and float32", 1e-3)


def purity(subject: Subject) -> None:
    """No state is changed in place, and a non-contiguous start gives the same result."""
    system = _system(subject)
    start = Rng.of(3, 6).normal(torch.empty(6, 2, dtype=F64))
    copy = start.clone()
    seen: list[tuple[Tensor, Tensor]] = []
    cond = _cond(subject, 6)
    for carry, info in system.stream(cond=cond, start=start, dtype=F64):
        seen.extend((x, x.clone()) for x in cast(list[Tensor], [info.x_t, info.x_s, carry.x]))
    demand(torch.equal(start, copy), "the start was changed in place")
    demand(all(torch.equal(x, was) for x, was in seen), "a state was changed in place after it was handed out")
    crooked = cast(Tensor, system.sample(cond=cond, start=start.T.contiguous().T, dtype=F64))
    _close(crooked, cast(Tensor, system.sample(cond=cond, start=start, dtype=F64)), "a non-contiguous start", 1e-12)


def gradients(subject: Subject) -> None:
    """Autograd reaches the start through all steps: no step switches it off."""
    system = _system(subject, steps=5)
    start = Rng.of(3, 3).normal(torch.empty(3, 2, dtype=F64)).requires_grad_()
    x = cast(Tensor, system.sample(cond=_cond(subject, 3), start=start, dtype=F64))
    demand(x.requires_grad, "the result does not depend on the start for autograd")
    (slope_,) = torch.autograd.grad(x.sum(), start)
    demand(bool(slope_.isfinite().all() and (slope_ != 0).any()), "the gradient is zero or not finite")


def nfe(subject: Subject) -> None:
    """``StepInfo.nfe`` is the number of evaluations that were made for each sample."""
    system = _system(subject)
    made = 0
    plain = type(system.model).forward

    def counted(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        nonlocal made
        made += len(x)
        return plain(self, x, *args, **kwargs)

    told: list[StepInfo] = []
    with patch.object(type(system.model), "forward", counted):
        _draw(system, subject, 6, on_step=lambda _, info: told.append(info))
    said = sum(i.nfe for i in told)
    demand(said * 6 == made, f"says {said} evaluations a sample, {made / 6:g} were made")


def transition(subject: Subject) -> None:
    """A step that gives its transition drew x_s from it: repeated with its stream, law and state agree."""
    system = _system(subject)
    infos = [info for _, info in system.stream(6, cond=_cond(subject, 6), dtype=F64)]
    laws = [i for i in infos if i.transition is not None]
    claims = "stochastic" in subject.part.gives
    demand(bool(laws) or not claims, "provides 'stochastic', but no step has a transition")
    if not laws:
        raise Exempt("no random transitions")
    for info in laws:
        assert info.transition is not None
        log_prob = info.transition.log_prob(info.x_s)
        demand(log_prob.shape == (6,) and bool(log_prob.isfinite().all()), "log_prob of the state drawn is not finite")
        draws = [info.transition.sample(Rng.of(9, 6).at(k)) for k in range(64)]
        typical = torch.stack([info.transition.log_prob(d) for d in draws])
        # Under the law itself the state's log-density lies among those of fresh draws. A Gaussian's has an exponential
        # tail, so the least of n draws lies about log n deviations below the mean, and 8 more with chance e^-8.
        z = (log_prob - typical.mean(0)) / typical.std(0).clamp_min(1e-6)
        least = -8 - math.log(6 * len(laws))
        demand(bool((z > least).all()), f"the state drawn is not typical of its transition: z = {float(z.min()):.1f}")


def refuses_steps(subject: Subject) -> None:
    """steps = 0 is refused by name."""
    try:
        attrs.evolve(cast(Any, subject.part), steps=0)
    except SpecError as error:
        demand("steps" in str(error), f"steps=0 is answered by {str(error)!r}")
    else:
        demand(False, "steps=0 is accepted")


def switched_off(subject: Subject) -> None:
    """A guidance with a scale does nothing at scale 1, to the last bit of rounding."""
    part = subject.part
    if "scale" not in attrs.fields_dict(type(cast(Any, part))):
        raise Exempt("has no scale")
    off = _system(subject, guidance=attrs.evolve(cast(Any, part), scale=1.0))
    plain = attrs.evolve(off, guidance=None)
    _close(_draw(off, subject, 6), _draw(plain, subject, 6), "scale 1 and no guidance", 1e-12)


def acts(subject: Subject) -> None:
    """Under its example settings it changes the samples, and they stay finite."""
    system = _system(subject)
    x = _draw(system, subject, 6)
    demand(bool(x.isfinite().all()), "guided samples are not finite")
    try:
        plain = _draw(attrs.evolve(system, guidance=None), subject, 6)
    except Unsupported:
        return
    demand(not torch.equal(x, plain), "it changes nothing")


_COMMON: dict[str, Check] = {
    "batch-invariance": batch_invariance,
    "broadcast": broadcast,
    "interleaving": interleaving,
    "replay": replay,
    "noise-unused": noise_unused,
    "dtypes": dtypes,
    "purity": purity,
    "nfe": nfe,
}
CHECKS: dict[str, Check] = {
    **_COMMON,
    "marginals": marginals,
    "order": order,
    "endpoints": endpoints,
    "gradients": gradients,
    "transition": transition,
    "steps": refuses_steps,
}
GUIDANCE: dict[str, Check] = {**_COMMON, "off": switched_off, "acts": acts}
