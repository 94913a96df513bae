"""Rules for processes, parameterizations and grids."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from suffuse.contracts.model import Parameterization
from suffuse.contracts.prediction import Logits, Mean
from suffuse.contracts.process import Bridge, Degradation, Discrete, Gaussian, Jump, Process
from suffuse.contracts.sampler import Grid
from suffuse.errors import SuffuseError, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine, leaves
from suffuse.testing.conformance import Check, Exempt, Subject, demand, refused
from suffuse.testing.stand_ins import Circle, Explosion
from suffuse.testing.statistics import compare, covariance_within, mean_within

# Away from the grid points of a 1000-step chain, where an interpolated schedule may have kinks.
INNER = torch.linspace(0.02, 0.97, 24, dtype=torch.float64) + 0.00037
ROWS = 20_000


def _gaussian(subject: Subject) -> Gaussian:
    if not isinstance(subject.part, Gaussian):
        raise Exempt("not a Gaussian process")
    return subject.part


def _vectors(subject: Subject) -> Process:
    process = subject.part
    assert isinstance(process, Process)
    space = getattr(process, "space", None)
    if space is not None or not isinstance(process, Gaussian | Discrete | Bridge):
        raise Exempt("its states are not plain vectors")
    return process


def _discrete(subject: Subject) -> Discrete:
    if not isinstance(subject.part, Discrete):
        raise Exempt("its states are not tokens")
    return subject.part


def _data(process: Process, rows: int, columns: int) -> Tensor:
    """Vectors of numbers from -1 to 1, or of all symbols in turn."""
    if isinstance(process, Discrete):
        return (torch.arange(rows * columns) % process.symbols).view(rows, columns)
    return torch.linspace(-1, 1, rows * columns, dtype=torch.float64).view(rows, columns)


def _tensor(x: State) -> Tensor:
    return next(v for _, v in leaves(x))


def _corrupt(process: Process, x0: Tensor, t: Tensor, rng: Rng) -> Tensor:
    """On copies: only ``purity`` is about inputs that are changed."""
    return _tensor(process.corrupt(x0.clone(), t.clone(), rng=rng, end=_end(process, x0)).x_t)


def _end(process: Process, x0: Tensor) -> Tensor | None:
    """For a bridge the other end, which is each row's own."""
    return x0.flip(1) if isinstance(process, Bridge) else None


def endpoints(subject: Subject) -> None:
    """Finite at both ends; data at t = 0; the posterior at s = 0 and the prior at t = 1 are finite."""
    if isinstance(subject.part, Discrete):
        _token_ends(subject.part)
        return
    process = _gaussian(subject)
    zero, one = torch.tensor(0.0).double(), torch.tensor(1.0).double()
    x0, rng = torch.ones(2, 3, dtype=torch.float64), Rng.of(0, 2)
    for t in (zero, one):
        alpha, sigma = (float(w) for w in process.scalars(t))
        good = math.isfinite(alpha) and math.isfinite(sigma)
        demand(good, f"at t = {float(t):g} alpha is {alpha} and sigma is {sigma}")
        if t == 0:
            near = abs(alpha - 1) <= 0.01 and sigma <= 0.05
            demand(near, f"t = 0 must be data, got alpha {alpha} and sigma {sigma}")
        x_t = _corrupt(process, x0, t, rng)
        demand(x_t.isfinite().all(), f"corrupt is not finite at t = {float(t):g}")
    if "markov" in process.gives:
        law = process.posterior(x_t, x0, one, zero)
        demand(_tensor(law.sample(rng)).isfinite().all(), "the posterior from t = 1 to s = 0 is not finite")
    prior = process.prior(x0)
    demand(_tensor(prior.sample(rng)).isfinite().all(), "the prior at t = 1 is not finite")


@torch.no_grad()
def _token_ends(process: Discrete) -> None:
    """At t = 0 data, at t = 1 next to nothing of them, both to 1 % of probability; from 1 to 0 the data again."""
    x0, k = torch.eye(process.symbols, dtype=torch.float64)[:, None], process.symbols
    zero, one = torch.tensor(0.0).double(), torch.tensor(1.0).double()
    kept, lost = (process.marginal(x0, t).logits.softmax(-1)[:, 0] for t in (zero, one))
    demand(kept.shape == (k, process.states), f"{k} symbols and {process.states} states gave {tuple(kept.shape)}")
    good = kept.isfinite().all() and (kept.diagonal() >= 0.99).all()
    demand(good, f"t = 0 must be data, a symbol stays with probability {float(kept.diagonal().min()):.3g}")
    apart = float((lost - lost[:1]).abs().sum(1).max() / 2)
    demand(apart <= 0.01, f"t = 1 must have forgotten the data, two symbols' laws differ by {apart:.3g}")
    start = process.prior(torch.zeros(ROWS, 1, dtype=torch.int64))
    if start is not None:
        _shares(_tensor(start.sample(Rng.of(0, ROWS))), lost[0], "the prior at t = 1")
    every = torch.nonzero(lost[0] > 0)
    end = process.posterior(every, x0[:1].expand(len(every), 1, k), one, zero).logits.softmax(-1)[:, 0, 0]
    demand((end >= 0.99).all(), f"the posterior from t = 1 to s = 0 has probability {end.tolist()} at the data")


def derivative(subject: Subject) -> None:
    """``derivative`` agrees with central differences of ``kernel`` (error h^2 and rounding / h, both below 1e-6)."""
    process, h = _gaussian(subject), 1e-6
    given = process.derivative(INNER)
    pairs = [(process.scalars(INNER + h)[i] - process.scalars(INNER - h)[i]) / (2 * h) for i in (0, 1)]
    for name, exact, numeric in zip(("alpha", "sigma"), (given.alpha, given.sigma), pairs, strict=True):
        error = (cast(Tensor, exact) - numeric).abs() / (1 + numeric.abs())
        worst = int(error.argmax())
        demand(
            float(error.max()) < 1e-4,
            f"d {name}/dt at t = {float(INNER[worst]):.4f} is {float(cast(Tensor, exact)[worst]):.6g}, "
            f"central differences give {float(numeric[worst]):.6g}",
        )


def inverse(subject: Subject) -> None:
    """``time(log_snr(t)) == t``, and log-SNR falls strictly."""
    process = _gaussian(subject)
    snr = process.log_snr(INNER)
    demand(bool((snr.diff() < 0).all()), "log-SNR must decrease strictly with t")
    error = (process.time(snr) - INNER).abs().max()
    demand(float(error) < 1e-6, f"time(log_snr(t)) is off by {float(error):.2e}")


def sde(subject: Subject) -> None:
    """``drift = (alpha'/alpha) x`` and ``g^2 = 2 sigma (sigma' - sigma alpha'/alpha)``, by its own ``derivative``."""
    process = _gaussian(subject)
    if "sde" not in process.gives:
        raise Exempt("has no SDE under its settings")
    d, (alpha, sigma) = process.derivative(INNER), process.scalars(INNER)
    rate, slope = cast(Tensor, d.alpha) / alpha, cast(Tensor, d.sigma)
    x = torch.linspace(-2, 2, 2 * len(INNER), dtype=torch.float64).view(-1, 2)
    g = process.diffusion(INNER)
    pairs = {
        "drift": (_tensor(process.drift(x.clone(), INNER)), rate[:, None] * x, (rate[:, None] * x).abs()),
        "diffusion^2": (g**2, 2 * sigma * (slope - rate * sigma), 2 * sigma * (slope.abs() + rate.abs() * sigma)),
    }
    for name, (got, expected, size) in pairs.items():
        error = ((got - expected).abs() / (1 + size)).view(len(INNER), -1).amax(1)
        row = int(error.argmax())
        found = f"{got[row].tolist()}, its kernel's is {expected[row].tolist()}"
        demand(float(error.max()) < 1e-9, f"{name} at t = {float(INNER[row]):.4f} is {found}")


def marginals(subject: Subject) -> None:
    """Moments of corrupt, posterior and renoise against the kernel, within 5 standard errors over 20,000 rows."""
    if isinstance(subject.part, Discrete):
        _token_marginals(subject.part)
        return
    process = _gaussian(subject)
    if "markov" not in process.gives:
        _noise_of_its_own(process)
        return
    x0 = torch.tensor([[0.7, -0.3]], dtype=torch.float64).repeat(ROWS, 1)
    for t in (0.15, 0.5, 0.95):
        time, earlier = torch.tensor(t).double(), torch.tensor(0.6 * t).double()
        rng = Rng.of(1, ROWS).at(str(t))
        x_t = _corrupt(process, x0, time, rng)
        _moments(x_t, x0, process.scalars(time), f"corrupt at t = {t}")
        x_s = process.posterior(x_t.clone(), x0.clone(), time, earlier).sample(rng.at("posterior"))
        _moments(_tensor(x_s), x0, process.scalars(earlier), f"posterior from t = {t} to {0.6 * t:g}")
        again = process.renoise(x_s, earlier, time, rng=rng.at("renoise"))
        _moments(_tensor(again), x0, process.scalars(time), f"renoise from {0.6 * t:g} to t = {t}")


def _noise_of_its_own(process: Gaussian) -> None:
    """A scalar kernel whose noise is not Gaussian: the noise in ``corrupt`` has the law of ``prior`` at that time."""
    x0 = torch.tensor([[0.7, -0.3]], dtype=torch.float64).repeat(1000, 1)
    for t in (0.15, 0.95):
        time, rng = torch.tensor(t).double(), Rng.of(1, 1000).at(str(t))
        law = process.prior(x0, t=time)
        noise = _corrupt(process, x0, time, rng) - process.scalars(time)[0] * x0
        drawn = _tensor(law.sample(rng.at("prior")))
        p = compare(noise, drawn, "energy", permutations=2000, seed=0).p_value or 0.0
        demand(p > 1e-3, f"at t = {t} corrupt and prior have different noise: permutation p-value {p:.4f}")


@torch.no_grad()
def _token_marginals(process: Discrete) -> None:
    """For each symbol: posteriors composed with the marginal give the marginal (1e-9); draws have its shares."""
    k, n = process.symbols, ROWS // process.symbols
    every = torch.arange(process.states)
    x0 = torch.arange(k).repeat_interleave(n)[:, None]
    for t in (0.15, 0.5, 0.95):
        time, earlier, rng = torch.tensor(t).double(), torch.tensor(0.6 * t).double(), Rng.of(1, n * k).at(str(t))
        x_t = _corrupt(process, x0, time, rng)
        again = process.renoise(_corrupt(process, x0, earlier, rng), earlier, time, rng=rng.at("renoise"))
        for symbol in range(k):
            point = torch.eye(k, dtype=torch.float64)[symbol].expand(len(every), 1, k)
            q_t, q_s = (process.marginal(point[:1], u).logits.softmax(-1)[0, 0] for u in (time, earlier))
            back = process.posterior(every[:, None], point, time, earlier).logits.softmax(-1)[:, 0]
            composed = (q_t[:, None] * back)[q_t > 0].sum(0)
            error, step = float((composed - q_s).abs().max()), f"from t = {t} to {0.6 * t:g}"
            demand(error < 1e-9, f"posteriors {step} of symbol {symbol} give {composed.tolist()}, not {q_s.tolist()}")
            _shares(x_t[x0 == symbol], q_t, f"corrupt of symbol {symbol} at t = {t}")
            _shares(_tensor(again)[x0 == symbol], q_t, f"renoise of symbol {symbol} from {0.6 * t:g} to t = {t}")


def _shares(x: Tensor, p: Tensor, what: str) -> None:
    """Five standard errors of a binomial share, and one draw for those that are next to never drawn."""
    share = x.flatten().bincount(minlength=len(p)).double() / x.numel()
    within = (share - p).abs() <= 5 * (p * (1 - p) / x.numel()).sqrt() + 1 / x.numel()
    demand(share.shape == p.shape and within.all(), f"{what}: shares {share.tolist()}, expected {p.tolist()}")


@torch.no_grad()
def rates(subject: Subject) -> None:
    """The posterior's derivative: its probabilities over a step h = 1e-7, to 1e-5 (error of order h, rounding / h)."""
    process, h = _discrete(subject), 1e-7
    if not isinstance(process, Jump):
        raise Exempt("gives no rates")
    x_t = torch.arange(process.states).repeat_interleave(3)[:, None]
    g = torch.Generator().manual_seed(0)
    value = torch.randn(len(x_t), 1, process.symbols, generator=g, dtype=torch.float64)
    for t in (0.15, 0.5, 0.95):
        time = torch.tensor(t).double()
        given = process.rates(x_t, time, Logits(value=value, x_t=x_t, t=time))
        stay = torch.nn.functional.one_hot(x_t, process.states).bool()
        demand(given.shape == stay.shape, f"expected rates to {process.states} states, got {tuple(given.shape)}")
        demand((given[stay] == 0).all() and (given >= 0).all(), "rates must not be negative, and 0 at the state itself")
        near = process.posterior(x_t, value.softmax(-1), time, time - h).logits.softmax(-1).masked_fill(stay, 0) / h
        error = float(((given - near).abs() / (1 + near)).max())
        demand(error < 1e-5, f"at t = {t} a rate is off the posterior's derivative by {error:.1e} of itself")


def _moments(x: Tensor, x0: Tensor, kernel: tuple[Tensor, Tensor], what: str) -> None:
    alpha, sigma = kernel
    mean = mean_within(x, alpha * x0[0])
    demand(mean, f"{what}: {mean}")
    covariance = covariance_within(x, sigma**2 * torch.eye(x.shape[1], dtype=x.dtype))
    demand(covariance, f"{what}: {covariance}")


def bridge(subject: Subject) -> None:
    """``between`` is x0 at t = 0 and x1 at t = 1; ``corrupt`` draws from it, and is refused without an end.

    Means and second moments of 20,000 draws of each, within 5 standard errors.
    """
    process = _vectors(subject)
    if not isinstance(process, Bridge):
        raise Exempt("joins no two given ends")
    x0, x1 = (torch.tensor([row], dtype=torch.float64).repeat(ROWS, 1) for row in ([0.7, -0.3], [-1.1, 0.4]))
    for t, end in ((0.0, x0), (1.0, x1)):
        time, rng = torch.tensor(t).double(), Rng.of(0, 2)
        drawn = _tensor(process.between(x0[:2], x1[:2], time).sample(rng))
        made = _tensor(process.corrupt(x0[:2], time, rng=rng, end=x1[:2]).x_t)
        for what, x in (("between", drawn), ("corrupt", made)):
            error = float((x - end[:2]).abs().max())
            demand(error < 1e-6, f"{what} at t = {t:g} is off its end by {error:.2e}")
    for t in (0.15, 0.5, 0.95):
        time, rng = torch.tensor(t).double(), Rng.of(1, ROWS).at(str(t))
        x = _tensor(process.corrupt(x0, time, rng=rng, end=x1).x_t)
        y = _tensor(process.between(x0, x1, time).sample(rng.at("law")))
        mean = mean_within(x - y, 0.0)
        demand(mean, f"corrupt at t = {t} and between have different means: {mean}")
        second = mean_within(x[:, :, None] * x[:, None] - y[:, :, None] * y[:, None], 0.0)
        demand(second, f"corrupt at t = {t} and between have different second moments: {second}")
    refused(lambda: process.corrupt(x0[:2], time, rng=Rng.of(0, 2)), "corrupt without its other end", "end")


def degradation(subject: Subject) -> None:
    """``D(x, 0)`` is x and ``D(x, 1)`` is not; ``corrupt`` is D at the end that it tells; rows keep to themselves.

    Each has its own time, the input is not changed, float32 is kept, and times for another batch size are refused.
    """
    process = subject.part
    if not isinstance(process, Degradation):
        raise Exempt("no deterministic path")
    assert isinstance(process, Process)
    shape = subject.component.shape if subject.component is not None and subject.component.shape else (3,)
    x0 = torch.rand(4, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t, rng, before = torch.tensor([0.0, 0.3, 0.7, 1.0], dtype=torch.float64), Rng.of(2, 4), x0.clone()
    generator = torch.get_rng_state()
    made = process.corrupt(x0, t, rng=rng)
    x_t = _tensor(made.x_t)
    demand(torch.equal(torch.get_rng_state(), generator), "torch's global generator was used: draw from rng")
    demand(torch.equal(x0, before), "corrupt changed x0 in place")
    demand(x_t.isfinite().all() and x_t.dtype == torch.float64, f"not finite, or {x_t.dtype} for float64")
    again = _tensor(process.degrade(x0, t, end=made.end))
    demand(torch.allclose(x_t, again, rtol=0, atol=1e-12), "corrupt is not D(x_0, t) at the end that it tells")
    start = _tensor(process.degrade(x0, 0 * t, end=made.end))
    demand(torch.allclose(start, x0, rtol=0, atol=1e-12), f"D(x, 0) is off x by {float((start - x0).abs().max()):.2e}")
    demand((x_t[3] - x0[3]).abs().max() > 1e-3, "D(x, 1) is x: nothing is degraded")
    for i in range(4):
        row = slice(i, i + 1)
        alone = _tensor(process.corrupt(x0[row], t[i], rng=rng.index(row)).x_t)
        demand(torch.allclose(alone, x_t[row], rtol=0, atol=1e-12), f"row {i} is not what it is alone")
    single = _tensor(process.corrupt(x0.float(), t, rng=rng).x_t)
    demand(single.dtype == torch.float32, f"float32 in gave {single.dtype} out")
    demand(torch.allclose(single.double(), x_t, rtol=0, atol=1e-4), "float32 and float64 differ")
    wrong = torch.tensor([0.2, 0.4], dtype=torch.float64)
    refused(lambda: process.corrupt(x0, wrong, rng=rng), "t of shape (2,) for 4 samples", "(2,)")


def replay(subject: Subject) -> None:
    """The same rng gives the same bits, another one others, and torch's global generator is left alone."""
    process, t = _vectors(subject), torch.tensor(0.4).double()
    x0 = 0 * _data(process, 4, 3000)  # of few tokens none may have changed at this time
    before = torch.get_rng_state()
    first = _corrupt(process, x0, t, Rng.of(6, 4))
    demand(torch.equal(torch.get_rng_state(), before), "torch's global generator was used: draw from rng")
    demand(torch.equal(_corrupt(process, x0, t, Rng.of(6, 4)), first), "two draws with one rng differ")
    demand(not torch.equal(_corrupt(process, x0, t, Rng.of(7, 4)), first), "another seed gives the same noise")


def broadcast(subject: Subject) -> None:
    """With B == D each row gets its own time, not each column."""
    process = _vectors(subject)
    x0 = _data(process, 4, 4)
    t, rng = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64), Rng.of(2, 4)
    whole = _corrupt(process, x0, t, rng)
    for i in range(4):
        row = _corrupt(process, x0[i : i + 1], t[i], rng.index(slice(i, i + 1)))
        same = torch.allclose(whole[i : i + 1], row, rtol=1e-12, atol=1e-12)
        demand(same, f"row {i} of a 4 x 4 batch is not what it is alone: is t broadcast against columns?")


def batch_invariance(subject: Subject) -> None:
    """A row's corruption does not depend on its neighbours."""
    process = _vectors(subject)
    x0, rng = _data(process, 7, 3), Rng.of(3, 7)
    t = torch.tensor(0.4).double()
    whole = _corrupt(process, x0, t, rng)
    part = _corrupt(process, x0[2:4], t, rng.index(slice(2, 4)))
    demand(torch.equal(whole[2:4], part), "rows 2 and 3 of 7 differ from the same rows alone")


def float64(subject: Subject) -> None:
    """Float64 in gives float64 out; float32 agrees with it to its own rounding."""
    _precision(subject, torch.float64, (torch.float64,))
    _precision(subject, torch.float32, (torch.float32, torch.float64))


def half(subject: Subject) -> None:
    """Half precision in is promoted: float32 goes out, with float64's values to float32's rounding."""
    for dtype in (torch.float16, torch.bfloat16):
        _precision(subject, dtype, (torch.float32, torch.float64))


def _precision(subject: Subject, dtype: torch.dtype, allowed: tuple[torch.dtype, ...]) -> None:
    process, t = _vectors(subject), torch.tensor(0.4).double()
    if isinstance(process, Discrete):
        raise Exempt("its states are integers")
    x0 = torch.linspace(-1, 1, 6).view(2, 3).to(dtype)
    got = _corrupt(process, x0, t, Rng.of(4, 2))
    demand(got.dtype in allowed, f"{dtype} in gave {got.dtype} out, expected {allowed[0]}")
    exact = _corrupt(process, x0.double(), t, Rng.of(4, 2)).double()
    tolerance = 8 * torch.finfo(got.dtype).eps * float(exact.abs().max() + 1)
    error = float((got.double() - exact).abs().max())
    demand(error <= tolerance, f"{dtype} in is off by {error:.2e}, rounding allows {tolerance:.2e}")


def purity(subject: Subject) -> None:
    """The inputs are not changed."""
    process, t = _vectors(subject), torch.tensor(0.4).double()
    x0 = _data(process, 2, 3)
    before = x0.clone(), t.clone()
    process.corrupt(x0, t, rng=Rng.of(5, 2), end=_end(process, x0))
    demand(torch.equal(x0, before[0]), "corrupt changed x0 in place")
    demand(torch.equal(t, before[1]), "corrupt changed t in place")


def contiguity(subject: Subject) -> None:
    """A non-contiguous input gives the same result as a contiguous one."""
    process, t = _vectors(subject), torch.tensor(0.4).double()
    x0 = _data(process, 2, 3)
    straight = _corrupt(process, x0, t, Rng.of(5, 2))
    crooked = _corrupt(process, x0.T.contiguous().T, t, Rng.of(5, 2))
    demand(torch.equal(crooked, straight), "a non-contiguous input gives another result")


def bad_input(subject: Subject) -> None:
    """Times for another batch size are refused with both shapes."""
    process = _vectors(subject)
    x0, t = _data(process, 3, 5), torch.tensor([0.2, 0.4], dtype=torch.float64)
    refused(
        lambda: process.corrupt(x0, t, rng=Rng.of(0, 3), end=_end(process, x0)),
        "t of shape (2,) for x0 of shape (3, 5)",
        "(2,)",
        "(3, 5)",
    )


def reading(subject: Subject) -> None:
    """An output that is exactly ``a x_0 + b eps`` is read back as x_0 and eps, at every inner time."""
    part = subject.part
    assert isinstance(part, Parameterization)
    g = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, len(INNER), 5, generator=g, dtype=torch.float64)
    for process in _processes(subject):
        alpha, sigma = process.scalars(INNER)
        x_t = combine(alpha, x0, sigma, eps)
        mix = part.mix(process, INNER)
        value = combine(mix[0], x0, mix[1], eps)
        scaling = part.scaling(process, INNER)
        demand(bool(scaling.c_noise.isfinite().all()), "c_noise is not finite inside (0, 1)")
        prediction = Mean(value=value, x_t=x_t, t=INNER, process=process, mix=mix)
        for what, got, expected in (("x0", prediction.x0, x0), ("eps", prediction.eps, eps)):
            # Reading x0 off a state multiplies the rounding by up to sigma/alpha, reading eps by alpha/sigma.
            scale = 1 + (sigma / alpha if what == "x0" else alpha / sigma)[:, None]
            error = ((_tensor(got) - expected).abs() / scale).max()
            demand(float(error) < 1e-10, f"{what} is read back with an error of {float(error):.1e}")


def reading_ends(subject: Subject) -> None:
    """At t = 0 and t = 1 every reading is finite or refused; at t = 1, where sampling starts, so is the scaling."""
    part = subject.part
    assert isinstance(part, Parameterization)
    x = torch.ones(2, 3, dtype=torch.float64)
    for process in _processes(subject):
        for t in (torch.tensor(0.0).double(), torch.tensor(1.0).double()):
            for name in ("x0", "eps", "v", "score", "velocity"):
                try:
                    mix = part.mix(process, t)
                    got = getattr(Mean(value=x, x_t=x, t=t, process=process, mix=mix), name)
                except Unsupported:
                    continue
                demand(_tensor(got).isfinite().all(), f"{name} at t = {float(t):g} is not finite")
        try:
            scaling = part.scaling(process, t)
        except Unsupported:
            continue
        told = f"at t = 1 of {type(process).__name__} c_in is {scaling.c_in} and c_noise is {scaling.c_noise}"
        demand(torch.as_tensor(scaling.c_in).isfinite().all() and scaling.c_noise.isfinite().all(), told)


def _processes(subject: Subject) -> list[Gaussian]:
    beside = subject.beside("process")
    return [cast(Gaussian, beside)] if beside is not None else [Circle(), Explosion()]


def grid(subject: Subject) -> None:
    """``steps`` strictly decreasing float64 times in (0, 1], for one step and for many."""
    part = subject.part
    assert isinstance(part, Grid)
    for process in _processes(subject):
        for steps in (1, 2, 7, 50, 200):
            try:
                times = part.times(process, steps)
            except SuffuseError as refusal:
                # A chain has so many points and no more; a schedule without an end has no log-SNR there.
                demand("steps" in str(refusal) or "log-SNR" in str(refusal), f"refused without a cure: {refusal}")
                continue
            demand(
                times.dtype == torch.float64 and times.shape == (steps,),
                f"steps={steps} gave {times.dtype} {times.shape}",
            )
            inside = bool(((times > 0) & (times <= 1)).all()) and bool((times.diff() < 0).all())
            demand(inside, f"steps={steps} gave {times.tolist()[:5]}...")


CHECKS: dict[str, Check] = {
    "endpoints": endpoints,
    "derivative": derivative,
    "inverse": inverse,
    "sde": sde,
    "marginals": marginals,
    "rates": rates,
    "bridge": bridge,
    "degradation": degradation,
    "replay": replay,
    "batch-invariance": batch_invariance,
    "broadcast": broadcast,
    "float64": float64,
    "half": half,
    "purity": purity,
    "contiguity": contiguity,
    "bad-input": bad_input,
}
READING: dict[str, Check] = {"reading": reading, "endpoints": reading_ends}
GRID: dict[str, Check] = {"grid": grid}
