"""DiffPIR against closed forms, and in company."""

import math

import attrs
import numpy as np
import pytest
import torch
from suffuse_cfg.guidance import Cfg
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.linear import Linear
from suffuse_diffpir.claims import DataStep, FewerEvaluations, NearerPosterior
from suffuse_diffpir.grid import Quadratic
from suffuse_diffpir.guidance import DataProx
from suffuse_diffpir.sampler import DiffPir
from suffuse_edm.deterministic import Heun
from suffuse_edm.process import Edm
from suffuse_operators.dense import Matrix
from suffuse_operators.masks import Inpaint
from suffuse_operators.noise import GaussianNoise, PoissonNoise
from suffuse_operators.nonlinear import HighDynamicRange, PhaseRetrieval

from suffuse.contracts.condition import Condition
from suffuse.contracts.prediction import Endpoint
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.parts import Chain, Clip, Uniform
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system
from suffuse.testing.inverse import LinearInverse
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle

F64 = torch.float64
MIXTURE = GaussianMixture.random(dim=4, components=4, seed=0)
OPERATOR = Matrix(rows=((1.0, 0.0, -0.5, 0.0), (0.0, 1.0, 1.0, 0.3)), noise=GaussianNoise(std=0.1))
A = OPERATOR.matrix()


def measured(n=6, operator=OPERATOR, seed=0):
    x0 = MIXTURE.sample(torch.Generator().manual_seed(seed), n)
    return x0, operator.measure(x0, Rng.of(seed, n))


def states(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def system(process=None, sampler=None, **guidance):
    sampler = sampler or DiffPir(steps=20, zeta=0.5)
    return mixture_system(
        MIXTURE, process or Discrete(), sampler=sampler, guidance=DataProx(**{"operator": OPERATOR, **guidance})
    )


def draw(s, y, **settings):
    return s.sample(cond={"y": y}, **{"seed": 3, "dtype": F64, **settings})


@pytest.mark.parametrize("claim", [DataStep(), FewerEvaluations(), NearerPosterior()])
def test_claims_hold_and_fail_when_sabotaged(claim):
    assert claim.measure(0).effect > claim.margin
    assert claim.measure(0, sabotage=True).effect <= claim.margin


def test_without_a_measurement_zeta_0_is_ddim_and_zeta_1_forgets_the_state():
    """lambda to infinity: a step of the data of size 1/(1 + rho), and rho > 1e20 here."""
    _, y = measured()
    s = system(sampler=DiffPir(steps=20, zeta=0.0), lambda_=1e30)
    ddim = mixture_system(MIXTURE, Discrete(), sampler=Ddim(steps=20, grid=Quadratic()))
    torch.testing.assert_close(draw(s, y), ddim.sample(6, seed=3, dtype=F64), rtol=0, atol=1e-9)
    fresh = attrs.evolve(s, sampler=DiffPir(steps=20, zeta=1.0))
    x, t, rng = states(6, 4), as_time(0.6), Rng.of(0, 6)
    _, info = fresh.step(fresh, Carry(x=x, cond=Condition(y=y)), t, t / 2, rng)
    (alpha, sigma), (c, d) = fresh.process.scalars(t), fresh.process.scalars(t / 2)
    torch.testing.assert_close(info.transition.mean, c * MIXTURE.denoise(x, alpha, sigma))
    assert info.transition.std == d


def test_without_noise_the_data_step_becomes_a_projection():
    """rho to 0: the error is of the order of rho over the squares of the singular values."""
    x0, y, gamma = states(5, 4), states(5, 2, seed=1), torch.tensor(1e12)
    step = DataProx(operator=OPERATOR).solve(x0, y, gamma)
    torch.testing.assert_close(step, x0 + (y - x0 @ A.mT) @ torch.linalg.pinv(A).mT, rtol=0, atol=1e-10)
    silent = attrs.evolve(OPERATOR, noise=GaussianNoise(std=0.0))
    assert draw(system(operator=silent, process=Circle()), y).isfinite().all()  # no noise, and no signal at t = 1


def test_the_data_step_is_the_same_on_images_in_0_1():
    """z -> (z + 1)/2 scales both terms alike."""
    x0, y, gamma = states(5, 4), states(5, 2, seed=1), torch.tensor(0.3)
    step = DataProx(operator=OPERATOR)
    halves = step.solve((x0 + 1) / 2, (y + A.sum(1)) / 2, gamma)
    torch.testing.assert_close(halves, (step.solve(x0, y, gamma) + 1) / 2)


def test_under_a_flat_prior_the_data_step_is_exact():
    """x_0 ~ N(m, S^2 I), S to infinity: ``E[x_0 | x_t, y]``, to the order of sigma^2/(alpha S)^2 = 1e-8."""
    prior = GaussianMixture.single(torch.tensor([0.3, -0.2, 1.0, 0.5]), 1e8)
    s = mixture_system(prior, Circle(), guidance=DataProx(operator=OPERATOR))
    x, y, t = states(5, 4), states(5, 2, seed=1), as_time(0.5)
    exact = LinearInverse(prior, A, torch.tensor(0.01)).denoise(x, y, *Circle().scalars(t))
    guided = s.denoise(x, t, Condition(y=y))
    torch.testing.assert_close(guided.x0, exact, rtol=0, atol=1e-6)
    torch.testing.assert_close(guided.eps * math.sqrt(0.5), x - guided.x0 * math.sqrt(0.5))


@pytest.mark.parametrize("zeta", [0.1, 1.0])
def test_fresh_noise_narrows_a_wide_law_as_documented(zeta):
    """Steps from t to t: ``x <- g x + c z`` settles at ``c^2/(1 - g^2)``, to the order of sigma^2/S^2 = 1e-6."""
    s = mixture_system(GaussianMixture.single(torch.zeros(1), 1e6), Circle(), sampler=DiffPir(zeta=zeta))
    t = as_time(0.5)
    carry, info = s.step(s, Carry(x=torch.ones(1, 1, dtype=F64), cond=Condition()), t, t, Rng.of(0, 1))
    gain, c = float(info.transition.mean), float(info.transition.std)
    # 1 - g is about 1e-6, of which ten digits are left
    ratio = c**2 / ((1 - gain) * (1 + gain)) / (0.5e6 + 0.5)
    assert math.isclose(ratio, (1 + math.sqrt(1 - zeta)) / 2, rel_tol=1e-5)
    assert carry.x is info.x_s


@pytest.mark.parametrize("steps", [2, 20, 100, 500])
def test_the_grid_is_the_released_codes(steps):
    seq = [int(v) for v in np.sqrt(np.linspace(0, 1000**2, steps))]
    seq[-1] -= 1
    times = Quadratic().times(Discrete(), steps)
    assert [round(1000 * float(t)) for t in times] == [1000 - v for v in seq]


def test_a_nonlinear_step_is_exact_where_the_operator_is_a_rotation():
    """HDR below saturation is 2 I: ``(rho x0 + 2 y)/(rho + 4)``."""
    step = DataProx(operator=HighDynamicRange())
    x0, y = 0.1 * states(5, 4), 0.1 * states(5, 4, seed=1)
    gamma = torch.tensor([0.0, 1e-3, 1.0, 50.0, 1e12], dtype=F64)
    wanted = (x0 + 2 * gamma[:, None] * y) / (1 + 4 * gamma[:, None])
    torch.testing.assert_close(step.solve(x0, y, gamma), wanted)
    at_rest = step.solve(x0, 2 * x0, gamma)
    torch.testing.assert_close(at_rest, x0, rtol=0, atol=0)


def test_a_small_nonlinear_step_is_the_published_gradient_step():
    """``x0 - grad |y - A(x0)|^2/(2 rho)`` to first order in 1/rho."""
    operator, x0, gamma = PhaseRetrieval(), states(3, 1, 8, 8), torch.tensor(1e-7, dtype=F64)
    y = operator.A(states(3, 1, 8, 8, seed=1))
    leaf = x0.clone().requires_grad_()
    (slope,) = torch.autograd.grad((y - operator.A(leaf)).square().sum(), leaf)
    moved = (DataProx(operator=operator).solve(x0, y, gamma) - x0) / gamma
    torch.testing.assert_close(moved, -slope / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", [OPERATOR, HighDynamicRange(gain=1.5)], ids=["linear", "nonlinear"])
def test_a_caller_who_asks_gets_gradients_through_the_data_step(operator):
    """Against central differences, whose error is of the order of h^2."""
    step, gamma = DataProx(operator=operator), torch.tensor(0.4, dtype=F64)
    x0, v, toward = (0.2 * states(3, 4, seed=k) for k in range(3))
    y = operator.A(x0.roll(1, 0))
    leaf = x0.clone().requires_grad_()
    (slope,) = torch.autograd.grad((step.solve(leaf, y, gamma) * v).sum(), leaf)
    up, down = ((step.solve(x0 + h * toward, y, gamma) * v).sum() for h in (1e-5, -1e-5))
    torch.testing.assert_close((slope * toward).sum(), (up - down) / 2e-5, rtol=1e-6, atol=1e-9)
    assert not step.solve(x0, y, gamma).requires_grad


@pytest.mark.parametrize("noise", [GaussianNoise(std=0.05), PoissonNoise(peak=40.0)])
@pytest.mark.parametrize("operator", [Inpaint(keep=0.75), HighDynamicRange()])
def test_noise_laws_and_nonlinear_operators(operator, noise):
    operator = attrs.evolve(operator, noise=noise)
    x0 = MIXTURE.sample(torch.Generator().manual_seed(0), 64).clamp(-1, 1)
    y = operator.measure(x0, Rng.of(0, 64))
    gain = [operator.log_likelihood(y, draw(system(operator=operator, lambda_=w), y)).median() for w in (1.0, 1e9)]
    assert gain[0] > gain[1] + 1


def test_photon_noise_counts_as_white_with_its_mean_over_what_is_seen():
    noise = PoissonNoise(peak=20.0)
    operator = Inpaint(keep=0.5, noise=noise)
    y = torch.tensor([[0.5, 0.5, 0.5, 0.5], [1.0, 1.0, 1.0, 1.0]], dtype=F64) * operator.seen(torch.ones(2, 4))
    white = [attrs.evolve(operator, noise=GaussianNoise(std=math.sqrt(v))) for v in (0.01 * 15, 0.01 * 20)]
    x, t = states(2, 4), as_time(0.4)
    rows = [system(operator=o).denoise(x, t, Condition(y=y)).x0[i] for i, o in enumerate(white)]
    torch.testing.assert_close(system(operator=operator).denoise(x, t, Condition(y=y)).x0, torch.stack(rows))


@pytest.mark.parametrize(
    ("process", "sampler"),
    [
        (Discrete(), DiffPir(steps=40, zeta=0.3)),
        (Linear(), DiffPir(steps=20, zeta=1.0)),
        (Linear(), Ddim(steps=40)),
        (Edm(), Heun(steps=20)),
        (Edm(), DiffPir(steps=20, zeta=0.3, grid=Uniform())),
    ],
    ids=lambda part: type(part).__name__,
)
def test_any_sampler_comes_nearer_to_the_measurement(process, sampler):
    x0, y = measured(64)
    near, far = (draw(system(process, sampler, lambda_=w), y) for w in (1.0, 1e9))
    residual = [(OPERATOR.A(x) - y).norm(dim=1).mean() for x in (near, far)]
    assert residual[0] < 0.3 * residual[1]
    assert (near - x0).norm(dim=1).mean() < 0.8 * (far - x0).norm(dim=1).mean()


def test_with_other_guidance_all_act():
    _, y = measured()
    cond = {"y": y, "label": torch.arange(6) % 4}
    parts = (Cfg(scale=2.0), Clip(low=-0.5, high=0.5), DataProx(operator=OPERATOR))
    whole = attrs.evolve(system(), guidance=Chain(parts=parts))
    told = []
    x = whole.sample(cond=cond, seed=3, dtype=F64, on_step=lambda _, info: told.append(info.nfe))
    assert told == [2] * 20
    for i in range(3):
        others = attrs.evolve(whole, guidance=Chain(parts=parts[:i] + parts[i + 1 :]))
        mine = {"label": cond["label"]} if i == 2 else cond
        assert (x - others.sample(cond=mine, seed=3, dtype=F64)).abs().max() > 1e-2


def test_samples_can_be_drawn_without_autograd():
    operator = HighDynamicRange()
    _, y = measured(operator=operator)
    s = system(operator=operator)
    with torch.no_grad():
        quiet = draw(s, y)
    torch.testing.assert_close(quiet, draw(s, y), rtol=0, atol=0)
    with torch.inference_mode(), pytest.raises(Unsupported, match="differentiates it: leave"):
        draw(s, y)
    with torch.inference_mode():
        assert draw(system(), measured()[1]).isfinite().all()


def test_bad_input_is_refused():
    _, y = measured()
    with pytest.raises(InvalidInput, match=r"needs the condition's entry y, got \['label'\]"):
        system().sample(cond={"label": torch.zeros(6, dtype=torch.long)})
    with pytest.raises(InvalidInput, match=r"shape of A\(x\), \(6, 2\), got \(6, 3\)"):
        draw(system(), torch.zeros(6, 3))
    with pytest.raises(SpecError, match="lambda_ must be above 0"):
        DataProx(operator=OPERATOR, lambda_=0.0)
    with pytest.raises(SpecError, match="zeta must be at most 1"):
        DiffPir(zeta=1.5)
    with pytest.raises(Unsupported, match="from 2 to 500 steps, got steps=501"):
        draw(system(sampler=DiffPir(steps=501)), y)

    def endpoint(x_t, t, cond, *, s=None, rng=None):
        return Endpoint(value=x_t, x_t=x_t, t=t)

    with pytest.raises(Unsupported, match="got kind 'endpoint'"):
        DataProx(operator=OPERATOR).denoiser(endpoint, system())(states(6, 4), as_time(0.5), Condition(y=y))
