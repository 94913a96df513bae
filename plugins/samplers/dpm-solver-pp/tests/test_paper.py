"""The samplers against the paper's formulas, written out as plain float64 loops."""

import math

import pytest
import torch
from suffuse_dpm_solver_pp.multistep import Multistep
from suffuse_dpm_solver_pp.sde import Sde
from suffuse_dpm_solver_pp.singlestep import Singlestep

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry
from suffuse.parts import LogSnr, Stop
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture

MIXTURE = GaussianMixture.random(dim=2, components=3, seed=0)
# Uneven on purpose, so that every ratio of steps matters.
TIMES = torch.tensor([0.9, 0.82, 0.7, 0.61, 0.45, 0.4, 0.28, 0.2, 0.11, 0.07, 0.03], dtype=torch.float64)


class Literal:
    """The schedule and the data prediction as the paper writes them: ``a``, ``s``, ``lam`` and ``x0`` at an index."""

    def __init__(self, process, times):
        self.process, self.times = process, times.tolist()
        pairs = [tuple(v.item() for v in process.scalars(t)) for t in times]
        self.a, self.s = zip(*pairs, strict=True)
        self.lam = [math.log(a / s) for a, s in pairs]

    def x0(self, x, i):
        return MIXTURE.denoise(x, self.a[i], self.s[i])


def start(n=8):
    return Rng.of(0, n).at("start").normal(torch.empty(n, 2, dtype=torch.float64))


def two_m(w, x):
    """DPM-Solver++, algorithm 2."""
    q = [w.x0(x, 0)]
    h = [None] + [w.lam[i] - w.lam[i - 1] for i in range(1, len(w.lam))]
    x = w.s[1] / w.s[0] * x - w.a[1] * (math.exp(-h[1]) - 1) * q[0]
    q.append(w.x0(x, 1))
    for i in range(2, len(w.lam)):
        r = h[i - 1] / h[i]
        d = (1 + 1 / (2 * r)) * q[i - 1] - 1 / (2 * r) * q[i - 2]
        x = w.s[i] / w.s[i - 1] * x - w.a[i] * (math.exp(-h[i]) - 1) * d
        q.append(w.x0(x, i))
    return x


def multistep(w, x, orders, quadratic=2.0):
    """The authors' code for orders 1, 2 and 3, but for ``quadratic``, which is 1 there and 2 in the derivation."""
    q = []
    for i, order in enumerate(orders, start=1):
        q.append(w.x0(x, i - 1))
        h = w.lam[i] - w.lam[i - 1]
        y = w.s[i] / w.s[i - 1] * x - w.a[i] * math.expm1(-h) * q[-1]
        if order == 2:
            r0 = (w.lam[i - 1] - w.lam[i - 2]) / h
            y = y - 0.5 * w.a[i] * math.expm1(-h) * (q[-1] - q[-2]) / r0
        if order == 3:
            r0, r1 = (w.lam[i - 1] - w.lam[i - 2]) / h, (w.lam[i - 2] - w.lam[i - 3]) / h
            d10, d11 = (q[-1] - q[-2]) / r0, (q[-2] - q[-3]) / r1
            d1 = d10 + r0 / (r0 + r1) * (d10 - d11)
            d2 = quadratic / (r0 + r1) * (d10 - d11)
            phi2 = math.expm1(-h) / h + 1
            phi3 = phi2 / h - 0.5
            y = y + w.a[i] * phi2 * d1 - w.a[i] * phi3 * d2
        x = y
    return x


def at_lambda(w, lam):
    """alpha, sigma and the data prediction between grid points."""
    a, s = (v.item() for v in w.process.scalars(w.process.time(as_time(2 * lam))))
    return a, s, lambda x: MIXTURE.denoise(x, a, s)


def two_s(w, x):
    """DPM-Solver++, algorithm 1, r = 1/2."""
    for i in range(1, len(w.lam)):
        h, r = w.lam[i] - w.lam[i - 1], 0.5
        a, s, x0 = at_lambda(w, w.lam[i - 1] + r * h)
        q = w.x0(x, i - 1)
        u = s / w.s[i - 1] * x - a * (math.exp(-r * h) - 1) * q
        d = (1 - 1 / (2 * r)) * q + 1 / (2 * r) * x0(u)
        x = w.s[i] / w.s[i - 1] * x - w.a[i] * (math.exp(-h) - 1) * d
    return x


def three_s(w, x):
    """DPM-Solver-3 (arXiv:2206.00927, algorithm 2) for the data prediction, r1 = 1/3, r2 = 2/3."""
    for i in range(1, len(w.lam)):
        h, r1, r2 = w.lam[i] - w.lam[i - 1], 1 / 3, 2 / 3
        (a1, s1, x01), (a2, s2, x02) = (at_lambda(w, w.lam[i - 1] + r * h) for r in (r1, r2))
        q = w.x0(x, i - 1)
        u1 = s1 / w.s[i - 1] * x - a1 * math.expm1(-r1 * h) * q
        d1 = x01(u1) - q
        phi = math.expm1(-r2 * h) / (r2 * h) + 1
        u2 = s2 / w.s[i - 1] * x - a2 * math.expm1(-r2 * h) * q + r2 / r1 * a2 * phi * d1
        d2 = x02(u2) - q
        x = w.s[i] / w.s[i - 1] * x - w.a[i] * math.expm1(-h) * q + w.a[i] / r2 * (math.expm1(-h) / h + 1) * d2
    return x


def walk(sampler, process, times=TIMES):
    return mixture_system(MIXTURE, process, sampler=sampler).sample(start=start(), times=times, dtype=torch.float64)


@pytest.mark.parametrize(
    ("sampler", "formula"),
    [
        (Multistep(order=1), lambda w, x: multistep(w, x, [1] * 10)),
        (Multistep(order=2), two_m),
        (Multistep(order=2), lambda w, x: multistep(w, x, [1] + [2] * 9)),
        (Multistep(order=3), lambda w, x: multistep(w, x, [1, 2] + [3] * 8)),
        (Singlestep(order=2), two_s),
        (Singlestep(order=3), three_s),
    ],
    ids=["1", "2M", "2M-code", "3M", "2S", "3S"],
)
def test_formulas(sampler, formula, process):
    expected = formula(Literal(process, TIMES), start())
    torch.testing.assert_close(walk(sampler, process), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_sde_formulas(order, process):
    """Each step's law, on the sampler's own path."""
    system = mixture_system(MIXTURE, process, sampler=Sde(order=order))
    carry, w, q = Carry(x=start(), cond=Condition()), Literal(process, TIMES), []
    for i in range(1, len(TIMES)):
        q.append(w.x0(carry.x, i - 1))
        h = w.lam[i] - w.lam[i - 1]
        d = q[-1]
        if order == 2 and i > 1:
            r = (w.lam[i - 1] - w.lam[i - 2]) / h
            d = d + (q[-1] - q[-2]) / (2 * r)
        mean = w.s[i] / w.s[i - 1] * math.exp(-h) * carry.x + w.a[i] * (1 - math.exp(-2 * h)) * d
        carry, info = system.sampler.step(system, carry, TIMES[i - 1], TIMES[i], Rng.of(i, 8))
        torch.testing.assert_close(info.transition.mean, mean, rtol=1e-12, atol=1e-12)
        assert info.transition.std.item() == pytest.approx(w.s[i] * math.sqrt(1 - math.exp(-2 * h)), rel=1e-12)


def test_sde_order_one_is_the_posterior(process):
    system = mixture_system(MIXTURE, process, sampler=Sde(order=1))
    for t, s in ((0.9, 0.3), (0.31, 0.3), (0.2, 0.0), (1.0, 0.6)):
        carry = Carry(x=start(), cond=Condition())
        _, info = system.sampler.step(system, carry, as_time(t), as_time(s), Rng.of(0, 8))
        if s == 0:
            assert info.transition is None
            torch.testing.assert_close(info.x_s, info.prediction.x0, rtol=0, atol=1e-12)
        else:
            law = process.posterior(carry.x, info.prediction.x0, as_time(t), as_time(s))
            torch.testing.assert_close(info.transition.mean, law.mean, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(info.transition.std, law.std, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("steps", "orders"), [(8, [1, 2, 3, 3, 3, 3, 2, 1]), (10, [1, 2] + [3] * 8)])
def test_lower_order_final(steps, orders, circle):
    """With fewer than 10 steps the orders fall towards the end, as in the authors' code."""
    sampler = Multistep(order=3, steps=steps + 1, grid=LogSnr(start=0.9, end=0.03), terminal=Stop())
    system = mixture_system(MIXTURE, circle, sampler=sampler)
    found = system.sample(start=start(), dtype=torch.float64)
    expected = multistep(Literal(circle, sampler.times(circle)), start(), orders)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
