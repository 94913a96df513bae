"""Rules for samplers and guidance, on mixtures whose denoiser is exact."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, pairwise
from typing import Any, cast
from unittest.mock import patch

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoiser
from suffuse.contracts.process import Discrete, Gaussian, Process
from suffuse.contracts.sampler import Carry, Sampler, StepInfo, Terminal, stream
from suffuse.contracts.space import Space
from suffuse.errors import SpecError, SuffuseError, Unsupported
from suffuse.parts import ToZero, Uniform
from suffuse.rng import Rng
from suffuse.state import State, combine, leaves, size, tree_map
from suffuse.system import System, parts_of
from suffuse.testing.conformance import Check, Exempt, Subject, demand, refused
from suffuse.testing.discrete import ExactTokens, Joint, chi_square, joint_system
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, Explosion, FirstOrder, NormalNoise, Reverse, Shuffle, three
from suffuse.testing.statistics import compare, slope

F64 = torch.float64
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def _system(subject: Subject, *, steps: int | None = None, **parts: Any) -> System:  # noqa: ANN401
    """The subject in a system of exact parts, with what its manifest asks for beside it."""
    part = subject.part
    process = parts.pop("process", None) or _processes(subject)[0]
    if isinstance(part, Sampler):
        sampler: Sampler = part if steps is None else attrs.evolve(part, steps=steps)
        guidance = cast(Guidance | None, subject.beside("guidance"))
    else:
        assert isinstance(part, Guidance)
        sampler = cast(Sampler, subject.beside("sampler")) or _simplest(process, steps=steps or 12)
        guidance = parts.pop("guidance", part)
    if (space := cast(Space, subject.beside("space"))) is not None:
        model = cast(Denoiser, subject.beside("model")) or NormalNoise()
        return System(model=model, process=process, space=space, sampler=sampler, guidance=guidance)
    if isinstance(process, Discrete):
        law = Joint.random(2, process.symbols, seed=3)
        return joint_system(law, process, sampler=sampler, guidance=guidance, **parts)
    variance = "variance" in part.needs
    return mixture_system(three(), process, variance=variance, sampler=sampler, guidance=guidance, **parts)


def _processes(subject: Subject) -> list[Process]:
    """Those that a part is tried on: what its manifest asks for, or whatever it can take."""
    beside = subject.beside("process")
    if beside is not None:
        return [cast(Process, beside)]
    return [Shuffle()] if "discrete" in subject.part.needs else [Circle(), Explosion()]


def _simplest(process: Process, **settings: Any) -> Sampler:  # noqa: ANN401
    if isinstance(process, Discrete):
        return Reverse(**settings)
    return FirstOrder(grid=Uniform(start=0.99), **settings)


def _law(system: System) -> Joint | None:
    """That of the data, where they are tokens."""
    return system.model.joint if isinstance(system.model, ExactTokens) else None


def _cond(system: System, n: int) -> Condition | None:
    """Guidance is tried with labels and with whatever it reads, samplers without."""
    if system.guidance is None:
        return None
    entries = {"label": LABELS.repeat(math.ceil(n / 6))[:n]}
    for name in {name for _, p in parts_of(system) if isinstance(p, Guidance) for name in p.reads}:
        row = torch.tensor([True, False, False] if name == "mask" else [0.5, -0.3, 0.8])
        entries[name] = row[: system.space.like(1).shape[1]].repeat(n, 1)  # type: ignore[union-attr]
    return Condition(entries)


def _labels(system: System, n: int = 6) -> Condition:
    """What is left without the guidance."""
    return Condition(label=cast(Condition, _cond(system, n))["label"])


def _draw(system: System, n: int, seed: int = 0, **settings: Any) -> Tensor:  # noqa: ANN401
    settings = {"dtype": F64, "cond": _cond(system, n), **settings}
    return _flat(system.sample(n, seed=seed, **settings))


def _flat(x: State) -> Tensor:
    """A state's leaves in one row."""
    return x if isinstance(x, Tensor) else torch.cat([v.flatten(1) for _, v in leaves(x)], dim=1)


def _close(x: Tensor, y: Tensor, message: str, tolerance: float = 1e-9) -> None:
    """Up to the rounding of their dtype. NaN equals NaN: that a sample is finite is for ``endpoints`` to say."""
    if tolerance and torch.float32 in (x.dtype, y.dtype):
        tolerance = max(tolerance, 1e-4)
    error = torch.where(x.isnan() & y.isnan(), 0.0, (x - y).abs()).nan_to_num(nan=math.inf)
    demand(float(error.max()) <= tolerance, f"{message}: they differ by {float(error.max()):.2e}")


def _start(n: int = 6, system: System | None = None) -> Any:  # noqa: ANN401 - the kind of state that the system has
    if system is not None and _structured(system):
        return system.space.noise(system.space.like(n, dtype=F64), Rng.of(3, n))
    if system is not None and system.process is not None and _law(system) is not None:
        prior = system.process.prior(system.space.like(n))
        assert prior is not None
        return cast(Tensor, prior.sample(Rng.of(3, n)))
    return Rng.of(3, n).normal(torch.empty(n, 2, dtype=F64))


def _half_noise(space: Space, x: Tensor) -> None:
    like = space.like(len(x), dtype=F64)
    true = _flat(combine(1.0, like, 0.5, space.log(like, space.noise(like, Rng.of(12, len(x))))))
    p = compare(x, true, "energy", permutations=2000, seed=0).p_value or 0.0
    demand(p > 1e-3, f"samples differ from half the space's noise: permutation p-value {p:.4f}")


def _structured(system: System) -> bool:
    """Whether a state has several leaves: a graph, a pose."""
    return not isinstance(system.space.like(1), Tensor)


def _real(system: System) -> None:
    if _structured(system):
        raise Exempt("its states are no plain tensors")
    if _law(system) is not None:
        raise Exempt("its states are integers")


def marginals(subject: Subject) -> None:
    """1000 samples of an exact mixture in 100 steps pass a permutation test of the energy distance at 1e-3.

    Samples of tokens pass a chi-square test against their listed law.
    """
    system = _system(subject, steps=100)
    x = _draw(system, 1000, seed=11)
    if isinstance(system.model, NormalNoise):
        _half_noise(system.space, x)
        return
    if _structured(system):
        raise Exempt("the law of the model beside it is for its plugin's own tests")
    if (law := _law(system)) is not None:
        demand((x < law.symbols).all(), f"a sample holds {int(x.max())}, which is no symbol of data")
        found = chi_square(x, law.table).p_value or 0.0
        demand(found > 1e-3, f"samples differ from the exact law: chi-square p-value {found:.4f}")
        return
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
    start = _start(8)
    ends = torch.tensor([0.8, 0.2], dtype=F64)
    alpha, sigma = process.scalars(ends)
    width = (alpha[:, None] ** 2 * spread**2 + sigma[:, None] ** 2).sqrt()
    exact = alpha[1] * mean + width[1] / width[0] * (start - alpha[0] * mean)
    counts, errors = [32, 64, 128, 256], []
    for n in counts:
        times = torch.linspace(0.8, 0.2, n + 1, dtype=F64)
        x = start
        for carry, _ in stream(system, start, Condition(), Rng.of(0, 8), start=start.clone(), times=times):
            x = cast(Tensor, carry.x)
        errors.append(float((x - exact).norm(dim=1).mean()))
    if max(errors) < 1e-10:
        return  # exact on Gaussians
    measured = slope(counts, errors).value
    demand(measured >= part.order - 0.25, f"declares order {part.order}, converges with {measured:.2f}: {errors}")


def batch_invariance(subject: Subject) -> None:
    """A sample is the same alone, among others, and in a split batch. No batch here is as large as the dimension."""
    system = _system(subject)
    whole = _draw(system, 6)
    _close(_draw(system, 6, batch=3), whole, "a split batch and a whole one")
    _close(_draw(system, 4), whole[:4], "four samples alone and among six")
    _close(_draw(system, 1), whole[:1], "one sample alone and among six")


def broadcast(subject: Subject) -> None:
    """With B == D each sample is what it is with any other B."""
    system = _system(subject)
    what = "two samples of two dimensions, alone and among five (is a (batch,) coefficient taken for columns?)"
    _close(_draw(system, 2), _draw(system, 5)[:2], what)


def interleaving(subject: Subject) -> None:
    """Two trajectories of one sampler, step by step in turn, are what they are alone."""
    system = _system(subject)
    streams = [system.stream(3, cond=_cond(system, 3), seed=seed, dtype=F64) for seed in (1, 2)]
    ends: list[Tensor] = [torch.empty(0), torch.empty(0)]
    for both in zip(*streams, strict=True):
        ends = [_flat(carry.x) for carry, _ in both]
    for seed, x in zip((1, 2), ends, strict=True):
        _close(x, _draw(system, 3, seed=seed), f"seed {seed}, interleaved and alone", 0.0)


def replay(subject: Subject) -> None:
    """The same seed gives the same bits, another seed another sample, and torch's global generator is left alone."""
    system = _system(subject)
    before = torch.get_rng_state()
    first = _draw(system, 3)
    demand(torch.equal(torch.get_rng_state(), before), "torch's global generator was used")
    _close(_draw(system, 3), first, "two runs with one seed", 0.0)
    demand(not torch.equal(_draw(system, 3, seed=7), first), "another seed gives the same samples")


def noise_unused(subject: Subject) -> None:
    """What a step draws changes its state or its memory: a deterministic step draws nothing."""
    system = _system(subject)
    n = 6 if _law(system) is None else 2000  # a few tokens may well stay what they were
    assert system.sampler is not None
    assert system.process is not None
    times, cond, rngs = (
        system.sampler.times(system.process),
        _cond(system, n) or Condition(),
        [Rng.of(i, n) for i in (1, 2)],
    )
    carry = Carry(x=_start(n, system), cond=cond)
    for i, (t, s) in enumerate(pairwise(times)):
        step = system.step if i + 2 < len(times) else system.sampler.terminal.last(system.step)
        with _counting() as draws:
            (one, _), (two, _) = (step(system, _copied(carry), t, s, rng.at("step", i)) for rng in rngs)
        pairs = zip(_tensors((one.x, one.memory)), _tensors((two.x, two.memory)), strict=False)
        unused = draws and all(torch.equal(a, b) or bool((a.isnan() & b.isnan()).all()) for a, b in pairs)
        demand(
            not unused, f"the step from t = {float(t):.3g} to {float(s):.3g} drew {draws[:1]}, which changed nothing"
        )
        carry = one


def _copied(carry: Carry) -> Carry:
    """With a state of its own: only ``purity`` is about states that are changed."""
    return attrs.evolve(carry, x=tree_map(torch.clone, carry.x))


def _tensors(value: Any) -> Iterator[Tensor]:  # noqa: ANN401
    """All tensors in mappings, sequences and records."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from chain.from_iterable(map(_tensors, value.values()))
    elif isinstance(value, tuple | list):
        yield from chain.from_iterable(map(_tensors, value))
    elif attrs.has(type(value)):
        yield from chain.from_iterable(_tensors(getattr(value, a.name)) for a in attrs.fields(type(value)))


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
    """From the very prior to t = 0, in few steps and in many: finite, or refused with a reason."""
    for process in _processes(subject):
        for steps in (1, 2, 5, 100, None):
            try:
                x = _draw(_system(subject, steps=steps, process=process), 3)
            except SuffuseError:
                continue
            told = "NaN or infinity: look at the ends, t = 1 without signal and s = 0 without noise"
            demand(x.isfinite().all(), f"steps={steps or 'as set'} on {type(process).__name__} gives {told}")
            if isinstance(process, Discrete):
                demand((x < process.symbols).all(), f"steps={steps or 'as set'} ends with {x.tolist()}: no data")


def float64(subject: Subject) -> None:
    """Float64 is kept, float32 too, and they agree to 1e-3."""
    system = _system(subject)
    _real(system)
    exact, single = _draw(system, 6), _draw(system, 6, dtype=torch.float32)
    demand(exact.dtype == F64, f"float64 in gave {exact.dtype} out: half the digits are lost")
    demand(single.dtype == torch.float32, f"float32 in gave {single.dtype} out")
    error = float((single.double() - exact).abs().max())
    demand(error <= 1e-3, f"float32 and float64 differ by {error:.2e}")


def half(subject: Subject) -> None:
    """A half-precision start is promoted: all arithmetic is in float32."""
    system = _system(subject)
    _real(system)
    for dtype in (torch.float16, torch.bfloat16):
        start = _start().to(dtype)
        got, exact = (_draw(system, 6, start=x.clone(), dtype=x.dtype) for x in (start, start.float()))
        demand(got.dtype == torch.float32, f"{dtype} in gave {got.dtype} out: solvers work in at least float32")
        error = float((got - exact).abs().max())
        demand(error <= 1e-3, f"a start in {dtype} ends {error:.2e} from the same start in float32")


def purity(subject: Subject) -> None:
    """No state is changed in place."""
    system = _system(subject)
    start = _start(6, system)
    before = _flat(start).clone()
    seen: list[tuple[Tensor, Tensor]] = []
    for carry, info in system.stream(cond=_cond(system, 6), start=start, dtype=F64):
        seen.extend((v, v.clone()) for x in (info.x_t, info.x_s, carry.x) for _, v in leaves(x))
    demand(torch.equal(_flat(start), before), "the start was changed in place")
    demand(all(torch.equal(x, was) for x, was in seen), "a state was changed in place after it was handed out")


def contiguity(subject: Subject) -> None:
    """A non-contiguous start gives the same result as a contiguous one."""
    system = _system(subject)
    _real(system)
    start = _start(6, system)
    straight = _draw(system, 6, start=start.clone())
    _close(_draw(system, 6, start=start.T.contiguous().T), straight, "a non-contiguous start", 1e-12)


def gradients(subject: Subject) -> None:
    """Autograd reaches the start through all steps: no step switches it off."""
    system = _system(subject, steps=5)
    _real(system)
    start = _start(3).requires_grad_()
    x = _draw(system, 3, start=start.clone())
    demand(x.requires_grad, "the result does not depend on the start for autograd")
    (slope_,) = torch.autograd.grad(x.sum(), start)
    demand(bool(slope_.isfinite().all() and (slope_ != 0).any()), "the gradient is zero or not finite")


def nfe(subject: Subject) -> None:
    """``StepInfo.nfe`` is the number of evaluations that were made for each sample."""
    system = _system(subject)
    told: list[StepInfo] = []
    with _evaluations(system) as made:
        _draw(system, 6, on_step=lambda _, info: told.append(info))
    said = sum(i.nfe for i in told)
    demand(said * 6 == sum(made), f"says {said} evaluations a sample, {sum(made) / 6:g} were made")


def transition(subject: Subject) -> None:
    """A step that gives its transition drew x_s from it: repeated with its stream, law and state agree."""
    system = _system(subject)
    infos = [info for _, info in system.stream(6, cond=_cond(system, 6), dtype=F64)]
    laws = [i for i in infos if i.transition is not None]
    claims = "stochastic" in subject.part.gives
    demand(bool(laws) or not claims, "provides 'stochastic', but no step has a transition")
    if not laws:
        raise Exempt("no random transitions")
    laws = laws[:: math.ceil(len(laws) / 12)]
    for info in laws:
        assert info.transition is not None
        log_prob = info.transition.log_prob(info.x_s)
        demand(log_prob.shape == (6,) and bool(log_prob.isfinite().all()), "log_prob of the state drawn is not finite")
        if (law := _law(system)) is not None:
            # A state as rare as that is drawn once in 10^6 times, however many there are.
            rare = math.log(1e-6) - len(law.table.shape) * math.log(law.symbols + 1) - math.log(6 * len(laws))
            demand((log_prob > rare).all(), f"a state was drawn whose log_prob is {float(log_prob.min()):.1f}")
            continue
        draws = [info.transition.sample(Rng.of(9, 6).at(k)) for k in range(64)]
        typical = torch.stack([info.transition.log_prob(d) for d in draws])
        # Under the law itself the state's log-density lies among those of fresh draws. A Gaussian's has an exponential
        # tail, so the least of n draws lies about log n deviations below the mean, and 8 more with chance e^-8.
        z = (log_prob - typical.mean(0)) / typical.std(0).clamp_min(1e-6)
        least = -8 - math.log(6 * len(laws))
        demand(bool((z > least).all()), f"the state drawn is not typical of its transition: z = {float(z.min()):.1f}")


def bad_input(subject: Subject) -> None:
    """steps = 0 is refused by name."""
    part = cast(Any, subject.part)
    refused(lambda: attrs.evolve(part, steps=0), "steps=0", "steps", "0", error=SpecError)


def switched_off(subject: Subject) -> None:
    """Off, it does nothing, to the last bit of rounding: at the settings its manifest names, and at scale 1."""
    part = cast(Any, subject.part)
    settings = dict(subject.component.off) if subject.component is not None else {}
    if not settings and "scale" in attrs.fields_dict(type(part)):
        settings = {"scale": 1.0}
    if not settings:
        raise Exempt("the manifest names no settings under which it is off")
    off = _system(subject, guidance=attrs.evolve(part, **settings))
    plain = attrs.evolve(off, guidance=None)
    _close(_draw(off, 6), _draw(plain, 6, cond=_labels(off, 6)), f"with {settings} and without guidance", 1e-12)


def acts(subject: Subject) -> None:
    """Under its example settings it changes the samples, and they stay finite."""
    system = _system(subject)
    n = 6 if _law(system) is None else 600  # a few tokens may well be what they were
    x = _draw(system, n)
    demand(bool(x.isfinite().all()), "guided samples are not finite")
    try:
        plain = _draw(attrs.evolve(system, guidance=None), n, cond=_labels(system, n))
    except Unsupported:
        return
    demand((x - plain).abs().max() > 1e-6, "it changes nothing")


def terminal_grid(subject: Subject) -> None:
    """The closed grid begins with the times given, falls strictly, stays in [0, 1], and is float64."""
    part = subject.part
    assert isinstance(part, Terminal)
    for n in (2, 3, 50):
        times = Uniform(start=0.9).times(Circle(), n)
        closed = part.close(times.clone())
        demand(
            closed.dtype == F64 and closed.ndim == 1, f"expected float64 (n,), got {closed.dtype} {tuple(closed.shape)}"
        )
        demand(torch.equal(closed[:n], times[: len(closed)]), f"{times.tolist()[-2:]} became {closed.tolist()[-3:]}")
        inside = (closed.diff() < 0).all() and closed[-1] >= 0
        demand(inside, f"the closed grid must fall strictly to at least 0, it ends with {closed.tolist()[-3:]}")


def terminal_step(subject: Subject) -> None:
    """The last step says what it did: its times, its state, its evaluations; and the sample is finite."""
    process = cast(Process, subject.beside("process") or Circle())
    sampler = _simplest(process, steps=6, terminal=cast(Terminal, subject.part))
    law = Joint.random(2, process.symbols, seed=3) if isinstance(process, Discrete) else None
    if law is not None:
        system = joint_system(law, process, sampler=sampler)
    else:
        system = mixture_system(three(), process, sampler=sampler)
    with _evaluations(system) as made:
        *_, (carry, info) = system.stream(start=_start(6, system), dtype=F64)
        x = cast(Tensor, carry.x)
    times = sampler.times(process)
    demand(
        (info.t, info.s) == (times[-2], times[-1]), f"the last step says t = {info.t}, s = {info.s}, not {times[-2:]}"
    )
    demand(torch.equal(cast(Tensor, info.x_s), x), "the last step's x_s is not the state that it hands on")
    told = info.nfe + len(times) - 2
    demand(told * 6 == sum(made), f"says {told} evaluations a sample, {sum(made) / 6:g} were made")
    demand(x.isfinite().all(), "the sample is not finite")


@contextmanager
def _evaluations(system: System) -> Iterator[list[int]]:
    """The batch size of each call of the model."""
    made: list[int] = []
    plain = type(system.model).forward

    def counted(self: Any, x: State, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        made.append(size(x))
        return plain(self, x, *args, **kwargs)

    with patch.object(type(system.model), "forward", counted):
        yield made


_COMMON: dict[str, Check] = {
    "replay": replay,
    "batch-invariance": batch_invariance,
    "broadcast": broadcast,
    "interleaving": interleaving,
    "noise-unused": noise_unused,
    "float64": float64,
    "half": half,
    "purity": purity,
    "contiguity": contiguity,
    "nfe": nfe,
}
CHECKS: dict[str, Check] = {
    **_COMMON,
    "marginals": marginals,
    "order": order,
    "endpoints": endpoints,
    "gradients": gradients,
    "transition": transition,
    "bad-input": bad_input,
}
GUIDANCE: dict[str, Check] = {**_COMMON, "off": switched_off, "acts": acts}
TERMINAL: dict[str, Check] = {"grid": terminal_grid, "last": terminal_step}
