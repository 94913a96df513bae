"""RED-diff against closed forms, and in company."""

import attrs
import pytest
import torch
from suffuse_cfg.guidance import Cfg
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.linear import Linear
from suffuse_edm.process import Edm
from suffuse_operators.dense import Matrix
from suffuse_operators.masks import Inpaint
from suffuse_operators.noise import GaussianNoise, PoissonNoise
from suffuse_operators.nonlinear import HighDynamicRange
from suffuse_operators.separable import GaussianBlur
from suffuse_red_diff.claims import Gradient, NoSampler, Weighted
from suffuse_red_diff.regularizer import WEIGHTINGS, regularizer
from suffuse_red_diff.task import RedDiff

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Grid
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.parts import Chain, Clip, Uniform
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import ExactDenoiser, mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle
from suffuse.testing.statistics import mean_within

F64 = torch.float64
MIXTURE = GaussianMixture.random(dim=4, components=4, seed=0)
OPERATOR = Matrix(rows=((1.0, 0.0, -0.5, 0.0), (0.0, 1.0, 1.0, 0.3)), noise=GaussianNoise(std=0.1))


def states(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def measured(n=6, operator=OPERATOR):
    x0 = MIXTURE.sample(torch.Generator().manual_seed(0), n)
    return x0, operator.measure(x0, Rng.of(0, n))


@attrs.frozen(kw_only=True)
class At(Grid):
    """The times of given log-SNRs."""

    log_snr: tuple[float, ...]

    def times(self, process, steps):
        return process.time(as_time(self.log_snr))


def run(y, system=None, *, cond=None, start=None, rng=None, **settings):
    task = RedDiff(**{"operator": OPERATOR, "steps": 40, **settings})
    inputs = {"y": y} | ({} if start is None else {"start": start}) | ({} if cond is None else {"cond": cond})
    system = system or mixture_system(MIXTURE, Discrete())
    return task.run(system, inputs, rng or Rng.of(3, len(y)))


@pytest.mark.parametrize("claim", [Gradient(), Weighted(), NoSampler()])
def test_claims_hold_and_fail_when_sabotaged(claim):
    assert claim.measure(0).effect > claim.margin
    if not isinstance(claim, NoSampler):  # a single ratio of two samples of DPS may lie on either side of 1
        assert claim.measure(0, sabotage=True).effect <= claim.margin


def test_lambda_zero_is_least_squares_and_leaves_the_unseen_alone():
    """Adam ends within its rate of the minimum, here 1e-2; a gradient of zero moves nothing."""
    operator = Inpaint(keep=0.5)
    y, start = operator.A(states(5, 4)), states(5, 4, seed=1)
    found = run(y, operator=operator, lambda_=0.0, learning_rate=1e-2, steps=2000, start=start)
    assert found.metrics["nfe"] == 0
    x, seen = found.states["restored"], operator.mask(start)
    torch.testing.assert_close(x * seen, y, rtol=0, atol=1e-2)
    assert torch.equal(x * (1 - seen), start * (1 - seen))


def test_the_expected_gradient_points_to_the_priors_mean():
    """``E[eps_hat - eps] = alpha sigma (mu - m)/(alpha^2 s^2 + sigma^2)`` under N(m, s^2 I), from 4000 draws."""
    m, s, n = torch.tensor([0.5, -1.0, 0.2], dtype=F64), 0.6, 4000
    system = mixture_system(GaussianMixture.single(m, s**2), Circle())
    mu = states(1, 3).repeat(n, 1).requires_grad_()
    t = as_time(0.4)
    loss, nfe = regularizer(system, mu, t, Condition(), Rng.of(0, n), weighting="constant")
    (slope,) = torch.autograd.grad(loss.sum(), mu)
    alpha, sigma = Circle().scalars(t)
    wanted = alpha * sigma * (mu[0].detach() - m) / (alpha**2 * s**2 + sigma**2) / 3
    assert mean_within(slope, wanted).ok
    assert nfe == 1


def test_where_everything_is_seen_it_settles_between_data_and_prior():
    """A = I, N(m, s^2 I): the loss averaged over times is stationary at ``(y + k m)/(1 + k)``,
    ``k = lambda mean_t(sigma^2/(alpha^2 s^2 + sigma^2))``. Its gradient there, from 4000 draws of the loss."""
    m, s, n, lam = torch.tensor([0.5, -1.0, 0.2], dtype=F64), 0.6, 4000, 0.25
    system, y = mixture_system(GaussianMixture.single(m, s**2), Linear()), states(1, 3, seed=2)
    times = Uniform(start=0.9).times(Linear(), 20)
    alpha, sigma = Linear().scalars(times)
    k = lam * (sigma**2 / (alpha**2 * s**2 + sigma**2)).mean()
    mu = ((y + k * m) / (1 + k)).repeat(n, 1).requires_grad_()
    t = times[torch.arange(n) % 20]
    loss, _ = regularizer(system, mu, t, Condition(), Rng.of(0, n))
    (slope,) = torch.autograd.grad(((y - mu).square().mean(1) / 2 + lam * loss).sum(), mu)
    cycles = slope.reshape(-1, 20, 3).mean(1)  # each holds every time once
    assert mean_within(cycles, torch.zeros(3, dtype=F64)).ok
    assert not mean_within(cycles + 0.05 * k * (y - m), torch.zeros(3, dtype=F64)).ok


class Silent(ExactDenoiser):
    """Without gradients; fails if asked for them."""

    def forward(self, x_t, *args, **kwargs):
        assert not torch.is_grad_enabled()
        assert not x_t.requires_grad
        return super().forward(x_t, *args, **kwargs)


def test_the_denoiser_is_never_differentiated():
    _, y = measured()
    system = mixture_system(MIXTURE, Discrete())
    silent = attrs.evolve(system, model=Silent(mixture=MIXTURE))
    with torch.no_grad():
        quiet = run(y, silent).states["restored"]
    assert torch.equal(quiet, run(y, system).states["restored"])
    assert not quiet.requires_grad


@pytest.mark.parametrize("name", list(WEIGHTINGS))
def test_weights_are_functions_of_the_amplitude_ratio(name):
    mu, t, rng = states(5, 4), as_time(0.7), Rng.of(0, 5)
    system = mixture_system(MIXTURE, Circle())
    plain, weighted = (regularizer(system, mu, t, Condition(), rng, weighting=w)[0] for w in ("constant", name))
    r = torch.tan(t * torch.pi / 2)
    wanted = {
        "linear": r,
        "sqrt": r.sqrt(),
        "square": r**2,
        "two-thirds": r ** (2 / 3),
        "log": (1 + r).log(),
        "clip": torch.ones(()),
        "constant": torch.ones(()),
    }
    torch.testing.assert_close(weighted, plain * wanted[name])


def test_each_rows_restoration_is_its_own():
    _, y = measured()
    for order in ("descending", "random"):
        whole = run(y, order=order).states["restored"]
        alone = run(y[2:4], order=order, rng=Rng.of(3, 6).index(slice(2, 4))).states["restored"]
        torch.testing.assert_close(alone, whole[2:4], rtol=0, atol=1e-9)


@pytest.mark.parametrize("process", [Discrete(), Linear(), Edm()], ids=lambda part: type(part).__name__)
@pytest.mark.parametrize(
    "operator",
    [OPERATOR, Inpaint(keep=0.5, noise=PoissonNoise(peak=100.0)), HighDynamicRange(gain=1.2)],
    ids=lambda part: type(part).__name__,
)
def test_it_restores(process, operator):
    """Nearer to the truth than least squares from the same start."""
    x0 = MIXTURE.sample(torch.Generator().manual_seed(0), 64).clamp(-1, 1)
    y = operator.measure(x0, Rng.of(0, 64))
    system = mixture_system(MIXTURE, process)
    error = [
        (run(y, system, operator=operator, steps=100, lambda_=w).states["restored"] - x0).norm(dim=1).mean()
        for w in (0.25, 0.0)
    ]
    assert error[0] < error[1]


def test_a_blurs_start_does_not_amplify_noise():
    operator = GaussianBlur(std=2.0, noise=GaussianNoise(std=0.1))
    x0 = states(4, 1, 8, 8).clamp(-1, 1)
    y = operator.measure(x0, Rng.of(0, 4))
    system = System(model=Silent(mixture=MIXTURE), process=Discrete(), space=Euclidean(shape=(1, 8, 8)))
    start = run(y, system, operator=operator, lambda_=0.0, steps=1).states["restored"]
    assert start.abs().max() < 5 < operator.A_dagger(y).abs().max()


def test_restorations_do_not_depend_on_the_scale_of_the_process():
    """eps and the weights are functions of the signal-to-noise ratio: EDM's process at a chain's log-SNRs."""
    _, y = measured()
    chain = run(y, mixture_system(MIXTURE, Discrete())).states["restored"]
    snr = Discrete().log_snr(Uniform().times(Discrete(), 40))
    exploding = run(y, mixture_system(MIXTURE, Edm(sigma_max=200.0)), grid=At(log_snr=tuple(snr.tolist())))
    torch.testing.assert_close(exploding.states["restored"], chain, rtol=0, atol=1e-6)


def test_guidance_acts_on_the_regulariser():
    """Clipping gives the eps of the clipped x0; classifier-free guidance takes two evaluations."""
    x0, y = measured()
    cond = Condition(label=torch.arange(6) % 4)
    system = mixture_system(MIXTURE, Discrete())
    parts = (Cfg(scale=2.0), Clip(low=-0.5, high=0.5))
    both = attrs.evolve(system, guidance=Chain(parts=parts))
    found = run(y, both, cond=cond)
    assert found.metrics["nfe"] == 80
    for part in parts:
        other = run(y, attrs.evolve(system, guidance=part), cond=cond).states["restored"]
        assert (found.states["restored"] - other).abs().max() > 1e-2
    task = RedDiff(operator=OPERATOR, steps=2)
    told = task.run(system, {"y": y, "truth": x0}, Rng.of(0, 6)).metrics
    assert set(told) == {"nfe", "consistency", "psnr", "psnr_of_pseudo_inverse"}


def test_bad_input_is_refused():
    _, y = measured()
    system = mixture_system(MIXTURE, Discrete())
    with pytest.raises(InvalidInput, match=r"got \['data'\]"):
        RedDiff(operator=OPERATOR).run(system, {"data": y}, Rng.of(0, 6))
    with pytest.raises(InvalidInput, match="measurement y of 6 rows, as many as rng has, got None"):
        RedDiff(operator=OPERATOR).run(system, {}, Rng.of(0, 6))
    with pytest.raises(InvalidInput, match=r"y must have the shape \(6, 2\), got \(6, 3\)"):
        run(torch.zeros(6, 3))
    with pytest.raises(InvalidInput, match=r"start must have the shape \(6, 4\), got \(6, 2\)"):
        run(y, start=y)
    with pytest.raises(SpecError, match="order must be one of 'descending', 'ascending', 'random', got 'up'"):
        RedDiff(operator=OPERATOR, order="up")
    with pytest.raises(SpecError, match="weighting must be one of"):
        RedDiff(operator=OPERATOR, weighting="snr")
    with pytest.raises(SpecError, match=r"expected two numbers in \[0, 1\), got \(0.9, 1.0\)"):
        RedDiff(operator=OPERATOR, betas=(0.9, 1.0))
    with pytest.raises(Unsupported, match="'linear' has no bound where there is no signal"):
        run(y, mixture_system(MIXTURE, Circle()))
    with torch.inference_mode(), pytest.raises(Unsupported, match="outside torch"):
        run(y)
