"""DPS against closed forms, and in company."""

import math

import attrs
import pytest
import torch
from suffuse_cfg.guidance import Cfg
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.linear import Linear
from suffuse_dps.claims import Gradient, NearerPosterior, PhaseRetrieved
from suffuse_dps.guidance import Dps
from suffuse_edm.deterministic import Heun
from suffuse_edm.process import Edm
from suffuse_edm.stochastic import Stochastic
from suffuse_operators.dense import Matrix
from suffuse_operators.masks import Inpaint
from suffuse_operators.noise import GaussianNoise, PoissonNoise
from suffuse_operators.nonlinear import HighDynamicRange

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import Gaussian, Kernel, as_time
from suffuse.contracts.sampler import Carry
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.parts import Chain, Uniform
from suffuse.rng import Rng
from suffuse.testing.exact import ExactDenoiser, mixture_system
from suffuse.testing.inverse import LinearInverse
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, FirstOrder

F64 = torch.float64
MIXTURE = GaussianMixture.random(dim=4, components=4, seed=0)
OPERATOR = Matrix(rows=((1.0, 0.0, -0.5, 0.0), (0.0, 1.0, 1.0, 0.3)), noise=GaussianNoise(std=0.1))


def measured(n=6, operator=OPERATOR, seed=0):
    x0 = MIXTURE.sample(torch.Generator().manual_seed(seed), n)
    return x0, operator.measure(x0, Rng.of(seed, n))


def system(process=None, sampler=None, **guidance):
    sampler = sampler or FirstOrder(steps=20, grid=Uniform(start=0.99))
    guidance = Dps(**{"operator": OPERATOR, "zeta": 0.3, **guidance})
    return mixture_system(MIXTURE, process or Circle(), sampler=sampler, guidance=guidance)


def draw(s, y, **settings):
    return s.sample(cond={"y": y}, **{"seed": 3, "dtype": F64, **settings})


def one_step(s, x, y, t=0.6, rng=None):
    t = as_time(t)
    return s.step(s, Carry(x=x, cond=Condition(y=y)), t, t / 2, rng or Rng.of(0, len(x)))


def test_zeta_zero_is_the_sampler_itself():
    _, y = measured()
    off = system(sampler=Ancestral(steps=20), zeta=0.0)
    assert torch.equal(draw(off, y), attrs.evolve(off, guidance=None).sample(6, seed=3, dtype=F64))


@pytest.mark.parametrize("claim", [Gradient(), NearerPosterior(), PhaseRetrieved()])
def test_claims_hold_and_fail_when_sabotaged(claim):
    assert claim.measure(0).effect > claim.margin
    assert claim.measure(0, sabotage=True).effect <= claim.margin


def test_on_isotropic_data_the_correction_is_along_the_exact_likelihood_score():
    """A = I, x_0 ~ N(m, s^2): the exact score is ``J r / (Var[x_0 | x_t] + std^2)``; DPS has ``2 zeta J r / |r|``."""
    spread, std, zeta = 0.7, 0.2, 0.3
    prior = GaussianMixture.single(torch.tensor([0.3, -0.2, 1.0]), spread**2)
    operator = Matrix.of(torch.eye(3), noise=GaussianNoise(std=std))
    s = mixture_system(prior, Circle(), sampler=FirstOrder(), guidance=Dps(operator=operator, zeta=zeta))
    x, y = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    moved = one_step(s, x, y)[0].x - one_step(attrs.evolve(s, guidance=None), x, y)[0].x
    alpha, sigma = Circle().scalars(as_time(0.6))
    problem = LinearInverse(prior, torch.eye(3), torch.tensor(std**2))
    score = problem.likelihood_score(x, y, alpha, sigma)
    v = spread**2 * sigma**2 / (alpha**2 * spread**2 + sigma**2)
    norm = (y - prior.denoise(x, alpha, sigma)).norm(dim=1, keepdim=True)
    torch.testing.assert_close(moved, score * 2 * zeta * (v + std**2) / norm)


def test_permuting_the_batch_permutes_the_samples():
    """It fails for a norm over the whole batch."""
    _, y = measured()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    seeds = torch.arange(10, 16)
    whole = system().sample(cond={"y": y}, seeds=seeds.tolist(), dtype=F64)
    other = system().sample(cond={"y": y[order]}, seeds=seeds[order].tolist(), dtype=F64)
    torch.testing.assert_close(other, whole[order], rtol=0, atol=1e-12)


@attrs.frozen(kw_only=True)
class Stretched(Gaussian):
    """``Circle`` with its states divided by alpha: variance exploding, at the same log-SNR."""

    def kernel(self, t):
        k = Circle().kernel(t)
        return Kernel(torch.ones_like(t), k.sigma / k.alpha)

    def time(self, log_snr):
        return Circle().time(log_snr)


def test_guided_samples_do_not_depend_on_the_scale_of_the_process():
    _, y = measured()
    start = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    alpha, _ = Circle().scalars(as_time(0.99))
    ends = [draw(system(p), y, start=x) for p, x in ((Circle(), start), (Stretched(), start / alpha))]
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=1e-9)
    assert (ends[0] - draw(system(zeta=0.0), y, start=start)).abs().max() > 0.1


@pytest.mark.parametrize(
    ("process", "sampler"),
    [
        (Discrete(), Ancestral(steps=40, variance="small")),
        (Linear(), Ddim(steps=40)),
        (Linear(), Ddim(steps=40, eta=1.0)),
        (Edm(), Heun(steps=20)),
        (Edm(), Stochastic(steps=20, s_churn=10.0)),
    ],
    ids=lambda part: type(part).__name__,
)
def test_any_sampler_comes_nearer_to_the_measurement(process, sampler):
    x0, y = measured(64)
    guided = system(process, sampler, zeta=0.2)
    near, far = (draw(system(process, sampler, zeta=z), y) for z in (0.2, 0.0))
    residual = [(OPERATOR.A(x) - y).norm(dim=1).mean() for x in (near, far)]
    assert residual[0] < 0.3 * residual[1]
    assert (near - x0).norm(dim=1).mean() < 0.8 * (far - x0).norm(dim=1).mean()
    one = draw(guided, y[:3], seeds=[5, 6, 7])
    torch.testing.assert_close(draw(guided, y[1:2], seeds=[6]), one[1:2], rtol=0, atol=1e-9)


def test_with_classifier_free_guidance_both_act():
    _, y = measured()
    cond = {"y": y, "label": torch.arange(6) % 4}
    cfg, dps = Cfg(scale=2.0), Dps(operator=OPERATOR, zeta=0.3)
    both = attrs.evolve(system(), guidance=Chain(parts=(cfg, dps)))
    told = []
    x = both.sample(cond=cond, seed=3, dtype=F64, on_step=lambda _, info: told.append(info.nfe))
    assert told == [2] * 20
    for part in (cfg, dps):
        alone = attrs.evolve(system(), guidance=part)
        mine = cond if part is dps else {"label": cond["label"]}
        assert (x - alone.sample(cond=mine, seed=3, dtype=F64)).abs().max() > 1e-2


def test_photon_noise_weighs_each_residual_by_its_count():
    noise = PoissonNoise(peak=20.0)
    guidance = Dps(operator=Matrix.of(torch.eye(3), noise=noise))
    y, x0 = torch.tensor([[-1.0, 0.0, 1.0]], dtype=F64), torch.tensor([[-0.5, 0.2, 0.5]], dtype=F64)
    counts = torch.tensor([1.0, 10.0, 20.0], dtype=F64)  # the dark one counts as 1
    wanted = ((y - x0).square() * counts.mean() / counts).sum(1).sqrt()
    torch.testing.assert_close(guidance.distance(y, x0), wanted)
    plain = attrs.evolve(guidance, operator=Matrix.of(torch.eye(3)))
    torch.testing.assert_close(plain.distance(y, x0), (y - x0).norm(dim=1))


@pytest.mark.parametrize("noise", [GaussianNoise(std=0.05), PoissonNoise(peak=40.0)])
@pytest.mark.parametrize("operator", [Inpaint(keep=0.75), HighDynamicRange()])
def test_noise_laws_and_nonlinear_operators(operator, noise):
    operator = attrs.evolve(operator, noise=noise)
    x0 = MIXTURE.sample(torch.Generator().manual_seed(0), 64).clamp(-1, 1)
    y = operator.measure(x0, Rng.of(0, 64))
    gain = [operator.log_likelihood(y, draw(system(operator=operator, zeta=z), y)).median() for z in (0.2, 0.0)]
    assert gain[0] > gain[1] + 1


def test_a_guided_step_knows_its_law():
    _, y = measured()
    s = system(sampler=Ancestral(steps=10))
    _, info = one_step(s, torch.randn(6, 4, dtype=F64, generator=torch.Generator().manual_seed(0)), y)
    again = info.transition.sample(Rng.of(0, 6).at("noise"))
    torch.testing.assert_close(again, info.x_s, rtol=0, atol=1e-12)
    assert not info.x_s.requires_grad


def test_a_caller_who_asks_gets_gradients_through_the_guidance():
    """Against central differences: the step is smooth, so their error is of the order of h^2."""
    _, y = measured(3)
    s = system()
    g = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, 3, 4, generator=g, dtype=F64)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((one_step(s, leaf, y)[0].x * v).sum(), leaf)
    h, toward = 1e-5, torch.randn(3, 4, generator=g, dtype=F64)
    up, down = ((one_step(s, x + k * h * toward, y)[0].x * v).sum() for k in (1, -1))
    torch.testing.assert_close((slope * toward).sum(), (up - down) / (2 * h), rtol=1e-6, atol=1e-8)
    assert not one_step(s, x, y)[0].x.requires_grad


class Silent(ExactDenoiser):
    """Without gradients."""

    @torch.no_grad()
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


def test_bad_input_is_refused():
    _, y = measured()
    with pytest.raises(InvalidInput, match=r"needs the condition's entry y, got \['label'\]"):
        system().sample(cond={"label": torch.zeros(6, dtype=torch.long)})
    with pytest.raises(InvalidInput, match=r"shape of A\(x\), \(6, 2\), got \(6, 3\)"):
        draw(system(), torch.zeros(6, 3))
    with torch.inference_mode(), pytest.raises(Unsupported, match="outside torch"):
        draw(system(), y)
    with pytest.raises(SpecError, match="zeta must be at least 0"):
        Dps(operator=OPERATOR, zeta=-1.0)
    silent = attrs.evolve(system(), model=Silent(mixture=MIXTURE))
    with pytest.raises(Unsupported, match="autograd through the denoiser"):
        draw(silent, y)


def test_samples_can_be_drawn_without_autograd():
    _, y = measured()
    with torch.no_grad():
        quiet = draw(system(), y)
    torch.testing.assert_close(quiet, draw(system(), y), rtol=0, atol=0)
    assert math.isfinite(quiet.sum())
