import math

import attrs
import pytest
import torch
from suffuse_mlp.backbone import Mlp
from suffuse_ndm.bound import Continuous, Discrete, data_term, prior_term
from suffuse_ndm.claims import Limit, Marginals, stirred
from suffuse_ndm.predictor import Predictor
from suffuse_ndm.process import Gamma, NeuralDiffusion, neural
from suffuse_ndm.samplers import Flow, Posterior

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Endpoint
from suffuse.contracts.process import Gaussian, Kernel, Learned, as_time
from suffuse.contracts.sampler import Carry
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, Explosion

F64 = torch.float64
GAMMA = Gamma(gamma_min=-6.0, gamma_max=6.0)
RING = GaussianMixture.ring(5, 1.3, 0.3)


def batch_of(x):
    return Batch(x=x, cond=Condition(), index=torch.arange(len(x)))


def data(n, dim=2):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(0), dtype=F64)


@module
class Linear(Predictor):
    """Tells ``x_hat = c z``; its backbone is not used."""

    backbone: object = setting(None, "none")
    c: float = setting(0.6, "the factor")

    @property
    def gives(self):
        return frozenset({"endpoint"})

    def check(self, cond):
        pass

    def forward(self, x_t, t, cond, *, process, s=None, rng=None):
        return Endpoint(value=self.c * x_t, x_t=x_t, t=as_time(t))


def system_of(process, **parts):
    return System(model=Linear(), process=process, space=Euclidean(shape=(2,)), **parts)


def test_the_transform_is_the_data_at_first_and_moves_with_time():
    process, x = stirred(0), data(6)
    assert torch.equal(process.transform(x, as_time(0.0)), x)
    t = torch.linspace(0.1, 0.9, 6, dtype=F64)
    value, slope = process.moving(x, t)
    torch.testing.assert_close(value, process.transform(x, t), rtol=1e-12, atol=1e-12)
    numeric = (process.transform(x, t + 1e-6) - process.transform(x, t - 1e-6)) / 2e-6
    torch.testing.assert_close(slope, numeric, rtol=1e-6, atol=1e-6)
    assert (value - x).abs().max() > 0.1
    one, other = process.twice(x, t, t / 2)
    torch.testing.assert_close(one, value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(other, process.transform(x, t / 2), rtol=1e-12, atol=1e-12)
    with torch.inference_mode():
        torch.testing.assert_close(process.moving(x.clone(), t)[1], slope, rtol=1e-12, atol=1e-12)


def test_the_derivative_in_time_can_be_differentiated():
    """Through layer normalisation too, against central differences in x."""
    process, x, t, h = stirred(0), data(3).requires_grad_(), as_time([0.2, 0.5, 0.8]), 1e-5
    w = torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    (got,) = torch.autograd.grad((process.moving(x, t)[1] * w).sum(), x)
    for i in range(2):
        step = h * torch.eye(2, dtype=F64)[i]
        up, down = (process.moving(x.detach() + d, t)[1] for d in (step, -step))
        torch.testing.assert_close(got[:, i], ((up - down) * w).sum(1) / (2 * h), rtol=1e-6, atol=1e-6)


def test_marginals_are_kept():
    assert Marginals().measure(0).effect > 0


def test_many_steps_tend_to_continuous_time():
    assert Limit().measure(0).effect > 0


@pytest.mark.parametrize("schedule", [GAMMA, Circle(), Explosion()])
def test_without_a_transform_it_is_the_schedules_own(schedule):
    process, x, rng = NeuralDiffusion(schedule=schedule), data(5), Rng.of(0, 5)
    t, s = torch.linspace(0.3, 0.9, 5, dtype=F64), torch.linspace(0.1, 0.5, 5, dtype=F64)
    z = process.corrupt(x, t, rng=rng).x_t
    torch.testing.assert_close(z, schedule.corrupt(x, t, rng=rng).x_t, rtol=1e-12, atol=1e-12)
    mine, own = process.posterior(z, x, t, s), schedule.posterior(z, x, t, s)
    torch.testing.assert_close(mine.mean, own.mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mine.std, own.std, rtol=1e-9, atol=0)
    alpha, sigma = schedule.scalars(s)
    noise = (z - schedule.scalars(t)[0][:, None] * x) / schedule.scalars(t)[1][:, None]
    still = process.posterior(z, x, t, s, eta=0.0)
    torch.testing.assert_close(still.mean, alpha[:, None] * x + sigma[:, None] * noise, rtol=1e-9, atol=1e-9)


def test_without_a_transform_the_bounds_are_those_of_diffusion():
    """Kingma et al. 2021, arXiv:2107.00630, equations 13 to 15: T (SNR_s - SNR_t)/2 |x - x_hat|^2, and its limit."""
    process, n, T = NeuralDiffusion(schedule=GAMMA), 32, 10
    x, rng, system = data(n), Rng.of(1, n), system_of(NeuralDiffusion(schedule=GAMMA))
    steps = rng.at("times").integers(1, T + 1).double()
    t, s = steps / T, (steps - 1) / T
    error = (x - 0.6 * process.corrupt(x, t, rng=rng).x_t).square().sum(1)
    expected = T * (GAMMA.log_snr(s).exp() - GAMMA.log_snr(t).exp()) / 2 * error
    alpha, sigma = GAMMA.scalars(as_time([0.0, 1.0]))
    ends = (alpha[1] / sigma[1]) ** 2 / 2 * x.square().sum(1) + math.log(2 * math.pi * math.e)
    ends = ends + 2 * (sigma[0] / alpha[0]).log()
    got = Discrete(T=T).loss("model", batch_of(x), system, {}, rng).per_sample * 2 * math.log(2)
    torch.testing.assert_close(got, expected + ends, rtol=1e-9, atol=1e-9)
    t = 1 - rng.at("times").uniform(torch.empty(n, dtype=F64))
    error = (x - 0.6 * process.corrupt(x, t, rng=rng).x_t).square().sum(1)
    got = Continuous().loss("model", batch_of(x), system, {}, rng).per_sample * 2 * math.log(2)
    torch.testing.assert_close(got, 6 * GAMMA.log_snr(t).exp() * error + ends, rtol=1e-9, atol=1e-9)
    weighted = Continuous(weighting="x", eta=0.5).integrand(system, batch_of(x), t, rng)
    torch.testing.assert_close(weighted, error, rtol=1e-9, atol=1e-9)  # 4/(1 + eta)^2 times ((1 + eta)/2)^2


@module
class Matrix(NeuralDiffusion):
    """``F(x, t) = (1 + t a) x``, whose terms have closed forms."""

    a: float = setting(0.8, "the slope")

    def transform(self, x, t):
        return x * (1 + self.a * as_time(t).reshape(-1, 1))

    def moving(self, x, t):
        return self.transform(x, t), self.a * x

    def twice(self, x, t, s):
        return self.transform(x, t), self.transform(x, s)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_a_linear_transform_in_closed_form(eta):
    process, n, T = Matrix(schedule=GAMMA), 16, 8
    x, rng, system = data(n), Rng.of(2, n), system_of(process)
    steps = torch.arange(n) % T + 1
    t, s = steps.double() / T, (steps.double() - 1) / T
    (at, st), (as_, ss) = GAMMA.scalars(t), GAMMA.scalars(s)
    sv = eta**2 * (st**2 - (at / as_) ** 2 * ss**2) * ss**2 / st**2
    k = (ss**2 - sv).sqrt() / st
    gap = (x - 0.6 * process.corrupt(x, t, rng=rng).x_t).square().sum(1)
    expected = (as_ * (1 + 0.8 * s) - k * at * (1 + 0.8 * t)) ** 2 * gap / (2 * sv)
    got = Discrete(T=T, eta=eta).divergence(system, batch_of(x), steps, rng)
    torch.testing.assert_close(got, expected, rtol=1e-7, atol=0)
    got = Continuous(eta=eta).integrand(system, batch_of(x), t, rng)
    factor = (1 + eta) / 2 * (1 + 0.8 * t) - 0.8 / 12
    torch.testing.assert_close(got, GAMMA.log_snr(t).exp() * 6 / eta * factor**2 * gap, rtol=1e-9, atol=0)
    alpha, sigma = GAMMA.scalars(as_time(1.0))
    expected = (alpha / sigma * 1.8) ** 2 / 2 * x.square().sum(1)
    torch.testing.assert_close(prior_term(process, x), expected, rtol=1e-12, atol=0)


@module
class Learning(Learned, Gaussian):
    """A schedule whose slope is trained: it gives its own derivative, with gradients."""

    def __attrs_post_init__(self):
        self.slope = torch.nn.Parameter(torch.tensor(12.0, dtype=F64))

    def log_snr(self, t):
        return 6 - as_time(t) * self.slope

    def kernel(self, t):
        snr = self.log_snr(t)
        return Kernel(torch.sigmoid(snr).sqrt(), torch.sigmoid(-snr).sqrt())

    def derivative(self, t):
        alpha, sigma = self.scalars(t)
        return Kernel(-self.slope / 2 * alpha * sigma**2, self.slope / 2 * sigma * alpha**2)

    def time(self, log_snr):
        return ((6 - as_time(log_snr)) / self.slope).clamp(0, 1)


def test_gradients_reach_the_transform_and_a_learned_schedule():
    process = stirred(1).requires_grad_(True)
    process = NeuralDiffusion(network=process.network, schedule=Learning(), scale=1.0, shift=0.0)
    x, rng, system = data(8), Rng.of(3, 8), system_of(process)
    for objective in (Discrete(T=4), Continuous(), Continuous(weighting="x")):
        assert objective.players(system)["model"].modules == (system.model, process)
        loss = objective.loss("model", batch_of(x), system, {}, rng).per_sample
        slope, *others = torch.autograd.grad(loss.sum(), [process.schedule.slope, *process.network.parameters()])
        assert slope.isfinite()
        assert slope != 0
        assert all(g.isfinite().all() for g in others)

    def total(slope):
        with torch.no_grad():
            process.schedule.slope.fill_(slope)
            return Continuous().loss("model", batch_of(x), system, {}, rng).per_sample.sum()

    loss = Continuous().loss("model", batch_of(x), system, {}, rng).per_sample.sum()
    (slope,) = torch.autograd.grad(loss, process.schedule.slope)
    numeric = (total(12 + 1e-5) - total(12 - 1e-5)) / 2e-5
    torch.testing.assert_close(slope, numeric, rtol=1e-6, atol=1e-6)


def test_transform_and_model_train_together():
    with seeded(0):
        process = NeuralDiffusion(network=Mlp(shape=(2,), width=24, depth=1, frequencies=8), schedule=GAMMA, scale=1.0)
        model = Predictor(backbone=Mlp(shape=(2,), width=24, depth=1, frequencies=8), scale=1.0)
    system = System(model=model, process=process, space=Euclidean(shape=(2,)), sampler=Posterior(steps=5))
    assert set(system.modules()) == {"model", "process"}
    rows = rows_of(RING.sample(torch.Generator().manual_seed(0), 2000).float())
    logs = fit(system, Discrete(T=5), rows, steps=40, batch=32, seed=0, learning_rate=1e-2)
    first, last = (sum(float(log["model/loss"]) for log in part) / 10 for part in (logs[:10], logs[-10:]))
    assert last < first
    x = data(4).float()
    assert (process.transform(x, as_time(1.0)) - x).abs().max() > 1e-3
    assert system.sample(8, seed=0).isfinite().all()


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_the_posterior_sampler_is_the_formula(eta):
    process = stirred(2)
    system, z, t, s = system_of(process, sampler=Posterior(eta=eta)), data(5), as_time(0.6), as_time(0.4)
    carry, info = system.sampler.step(system, Carry(x=z, cond=Condition()), t, s, Rng.of(0, 5))
    guess = 0.6 * z
    (at, st), (as_, ss) = GAMMA.scalars(t), GAMMA.scalars(s)
    sv = eta**2 * (st**2 - (at / as_) ** 2 * ss**2) * ss**2 / st**2
    noise = z - at * process.transform(guess, t)
    mean = as_ * process.transform(guess, s) + (ss**2 - sv).sqrt() / st * noise
    if eta:
        torch.testing.assert_close(info.transition.mean, mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(info.transition.std, sv.sqrt(), rtol=1e-9, atol=0)
    else:
        assert info.transition is None
        torch.testing.assert_close(carry.x, mean, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_flow_is_the_posterior_of_small_steps(eta):
    """Mean and variance of one step of h: the two samplers differ by order h^2 in the mean, h in relative variance."""
    process, z, t, apart, noise = stirred(2), data(5), as_time(0.6), [], []
    for h in (1e-3, 5e-4):
        laws = []
        for sampler in (Posterior(eta=eta), Flow(eta=eta)):
            system = system_of(process, sampler=sampler)
            _, info = sampler.step(system, Carry(x=z, cond=Condition()), t, t - h, Rng.of(0, 5))
            laws.append((info.transition.mean, info.transition.std) if eta else (info.x_s, as_time(1.0)))
        apart.append(float((laws[0][0] - laws[1][0]).detach().norm()))
        noise.append(abs(float(laws[0][1] / laws[1][1]) - 1))
    assert 3.5 < apart[0] / apart[1] < 4.5
    assert noise[0] < 0.02


def test_inversion():
    process = stirred(2)
    for sampler in (Posterior(eta=0.0), Flow(eta=0.0)):
        system = system_of(process, sampler=sampler)
        up = system.sample(start=data(3), times=as_time([0.3, 0.301]), dtype=F64)
        back = system.sample(start=up, times=as_time([0.301, 0.3]), dtype=F64)
        assert (back - data(3)).abs().max() < 1e-3
    with pytest.raises(Unsupported, match="to a lower s"):
        system_of(process, sampler=Posterior()).sample(start=data(3), times=as_time([0.3, 0.4]), dtype=F64)


def test_a_gaussian_process_is_the_case_of_the_identity():
    system = mixture_system(RING, GAMMA, sampler=Posterior(steps=20))
    own = attrs.evolve(system, process=GAMMA)
    assert torch.equal(system.sample(4, seed=0), own.sample(4, seed=0))
    assert neural(GAMMA).network is None
    with pytest.raises(Unsupported, match="a process with a transform"):
        neural(None)


def test_what_is_refused():
    with pytest.raises(SpecError, match="gamma_min must be below gamma_max, got 3 and 2"):
        Gamma(gamma_min=3.0, gamma_max=2.0)
    process, system = stirred(0), system_of(stirred(0))
    with pytest.raises(InvalidInput, match="one tensor, got the leaves"):
        process.corrupt({"a": data(2)}, as_time(0.5), rng=Rng.of(0, 2))
    with pytest.raises(InvalidInput, match="learns from data"):
        Discrete().loss("model", None, system, {}, Rng.of(0, 1))
    with pytest.raises(IncompatibleComponents, match="needs 'transform or gaussian'"):
        System(model=Linear(), space=Euclidean(shape=(2,)), sampler=Posterior())
    silent = system_of(NeuralDiffusion(schedule=Circle()))
    with pytest.raises(Unsupported, match="must begin with some"):
        Discrete(T=1).loss("model", batch_of(data(2)), silent, {}, Rng.of(0, 2))
    with pytest.raises(Unsupported, match="needs noise at t = 0"):
        data_term(silent.process, data(2))
