import math

import attrs
import pytest
import torch
from suffuse_ddim.sampler import Ddim

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry
from suffuse.contracts.space import Euclidean
from suffuse.errors import SpecError, Unsupported
from suffuse.parts import Stop
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import mean_within, slope

MIXTURE = GaussianMixture.random(dim=2, components=3, seed=0)


@attrs.define(eq=False, slots=False, kw_only=True)
class Network(Denoiser):
    """The exact denoiser, read as a network that gives only this mix."""

    mix: tuple
    provides = frozenset({"mean"})

    def __attrs_pre_init__(self):
        super().__init__()

    def forward(self, x_t, t, cond, *, process, s=None, rng=None):
        alpha, sigma = process.scalars(as_time(t))
        x0 = MIXTURE.denoise(x_t, alpha, sigma)
        value = x0 if self.mix == (1.0, 0.0) else -sigma * MIXTURE.score(x_t, alpha, sigma)
        return Mean(value=value, x_t=x_t, t=as_time(t), process=process, mix=self.mix)


def normal(n, dim=2, seed=0):
    return Rng.of(seed, n).at("start").normal(torch.empty(n, dim, dtype=torch.float64))


def one_step(system, x, t, s, seed=0):
    carry = Carry(x=x, cond=Condition())
    return system.sampler.step(system, carry, as_time(t), as_time(s), Rng.of(seed, len(x)))


@pytest.mark.parametrize(("t", "s"), [(0.9, 0.5), (0.5, 0.49), (0.2, 0.0), (1.0, 0.7)])
def test_eta_one_is_the_posterior(process, t, s):
    system = mixture_system(MIXTURE, process, sampler=Ddim(eta=1.0))
    x = normal(64)
    _, info = one_step(system, x, t, s)
    law = process.posterior(x, info.prediction.x0, as_time(t), as_time(s))
    if s == 0:
        assert info.transition is None
        torch.testing.assert_close(info.x_s, info.prediction.x0, rtol=0, atol=1e-12)
        return
    torch.testing.assert_close(info.transition.mean, law.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(info.transition.std, law.std, rtol=1e-12, atol=0)
    torch.testing.assert_close(info.transition.log_prob(info.x_s), law.log_prob(info.x_s), rtol=1e-9, atol=1e-9)


def test_equation_12_as_printed(circle):
    """The paper's alphas are squares of ours."""
    system = mixture_system(MIXTURE, circle, sampler=Ddim(eta=0.3))
    x, t, s = normal(16), as_time(0.6), as_time(0.4)
    a_t, a_s = circle.scalars(t)[0].item() ** 2, circle.scalars(s)[0].item() ** 2
    _, info = one_step(system, x, t, s, seed=7)
    eps = info.prediction.eps
    std = 0.3 * math.sqrt((1 - a_s) / (1 - a_t)) * math.sqrt(1 - a_t / a_s)
    mean = math.sqrt(a_s) * (x - math.sqrt(1 - a_t) * eps) / math.sqrt(a_t) + math.sqrt(1 - a_s - std**2) * eps
    torch.testing.assert_close(info.transition.mean, mean, rtol=1e-12, atol=1e-12)
    assert info.transition.std.item() == pytest.approx(std, rel=1e-12)
    z = (info.x_s - info.transition.mean) / info.transition.std
    assert mean_within(z, 0.0)
    assert mean_within(z**2, 1.0)


def test_first_order_on_a_gaussian(process):
    """Against the closed form: the ODE maps N(alpha_t m, v_t) onto N(alpha_s m, v_s) monotonically."""
    mean, variance = torch.tensor([0.7, -1.0], dtype=torch.float64), 0.3**2
    system = mixture_system(GaussianMixture.single(mean, variance), process, sampler=Ddim())
    start, end = as_time(0.9), as_time(0.02)
    (a, b), (c, d) = process.scalars(start), process.scalars(end)
    x = a * mean + b * normal(32)
    exact = c * mean + ((c**2 * variance + d**2) / (a**2 * variance + b**2)).sqrt() * (x - a * mean)
    counts, errors = [200, 400, 800], []
    for n in counts:
        times = torch.linspace(0.9, 0.02, n + 1, dtype=torch.float64)
        found = system.sample(start=x, times=times, dtype=torch.float64)
        errors.append((found - exact).square().mean().sqrt().item())
    # error = C/N (1 + c/N): the slope's bias is of the size of 1/N, with c of the size of the ODE's own rates.
    assert abs(slope(counts, errors).value - 1) < 0.05
    assert errors[-1] < 0.05 * x.std()


def test_ends_are_finite(process):
    """Grid from t = 1 to t = 0, and the states stay a law of the mixture's scale."""
    for eta in (0.0, 0.5, 1.0):
        system = mixture_system(MIXTURE, process, sampler=Ddim(eta=eta, steps=20))
        x = system.sample(200, seed=1)
        assert x.isfinite().all()
        assert (x.double() - MIXTURE.moments()[0]).norm(dim=1).max() < 6


def test_no_noise_at_eta_zero(process):
    system = mixture_system(MIXTURE, process, sampler=Ddim())
    x = normal(8)
    (_, a), (_, b) = (one_step(system, x, 0.7, 0.3, seed=seed) for seed in (1, 2))
    assert a.transition is None
    assert torch.equal(a.x_s, b.x_s)


def test_a_step_of_no_length_stands_still(process):
    for eta in (0.0, 1.0):
        system = mixture_system(MIXTURE, process, sampler=Ddim(eta=eta))
        x = normal(8)
        for t in (0.4, 1.0):
            torch.testing.assert_close(one_step(system, x, t, t)[1].x_s, x, rtol=1e-12, atol=1e-12)


def test_times_of_each_row(circle):
    for eta in (0.0, 1.0):
        system = mixture_system(MIXTURE, circle, sampler=Ddim(eta=eta))
        x, t, s = normal(3), [0.9, 0.5, 0.3], [0.5, 0.4, 0.0]
        _, together = one_step(system, x, t, s)
        rng = Rng.of(0, 3)
        for i in range(3):
            carry = Carry(x=x[i : i + 1], cond=Condition())
            _, alone = system.sampler.step(system, carry, as_time(t[i]), as_time(s[i]), rng.index([i]))
            torch.testing.assert_close(together.x_s[i : i + 1], alone.x_s, rtol=1e-14, atol=1e-14)


def test_backwards_only_at_eta_zero(circle):
    x = normal(4)
    assert one_step(mixture_system(MIXTURE, circle, sampler=Ddim()), x, 0.3, 0.6)[1].x_s.isfinite().all()
    with pytest.raises(Unsupported, match="eta=0"):
        one_step(mixture_system(MIXTURE, circle, sampler=Ddim(eta=0.1)), x, 0.3, 0.6)


def test_start_at_zero_noise(circle):
    x = normal(4)
    for mix, refused in (((0.0, 1.0), False), ((1.0, 0.0), True)):
        system = System(model=Network(mix=mix), process=circle, space=Euclidean(shape=(2,)), sampler=Ddim())
        if refused:
            with pytest.raises(Unsupported, match="eps does not follow"):
                one_step(system, x, 0.0, 0.1)
        else:
            assert one_step(system, x, 0.0, 0.1)[1].x_s.isfinite().all()


def test_eps_at_zero_signal_is_refused(line):
    system = System(model=Network(mix=(0.0, 1.0)), process=line, space=Euclidean(shape=(2,)), sampler=Ddim())
    with pytest.raises(Unsupported, match="x0 does not follow"):
        one_step(system, normal(4), 1.0, 0.9)


def test_too_much_noise_is_refused(circle):
    system = mixture_system(MIXTURE, circle, sampler=Ddim(eta=1.5))
    with pytest.raises(Unsupported, match=r"eta=1\.5"):
        one_step(system, normal(4), 0.9, 0.1)
    assert one_step(system, normal(4), 0.9, 0.89)[1].x_s.isfinite().all()
    with pytest.raises(SpecError, match="eta must be at least 0"):
        Ddim(eta=-0.1)


def test_gives():
    assert Ddim().gives == {"inversion"}
    assert Ddim(eta=1.0).gives == {"stochastic"}


def test_gradients_reach_the_start(circle):
    system = mixture_system(MIXTURE, circle, sampler=Ddim(steps=5))
    x = normal(2).requires_grad_()
    system.sample(start=x, dtype=torch.float64).sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad != 0).all()


def test_stop_ends_with_noise(circle):
    sampler = Ddim(steps=10, terminal=Stop())
    assert sampler.times(circle)[-1] == pytest.approx(0.1)
