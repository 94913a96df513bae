import math

import attrs
import pytest
import torch
from suffuse_edm.ablation import Ablation
from suffuse_edm.claims import OneTrajectory, Orders, Vp
from suffuse_edm.deterministic import Euler, Heun
from suffuse_edm.grid import Rho
from suffuse_edm.process import Edm
from suffuse_edm.stochastic import Stochastic

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry
from suffuse.errors import SpecError, Unsupported
from suffuse.parts import Stop, Uniform
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle
from suffuse.testing.statistics import covariance_within, mean_within

RING = GaussianMixture.ring()
F64 = torch.float64
CHURN = Stochastic(steps=18, s_churn=30, s_tmin=0.01, s_tmax=1e9, s_noise=1.007)
SAMPLERS = [Heun(), Euler(), CHURN, Ablation(), Ablation(order=1), Ablation(alpha=0.5)]


def published_grid(n, low=0.002, high=80.0, rho=7.0):
    levels = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)]
    return [*levels, 0.0]


def states(system, n=16, seed=3):
    """The states after each step, the start first."""
    infos = [info for _, info in system.stream(n, seed=seed, dtype=F64)]
    return [infos[0].x_t, *(info.x_s for info in infos)]


def test_algorithm_1_step_for_step():
    system = mixture_system(RING, Edm(), sampler=Heun())
    got, t = states(system), published_grid(18)
    x = got[0]
    for i in range(18):
        d = (x - RING.denoise(x, 1.0, t[i])) / t[i]
        ahead = x + (t[i + 1] - t[i]) * d
        if t[i + 1] != 0:
            d_ahead = (ahead - RING.denoise(ahead, 1.0, t[i + 1])) / t[i + 1]
            ahead = x + (t[i + 1] - t[i]) * (d / 2 + d_ahead / 2)
        x = ahead
        torch.testing.assert_close(got[i + 1], x, rtol=1e-12, atol=1e-12)


def test_algorithm_2_step_for_step():
    system = mixture_system(RING, Edm(sigma_max=200.0), sampler=CHURN)
    got, t, rng = states(system), published_grid(18), Rng.of(3, 16)
    x = got[0]
    for i in range(18):
        gamma = min(CHURN.s_churn / 18, math.sqrt(2) - 1) if CHURN.s_tmin <= t[i] <= CHURN.s_tmax else 0.0
        t_hat = t[i] + gamma * t[i]
        eps = CHURN.s_noise * system.space.noise(x, rng.at("step", i).at("churn"))
        x = x + math.sqrt(t_hat**2 - t[i] ** 2) * eps
        d = (x - RING.denoise(x, 1.0, t_hat)) / t_hat
        ahead = x + (t[i + 1] - t_hat) * d
        if t[i + 1] != 0:
            d_ahead = (ahead - RING.denoise(ahead, 1.0, t[i + 1])) / t[i + 1]
            ahead = x + (t[i + 1] - t_hat) * (d / 2 + d_ahead / 2)
        x = ahead
        torch.testing.assert_close(got[i + 1], x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alpha", [1 / 2, 2 / 3, 1.0])
def test_the_second_order_family_step_for_step(alpha):
    system = mixture_system(RING, Edm(), sampler=Ablation(alpha=alpha))
    got, t = states(system), published_grid(18)
    x = got[0]
    for i in range(18):
        h = t[i + 1] - t[i]
        d = (x - RING.denoise(x, 1.0, t[i])) / t[i]
        if t[i + 1] != 0:
            u = t[i] + alpha * h
            ahead = x + alpha * h * d
            d_ahead = (ahead - RING.denoise(ahead, 1.0, u)) / u
            x = x + h * ((1 - 1 / (2 * alpha)) * d + d_ahead / (2 * alpha))
        else:
            x = x + h * d
        torch.testing.assert_close(got[i + 1], x, rtol=1e-11, atol=1e-11)


def test_the_same_steps_on_every_process():
    """In x/alpha and sigma/alpha the samplers cannot tell processes apart, noise included."""
    grid, t = Rho(sigma_max=40.0), published_grid(18, high=40.0)
    for solver in (Heun(grid=grid), Euler(grid=grid), attrs.evolve(CHURN, grid=grid)):
        ends = []
        for process in (Edm(), Vp(), Circle()):
            alpha, _ = process.scalars(process.time(-2 * as_time(t[0]).log()))
            start = alpha * 40 * Rng.of(0, 50).normal(torch.empty(50, 2, dtype=F64))
            ends.append(mixture_system(RING, process, sampler=solver).sample(start=start, seed=1, dtype=F64))
        for end in ends[1:]:
            # The levels agree to 1e-9 or better; the flow between the modes stretches that.
            torch.testing.assert_close(end, ends[0], rtol=0, atol=1e-6)


def test_orders_of_convergence():
    assert Orders().measure(0).effect > 0


def test_vp_has_the_same_trajectory():
    assert OneTrajectory(particles=20).measure(0).effect > 0


def test_the_error_on_a_mixture_falls_with_the_order():
    """Check 3 of the method: twice the steps, an error of about a quarter (Euler: a half)."""

    def ends(solver, steps):
        sampler = solver(steps=steps, grid=Rho(sigma_min=0.02, sigma_max=20.0), terminal=Stop())
        start = 20 * Rng.of(0, 20).normal(torch.empty(20, 2, dtype=F64))
        return mixture_system(GaussianMixture.ring(std=0.3), Edm(sigma_max=20.0), sampler=sampler).sample(
            start=start, dtype=F64
        )

    exact = ends(Heun, 1001)
    for solver, ratio in ((Euler, 2), (Heun, 4)):
        coarse, fine = ((ends(solver, n) - exact).square().mean().sqrt() for n in (65, 129))
        # Leading order times 1 + O(h): a tenth either way at 64 steps.
        assert abs(coarse / fine / ratio - 1) < 0.1


def test_inversion_returns_to_the_start():
    for solver in (Heun, Euler, Ablation):
        sampler = solver(steps=400, terminal=Stop(), grid=Rho(sigma_min=0.05, sigma_max=20.0))
        system = mixture_system(GaussianMixture.ring(std=0.3), Edm(sigma_max=20.0), sampler=sampler)
        times = sampler.times(system.process)
        x = RING.sample(torch.Generator().manual_seed(0), 20)
        up = system.sample(start=x, times=times.flip(0), dtype=F64)
        back = system.sample(start=up, times=times, dtype=F64)
        # One order of 1/400 for Euler, two for the others, times a constant below 50.
        assert (back - x).abs().max() < 50 * 400.0 ** -(1 if solver is Euler else 2)
        assert up.abs().mean() > 10


@pytest.mark.parametrize("solver", [Heun(), Euler(), Stochastic()])
def test_inversion_may_start_without_noise(solver):
    system = mixture_system(RING, Edm(), sampler=solver)
    x = RING.sample(torch.Generator().manual_seed(0), 4)
    times = torch.cat([as_time([0.0]), Rho().times(Edm(), 18).flip(0)])
    assert system.sample(start=x, times=times, dtype=F64).isfinite().all()


def test_evaluations():
    for sampler, nfe in ((Heun(), 35), (Euler(), 18), (CHURN, 35), (Ablation(), 35), (Ablation(order=1), 18)):
        system = mixture_system(RING, Edm(), sampler=sampler)
        assert sum(info.nfe for _, info in system.stream(2)) == nfe


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
def test_one_time_for_each_sample(sampler):
    """Rows with their own times, some of which end at zero, give what each gives alone."""
    system = mixture_system(RING, Edm(), sampler=sampler)
    x, rng = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=F64), Rng.of(0, 3)
    t, s = as_time([0.5, 0.01, 0.001]), as_time([0.4, 0.0, 0.0005])
    together, _ = sampler.step(system, Carry(x=x, cond=Condition()), t, s, rng)
    for i in range(3):
        row = slice(i, i + 1)
        alone, _ = sampler.step(system, Carry(x=x[row], cond=Condition()), t[i], s[i], rng.index(row))
        torch.testing.assert_close(together.x[row], alone.x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
def test_a_sample_does_not_depend_on_its_batch(sampler):
    system = mixture_system(RING, Edm(), sampler=sampler)
    whole = system.sample(6, seed=4, dtype=F64)
    torch.testing.assert_close(system.sample(6, seed=4, dtype=F64, batch=4), whole, rtol=0, atol=1e-10)
    single = system.sample(6, seed=4, dtype=torch.float32)
    assert single.dtype == torch.float32
    # Rounding of a state of size 80 moves a particle by 1e-5; the flow between the modes stretches that.
    assert (single - whole).abs().median() < 1e-3


def test_noise_is_drawn_only_where_it_is_used(monkeypatch):
    drawn = []
    space_noise = type(mixture_system(RING, Edm()).space).noise

    def noise(self, like, rng):
        drawn.append(rng.path)
        return space_noise(self, like, rng)

    monkeypatch.setattr(type(mixture_system(RING, Edm()).space), "noise", noise)
    still = mixture_system(RING, Edm(), sampler=attrs.evolve(CHURN, s_churn=0.0))
    heun = mixture_system(RING, Edm(), sampler=Heun())
    assert torch.equal(still.sample(8, seed=0), heun.sample(8, seed=0))
    assert not drawn
    sampler = Stochastic(steps=18, s_tmin=0.05, s_tmax=50.0)
    list(mixture_system(RING, Edm(), sampler=sampler).stream(8))
    inside = [i for i, level in enumerate(published_grid(18)) if 0.05 <= level <= 50]
    assert [path[1] for path in drawn] == inside


def test_noise_is_cut_at_the_end_of_the_process():
    x = torch.zeros(1000, 1, dtype=F64)
    system = mixture_system(GaussianMixture.single([0.0]), Edm(), sampler=CHURN)
    step = CHURN.step(system, Carry(x=x, cond=Condition()), as_time(0.9), as_time(0.5), Rng.of(0, 1000))[1]
    assert step.prediction.t == 1
    assert step.transition is None
    added = step.prediction.x_t
    expected = CHURN.s_noise**2 * (80**2 - 72**2)
    assert covariance_within(added, as_time([[expected]]))
    at_end = CHURN.step(system, Carry(x=x, cond=Condition()), as_time(1.0), as_time(0.5), Rng.of(0, 1000))[1]
    assert torch.equal(at_end.prediction.x_t, x)


def test_the_law_of_the_stochastic_sampler():
    """For Gaussian data every step is linear, so the variance of the samples is known, discretisation included."""
    sd, n = 0.5, 20_000
    sampler = Stochastic(steps=10, s_churn=4.0, s_tmin=0.01, s_tmax=60.0, s_noise=1.05)
    system = mixture_system(GaussianMixture.single([0.0], sd**2), Edm(), sampler=sampler)
    t, var = published_grid(10), 80.0**2
    for i in range(10):
        gamma = 0.4 if 0.01 <= t[i] <= 60 else 0.0
        hat = t[i] * (1 + gamma)
        var += 1.05**2 * (hat**2 - t[i] ** 2)
        slope, ahead = hat / (sd**2 + hat**2), t[i + 1] / (sd**2 + t[i + 1] ** 2)
        h = t[i + 1] - hat
        gain = 1 + h * slope
        if t[i + 1] != 0:
            gain = 1 + h / 2 * (slope + ahead * gain)
        var *= gain**2
    x = system.sample(n, seed=0, dtype=F64)
    assert mean_within(x, 0.0)
    assert covariance_within(x, as_time([[var]]))


def test_the_stochastic_sampler_draws_from_the_mixture():
    ring = GaussianMixture.ring(std=0.3)
    sampler = Stochastic(steps=80, s_churn=20.0, s_tmin=0.05, s_tmax=50.0, s_noise=1.0)
    x = mixture_system(ring, Edm(), sampler=sampler).sample(4000, seed=0, dtype=F64)
    mean, covariance = ring.moments()
    # The solver's own bias, of order (1/80)^2, is well below the standard errors of about 0.01.
    assert mean_within(x, mean)
    assert covariance_within(x, covariance)
    assert mean_within(ring.log_prob(x), ring.log_prob(ring.sample(torch.Generator().manual_seed(0), 200_000)).mean())


def test_what_is_refused():
    with pytest.raises(SpecError, match="s_tmin must be at most s_tmax"):
        Stochastic(s_tmin=2.0, s_tmax=1.0)
    with pytest.raises(SpecError, match="order must be one of 1, 2"):
        Ablation(order=3)

    @attrs.frozen(kw_only=True)
    class Silent(Circle):
        def kernel(self, t):
            k = super().kernel(t)
            return attrs.evolve(k, alpha=torch.where(as_time(t) == 1, 0.0, k.alpha))

    for sampler in (Heun(grid=Uniform()), attrs.evolve(CHURN, grid=Uniform())):
        with pytest.raises(Unsupported, match="zero signal"):
            mixture_system(RING, Silent(), sampler=sampler).sample(2)
    assert mixture_system(RING, Silent(), sampler=Euler(grid=Uniform())).sample(2).isfinite().all()
    assert mixture_system(RING, Silent(), sampler=Heun()).sample(2).isfinite().all()
