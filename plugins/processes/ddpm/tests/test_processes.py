import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.linear import Linear

from suffuse.contracts.process import Gaussian
from suffuse.errors import SpecError, Unsupported
from suffuse.rng import Rng

F64 = torch.float64
ALL = [
    Linear(),
    Linear(beta_min=2.0, beta_max=2.0),
    Linear(beta_min=5.0, beta_max=1.0),
    Cosine(),
    Cosine(s=0.0),
    Cosine(log_snr_min=-60.0),
    Discrete(),
    Discrete(T=100),
    Discrete(T=50, schedule="cosine"),
]
NAMES = [f"{type(p).__name__}-{i}" for i, p in enumerate(ALL)]
every = pytest.mark.parametrize("process", ALL, ids=NAMES)


def test_published_linear_chain_to_the_bit():
    betas = np.linspace(1e-4, 0.02, 1000, dtype=np.float64)
    assert np.array_equal(Discrete().betas.numpy(), betas)
    assert np.array_equal(Discrete().alpha_bar.numpy(), np.cumprod(1 - betas))


def test_published_cosine_chain_to_the_bit():
    def f(u):
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = np.array([min(1 - f((i + 1) / 1000) / f(i / 1000), 0.999) for i in range(1000)])
    chain = Discrete(schedule="cosine")
    assert np.array_equal(chain.betas.numpy(), betas)
    assert chain.betas[-1] == 0.999
    assert np.array_equal(chain.alpha_bar.numpy(), np.cumprod(1 - betas))


@pytest.mark.parametrize("T", [250, 4000])
def test_linear_betas_scale_with_the_length(T):
    assert np.array_equal(Discrete(T=T).betas.numpy(), np.linspace(1000 / T * 1e-4, 1000 / T * 0.02, T))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_kernel_and_transitions_on_the_grid(schedule):
    chain = Discrete(schedule=schedule)
    n = torch.arange(1, 1001)
    alpha, sigma = chain.scalars(chain.time_of(n))
    # 1 - alpha_bar has lost four digits at the first steps.
    torch.testing.assert_close(alpha, chain.alpha_bar.sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(sigma, (1 - chain.alpha_bar).sqrt(), rtol=1e-11, atol=0)
    step = chain.transition(chain.time_of(n), chain.time_of(n - 1))
    torch.testing.assert_close(step.alpha, (1 - chain.betas).sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(step.sigma, chain.betas.sqrt(), rtol=1e-9, atol=0)
    assert torch.equal(chain.step_of(chain.time_of(n)), n)


@pytest.mark.parametrize("T", [7, 50, 1000, 4000, 99991])
def test_steps_and_times_round_trip(T):
    chain = Discrete(T=T, schedule="cosine")
    n = torch.arange(1, T + 1)
    assert torch.equal(chain.step_of(chain.time_of(n)), n)
    assert torch.equal(chain.step_of(chain.time_of(n) - 0.5 / T), n)
    assert chain.step_of(0.0) == 1


def test_the_chain_tends_to_the_continuous_process():
    errors = []
    for T in (1000, 4000):
        t = torch.linspace(0.01, 1, 100, dtype=F64)
        errors.append(float((Discrete(T=T).log_snr(t) - Linear().log_snr(t)).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)  # first order in 1/T


def test_linear_kernel_is_the_integral_of_its_rate():
    process = Linear()
    t = torch.linspace(0, 0.7, 2001, dtype=F64)
    integral = torch.trapezoid(process.rate(t), t)  # exact for a linear rate
    alpha, sigma = process.scalars(t[-1])
    torch.testing.assert_close(alpha, (-integral / 2).exp(), rtol=1e-12, atol=0)
    torch.testing.assert_close(sigma, (1 - (-integral).exp()).sqrt(), rtol=1e-12, atol=0)


def test_cosine_is_the_paper_s_with_its_end_cut_off():
    process, s = Cosine(), 0.008
    t = torch.linspace(0, 1, 101, dtype=F64)
    f = torch.cos(((1 - 3e-5) * t + s) / (1 + s) * math.pi / 2) ** 2 / math.cos(s / (1 + s) * math.pi / 2) ** 2
    alpha, _ = process.scalars(t)
    torch.testing.assert_close(alpha**2, f, rtol=0, atol=1e-5)  # the cut is at 1 - 2.9e-5, and |f'| < pi/2
    assert float(process.log_snr(torch.ones((), dtype=F64))) == pytest.approx(-20, abs=1e-9)


@every
def test_variance_preserving_and_ends(process):
    t = torch.linspace(0, 1, 1001, dtype=F64)
    alpha, sigma = process.scalars(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t), rtol=1e-15, atol=1e-15)
    assert alpha[0] == 1
    assert sigma[0] == 0
    assert alpha[-1] > 0
    assert process.log_snr(t)[0] == math.inf
    assert bool((process.log_snr(t).diff() < 0).all())


@every
def test_inverse(process):
    t = torch.cat([torch.linspace(0, 1, 997, dtype=F64), torch.logspace(-9, -2, 50, dtype=F64)])
    # log_snr, at most 60 in size here, has a rounding of 1e-14, and |dt/d log_snr| is below 1.
    torch.testing.assert_close(process.time(process.log_snr(t)), t, rtol=1e-12, atol=2e-14)
    ends = process.time(torch.tensor([math.inf, 1e9, -1e9, -math.inf], dtype=F64))
    assert ends.tolist() == pytest.approx([0, 0, 1, 1], abs=1e-15)


@every
def test_derivative_against_autograd(process):
    t = torch.rand(300, dtype=F64, generator=torch.Generator().manual_seed(0)) * 0.998 + 0.001
    given, automatic = process.derivative(t), Gaussian.derivative(process, t)
    torch.testing.assert_close(given.alpha, automatic.alpha, rtol=1e-10, atol=0)
    torch.testing.assert_close(given.sigma, automatic.sigma, rtol=1e-10, atol=0)
    torch.testing.assert_close(process.diffusion(t), Gaussian.diffusion(process, t), rtol=1e-10, atol=0)
    x = torch.ones(300, 2, dtype=F64)
    torch.testing.assert_close(process.drift(x, t), Gaussian.drift(process, x, t), rtol=1e-10, atol=0)
    with pytest.raises(Unsupported, match="t = 0"):
        process.derivative(torch.zeros((), dtype=F64))
    assert bool(process.diffusion(torch.tensor([0.0, 1.0], dtype=F64)).isfinite().all())


@every
def test_a_long_jump_is_the_composition_of_short_ones(process):
    """Backward kernels of one Gaussian chain, x_0 given, composed as affine maps."""
    t = torch.linspace(0.9, 0.3, 13, dtype=F64)
    x0, x_t = torch.full((1, 1), 0.7, dtype=F64), torch.full((1, 1), -1.3, dtype=F64)
    mean, variance = x_t, torch.zeros((), dtype=F64)
    for a, b in pairwise(t):
        law = process.posterior(mean, x0, a, b)
        slope = process.posterior(mean + 1, x0, a, b).mean - law.mean
        mean, variance = law.mean, slope**2 * variance + law.std**2
    jump = process.posterior(x_t, x0, t[0], t[-1])
    torch.testing.assert_close(mean, jump.mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(variance.squeeze(), jump.std**2, rtol=1e-10, atol=0)


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_states_of_any_dtype(process, dtype):
    x0 = torch.linspace(-1, 1, 12).view(4, 3).to(dtype)
    t = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=F64)
    x_t = process.corrupt(x0, t, rng=Rng.of(0, 4)).x_t
    assert x_t.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(x_t[0], x0[0].to(x_t.dtype))
    exact = process.corrupt(x0.double(), t, rng=Rng.of(0, 4)).x_t
    assert float((x_t - exact).abs().max()) < 8 * torch.finfo(x_t.dtype).eps * 5


@every
def test_the_prior_is_standard_normal(process):
    law = process.prior(torch.zeros(3, 2), t=0.5)
    assert law.std == 1
    assert not law.mean.any()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Linear(beta_min=0.0), "beta_min"),
        (lambda: Linear(beta_max=math.nan), "beta_max"),
        (lambda: Linear(beta_max=math.inf), "beta_max"),
        (lambda: Cosine(s=-0.1), "s must"),
        (lambda: Cosine(log_snr_min=1.0), "log_snr_min"),
        (lambda: Cosine(log_snr_min=-math.inf), "log_snr_min"),
        (lambda: Discrete(T=1), "T must"),
        (lambda: Discrete(T=20), "T above 20"),
        (lambda: Discrete(schedule="square"), "schedule"),
        (lambda: Discrete(beta_end=1.0), "beta_end"),
        (lambda: Discrete(beta_cap=1.0), "beta_cap"),
    ],
)
def test_settings_are_checked(make, name):
    with pytest.raises(SpecError, match=name):
        make()
