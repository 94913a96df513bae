"""Orders of convergence, in float64, against closed forms and a fine reference."""

from itertools import pairwise

import pytest
import torch
from suffuse_dpm_solver_pp.integrator import integral, parabola, secant
from suffuse_dpm_solver_pp.multistep import Multistep
from suffuse_dpm_solver_pp.singlestep import Singlestep

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import slope

MEAN, VARIANCE = torch.tensor([0.7, -1.0], dtype=torch.float64), 0.3**2
GAUSSIAN = GaussianMixture.single(MEAN, VARIANCE)
Z = Rng.of(0, 32).at("start").normal(torch.empty(32, 2, dtype=torch.float64))


def flow(process, t):
    """The closed form of the ODE: every point keeps its quantile."""
    alpha, sigma = process.scalars(t)
    return alpha * MEAN + (alpha**2 * VARIANCE + sigma**2).sqrt() * Z


def even(process, steps):
    """Times of evenly spaced lambda."""
    lo, hi = process.log_snr(as_time([0.85, 0.03])).tolist()
    return process.time(torch.linspace(lo, hi, steps + 1, dtype=torch.float64)), (hi - lo) / steps


def error(sampler, process, steps, history=0):
    """RMSE against the closed form; ``history`` exact predictions from before the start are in the carry."""
    system = mixture_system(GAUSSIAN, process, sampler=sampler)
    times, h = even(process, steps)
    before = [process.time(process.log_snr(times[0]) - h * k) for k in range(1, history + 1)]
    x0 = [system.denoise(flow(process, u), u, Condition()).x0 for u in before]
    carry = Carry(x=flow(process, times[0]), cond=Condition(), memory={"times": tuple(before), "x0": tuple(x0)})
    for t, s in pairwise(times):
        carry, info = sampler.step(system, carry, t, s, Rng.of(0, 32))
        assert info.transition is None
    return (carry.x - flow(process, times[-1])).square().mean().sqrt().item()


@pytest.mark.parametrize(
    ("sampler", "history", "order"),
    [
        (Multistep(order=1), 0, 1),
        (Multistep(order=2), 0, 2),
        (Multistep(order=3), 2, 3),
        (Singlestep(order=2), 0, 2),
        (Singlestep(order=3), 0, 3),
    ],
    ids=["1", "2M", "3M", "2S", "3S"],
)
def test_order_on_a_gaussian(sampler, history, order, circle):
    """``error = C h^p (1 + c h)``: the slope's bias is c h/2, so extrapolating two slopes leaves O(h^2)."""
    counts = [40, 80, 160]
    errors = [error(sampler, circle, n, history) for n in counts]
    coarse, fine = (slope([1, 2, 4], [e, f, f * f / e]).value for e, f in pairwise(errors))
    assert abs(2 * fine - coarse - order) < 0.1


def test_a_lower_order_start_limits_the_order(process):
    """3M as published starts with orders 1 and 2, and the first step's error is of order 2."""
    errors = [error(Multistep(order=3), process, n) for n in (80, 160)]
    started = [error(Multistep(order=3), process, n, history=2) for n in (80, 160)]
    assert started[0] / started[1] > 2**2.9
    assert started[1] < errors[1] < error(Multistep(order=2), process, 160)


@pytest.mark.parametrize("weight", [2.0, 1.0])
def test_the_quadratic_term(weight, circle):
    """One step of 3M has an error of h^4; with the term's half, as in the authors' code, of h^3."""
    system = mixture_system(GAUSSIAN, circle)
    lam, hs, errors = circle.log_snr(as_time(0.7)) / 2, (0.1, 0.05, 0.025), []
    for h in hs:
        there = [circle.time(2 * (lam - k * h)) for k in range(3)] + [circle.time(2 * (lam + h))]
        points = [(circle.log_snr(u) / 2, system.denoise(flow(circle, u), u, Condition()).x0) for u in there[:3]]
        (_, s_t), (a_s, s_s) = circle.scalars(there[0]), circle.scalars(there[3])
        h_ = circle.log_snr(there[3]) / 2 - points[0][0]
        x = s_s / s_t * flow(circle, there[0]) + a_s * integral(0, h_) * points[0][1]
        x = parabola(x, (a_s * integral(1, h_), a_s * integral(2, h_) * weight / 2), *points)
        errors.append((x - flow(circle, there[3])).square().mean().sqrt().item())
    expected = 4 if weight == 2 else 3
    assert abs(slope([1, 2, 4], errors).value - expected) < 0.3


@pytest.mark.parametrize(
    ("sampler", "order"), [(Multistep(order=2), 2), (Singlestep(order=2), 2), (Singlestep(order=3), 3)]
)
def test_order_on_a_mixture(sampler, order, circle):
    """Against 3S with four times the finest grid's steps, whose error is below a hundredth of what is measured."""
    mixture = GaussianMixture.random(dim=2, components=3, seed=1)
    system = mixture_system(mixture, circle, sampler=sampler)
    reference = mixture_system(mixture, circle, sampler=Singlestep(order=3))
    start = {"start": Z[:8], "dtype": torch.float64}
    exact = reference.sample(**start, times=even(circle, 800)[0])
    counts = [50, 100, 200]
    errors = [(system.sample(**start, times=even(circle, n)[0]) - exact).square().mean().sqrt().item() for n in counts]
    assert abs(slope(counts, errors).value - order) < 0.25


def test_moments_of_the_exponential():
    """Against quadrature, and the two interpolants against polynomials that they must meet."""
    u = (torch.arange(200001, dtype=torch.float64) + 0.5) / 200001
    for h in (0.05, 0.7, 3.0):
        for k in range(3):
            value = integral(k, torch.tensor(h, dtype=torch.float64)).item()
            assert value == pytest.approx(((h * u) ** k * torch.exp(h * u - h) * h).mean().item(), rel=1e-8)
    lam = torch.tensor([0.3, -0.2, -1.1], dtype=torch.float64)
    values = [1.5 + 0.7 * (x - 0.3) - 0.4 * (x - 0.3) ** 2 for x in lam[:, None]]
    points = list(zip(lam, values, strict=True))
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert parabola(zero, (one, 0 * one), *points).item() == pytest.approx(0.7)
    assert parabola(zero, (0 * one, one), *points).item() == pytest.approx(-0.4)
    assert secant(zero, one, *points[:2]).item() == pytest.approx(0.7 + 0.4 * 0.5)
