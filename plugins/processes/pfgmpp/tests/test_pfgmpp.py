import math

import attrs
import pytest
import torch
from scipy.stats import beta, kstest, multivariate_t
from suffuse_edm.deterministic import Euler, Heun
from suffuse_edm.loss import EdmLoss, LogNormal
from suffuse_edm.precondition import Precondition
from suffuse_edm.process import Edm
from suffuse_edm.stochastic import Stochastic
from suffuse_pfgmpp.claims import DiffusionLimit, Field, PointDenoiser
from suffuse_pfgmpp.exact import ExactStudent, point_weights
from suffuse_pfgmpp.inject import Inject
from suffuse_pfgmpp.law import StudentT
from suffuse_pfgmpp.process import Pfgmpp

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, SpecError, Unsupported
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, LinearNet
from suffuse.testing.statistics import compare, covariance_within, mean_within

F64 = torch.float64
RING = GaussianMixture.ring(6, 1.0, 0.2)


def draws(D, n, dim, seed=0, sigma=1.0):
    law = StudentT(mean=torch.zeros(n, dim, dtype=F64), std=as_time(sigma), D=D)
    return law.sample(Rng.of(seed, n))


@pytest.mark.parametrize(("D", "dim"), [(1.0, 2), (5.0, 8), (64.0, 3), (1e5, 20)])
def test_the_radius_is_the_papers_beta_construction(D, dim):
    """R^2/(R^2 + r^2) ~ Beta(N/2, D/2), by Kolmogorov and Smirnov at 1e-4; directions are even."""
    x = draws(D, 5000, dim, sigma=2.0)
    square, r2 = x.square().sum(1), 4.0 * D
    assert kstest((square / (square + r2)).numpy(), beta(dim / 2, D / 2).cdf).pvalue > 1e-4
    u = x / x.norm(dim=1, keepdim=True)
    assert mean_within(u, 0.0)
    assert covariance_within(u, torch.eye(dim, dtype=F64) / dim)


def test_the_mean_square_is_that_of_the_student_law():
    D, dim = 8.0, 5
    square = draws(D, 20_000, dim).square().sum(1, keepdim=True)
    assert mean_within(square, dim * D / (D - 2))


@pytest.mark.parametrize("D", [1.0, 7.5, 2048.0])
def test_the_density_is_scipys(D):
    x, mean = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    std = torch.linspace(0.5, 3, 6, dtype=F64)
    got = StudentT(mean=mean, std=std, D=D).log_prob(x)
    expected = [multivariate_t(mean[i].numpy(), float(std[i]) ** 2, df=D).logpdf(x[i].numpy()) for i in range(6)]
    torch.testing.assert_close(got, as_time(expected), rtol=1e-9, atol=1e-9)


def test_one_radius_a_sample_whatever_its_leaves_and_its_batch():
    x0 = {"a": torch.zeros(5, 2, dtype=F64), "b": torch.zeros(5, 3, dtype=F64)}
    process, rng = Pfgmpp(D=2.0), Rng.of(0, 5)
    t = as_time([0.1, 0.2, 0.3, 0.4, 0.5])
    made = process.corrupt(x0, t, rng=rng)
    plain = Edm().corrupt(x0, t, rng=rng)
    scales = [made.x_t[k] / plain.x_t[k] for k in "ab"]  # the same Gaussian, one factor a row
    for scale in scales:
        torch.testing.assert_close(scale, scales[0][:, :1].expand_as(scale), rtol=1e-12, atol=0)
    few = process.corrupt({k: v[2:4] for k, v in x0.items()}, t[2:4], rng=rng.index(slice(2, 4)))
    assert torch.equal(few.x_t["b"], made.x_t["b"][2:4])


def test_the_field():
    assert Field().measure(0).effect > 0


def test_the_limit():
    assert DiffusionLimit().measure(0).effect > 0
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 4, generator=g, dtype=F64), torch.randn(9, 4, generator=g, dtype=F64)
    gaussian = torch.softmax(-(x[:, None] - y).square().sum(2) / (2 * 0.7**2), 1)
    # The exponent is off by terms of size |x - y|^4/D and N |x - y|^2/D, 1e-5 here.
    torch.testing.assert_close(point_weights(x, y, as_time(0.7), 1e8), gaussian, rtol=0, atol=1e-5)
    torch.testing.assert_close(point_weights(x, y, as_time(0.7), math.inf), gaussian, rtol=0, atol=1e-12)


def test_one_data_point_is_reached_in_one_step():
    model = PointDenoiser(points=((0.3, -1.2),))
    for sigma in (1e-3, 1.0, 80.0):
        system = System(model=model, process=Pfgmpp(D=3.0), space=Euclidean(shape=(2,)), sampler=Euler())
        x = 50 * torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
        t = as_time(sigma / 80)
        assert (system.denoise(x, t, Condition()).x0 == as_time([0.3, -1.2])).all()
        carry, _ = system.sampler.step(system, Carry(x=x, cond=Condition()), t, as_time(0.0), Rng.of(0, 5))
        torch.testing.assert_close(carry.x, as_time([[0.3, -1.2]]).expand(5, 2), rtol=0, atol=1e-14)


@pytest.mark.parametrize("D", [3.0, 40.0])
def test_the_denoiser_of_a_mixture_is_that_of_many_points_of_it(D):
    """Monte Carlo over 200,000 points, within five standard errors of the weighted mean, at seven states."""
    y = RING.sample(torch.Generator().manual_seed(0), 200_000)
    x, sigma = 2 * torch.randn(7, 2, generator=torch.Generator().manual_seed(1), dtype=F64), 0.6
    exact = ExactStudent(mixture=RING)(x, as_time(sigma / 80), Condition(), process=Pfgmpp(D=D)).x0
    w = point_weights(x, y, as_time(sigma), D)
    mean = w @ y
    error = ((w[..., None] * (y - mean[:, None])).square().sum(1)).sqrt()
    assert ((mean - exact).abs() < 5 * error).all()


@pytest.mark.parametrize("D", [2.0, 32.0])
def test_the_flow_from_the_student_prior_draws_the_mixture(D):
    system = System(
        model=ExactStudent(mixture=RING), process=Pfgmpp(D=D), space=Euclidean(shape=(2,)), sampler=Heun(steps=20)
    )
    x = system.sample(200, seed=0, dtype=F64)
    true = RING.sample(torch.Generator().manual_seed(1), 200)
    assert compare(x, true, "energy", permutations=999, seed=0).p_value > 1e-3


def test_the_edm_loss_with_this_kernel():
    n, process = 64, Pfgmpp(D=16.0)
    x0 = 0.5 * torch.randn(n, 3, generator=torch.Generator().manual_seed(2), dtype=F64)
    net = LinearNet(dim=3).double()
    model = Preconditioned(backbone=net, parameterization=Precondition(), trained=process)
    system = System(model=model, space=Euclidean(shape=(3,)))
    rng, batch = Rng.of(5, n), Batch(x=x0, cond=Condition(), index=torch.arange(n))
    loss = EdmLoss().loss("model", batch, system, {}, rng).per_sample
    t, _ = LogNormal().draw(process, n, rng)
    sigma = 80 * t[:, None]
    made = process.corrupt(x0, t, rng=rng)
    torch.testing.assert_close(made.x_t, x0 + sigma * made.noise, rtol=1e-12, atol=1e-12)
    d = model(made.x_t, t, Condition(), process=process).x0
    by_hand = ((sigma**2 + 0.25) / (sigma * 0.5) ** 2 * (d - x0) ** 2).mean(1)
    torch.testing.assert_close(loss, by_hand, rtol=1e-9, atol=1e-9)


def test_any_schedule_is_its_base():
    process, t = Pfgmpp(D=4.0, base=Circle()), as_time([0.2, 0.6])
    assert all(map(torch.equal, process.scalars(t), Circle().scalars(t)))
    x = torch.zeros(2, 3, dtype=F64)
    assert torch.equal(process.corrupt(x, t, rng=Rng.of(0, 2)).x_t[0] == 0, torch.tensor([False] * 3))


def test_noise_is_injected_before_every_step():
    """A flow to a single point contracts what was there; each step adds 0.5 sigma of its own."""
    model = PointDenoiser(points=((0.0, 0.0),))
    system = System(
        model=model, process=Edm(), space=Euclidean(shape=(2,)), sampler=Euler(steps=3), guidance=Inject(alpha=0.5)
    )
    x = torch.zeros(20_000, 2, dtype=F64)
    infos = [info for _, info in system.stream(start=x, dtype=F64)]
    variance = 0.0
    for info in infos[:-1]:
        ratio = float(info.s / info.t)
        variance = ratio**2 * (variance + (0.5 * 80 * float(info.t)) ** 2)
        assert covariance_within(info.x_s, variance * torch.eye(2, dtype=F64))
        assert info.transition is None
    off, none = (attrs.evolve(system, guidance=g) for g in (Inject(alpha=0.0), None))
    assert torch.equal(off.sample(4, seed=0), none.sample(4, seed=0))


def test_what_is_refused():
    with pytest.raises(SpecError, match="D must be below inf"):
        Pfgmpp(D=math.inf)
    with pytest.raises(SpecError, match="D must be above 0"):
        Pfgmpp(D=0.0)
    process, x = Pfgmpp(), torch.zeros(2, 3)
    assert process.gives == {"gaussian", "linear-gaussian"}
    t, s = as_time(0.5), as_time(0.4)
    for call in (
        lambda: process.posterior(x, x, t, s),
        lambda: process.renoise(x, s, t, rng=Rng.of(0, 2)),
        lambda: process.drift(x, t),
        lambda: process.diffusion(t),
        lambda: process.score(x, t),
        lambda: Mean(value=x, x_t=x, t=t, process=process).score,
    ):
        with pytest.raises(Unsupported, match="heavy tails"):
            call()
    assert Mean(value=x, x_t=x, t=t, process=process).velocity.isfinite().all()


def test_samplers_that_need_an_sde_are_refused_when_composed():
    class Reversed(Stochastic):
        needs = Stochastic.needs | {"sde"}

    with pytest.raises(IncompatibleComponents, match="needs 'sde'"):
        System(model=PointDenoiser(points=((0.0,),)), process=Pfgmpp(), space=Euclidean(shape=(1,)), sampler=Reversed())
