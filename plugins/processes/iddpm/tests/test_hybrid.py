import pytest
import torch
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.parameterization import Eps
from suffuse_ddpm.simple import Simple
from suffuse_ddpm.unet import UNet
from suffuse_iddpm.bound import Bound
from suffuse_iddpm.denoiser import LearnedRange
from suffuse_iddpm.hybrid import Hybrid
from suffuse_iddpm.ring import CHAIN, held, ring_data
from suffuse_iddpm.terms import term
from suffuse_iddpm.transition import log_range
from suffuse_iddpm.vlb import Vlb

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.prediction import Mean, Variance
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.parts import LogSnr, Range
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.fitting import seeded
from suffuse.testing.mixture import GaussianMixture

F64 = torch.float64


def batch(n=64, seed=0):
    return Batch(x=ring_data(n, seed), cond=Condition(), index=torch.arange(n))


def test_it_is_the_sum_of_its_two_losses_at_the_same_draws():
    system, rng = held(0.4), Rng.of(0, 64)
    simple = Simple().loss("model", batch(), system, {}, rng)
    found = Hybrid(levels=0).loss("model", batch(), system, {}, rng)
    both = Hybrid(levels=0, weight=2e-3).loss("model", batch(), system, {}, rng)
    torch.testing.assert_close(2 * found.per_sample - both.per_sample, simple.per_sample, rtol=1e-4, atol=1e-5)
    assert set(found.logs) == {"mse", "bits_per_dim"}


def test_terms_are_divergences():
    """Element by element, by torch's own Gaussians; at the chain's first step, a density."""
    g = torch.Generator().manual_seed(0)
    x0, guess, x_t = torch.randn(3, 29, 4, dtype=F64, generator=g)
    chain = Discrete(T=30, schedule="cosine")
    n = torch.arange(2, 31)
    t, s = chain.time_of(n), chain.time_of(n - 1)
    variance = (log_range(chain, t, s)[0][:, None] + torch.rand(29, 4, dtype=F64, generator=g)).exp()
    said = Mean(value=guess, x_t=x_t, t=t, process=chain, variance=Variance(variance, of="transition"))
    q, p = chain.posterior(x_t, x0, t, s), chain.posterior(x_t, guess, t, s)
    laws = [torch.distributions.Normal(q.mean, q.std[:, None]), torch.distributions.Normal(p.mean, variance.sqrt())]
    exact = torch.distributions.kl_divergence(*laws).sum(1)
    torch.testing.assert_close(term(chain, x0, said, t, s, 0), exact, rtol=1e-8, atol=1e-10)
    density = -torch.distributions.Normal(guess, variance.sqrt()).log_prob(x0).sum(1)
    torch.testing.assert_close(term(chain, x0, said, t, torch.zeros_like(s), 0), density)


def test_levels_are_coded_with_the_learned_variance():
    """Probabilities of all levels sum to one; states must be in [-1, 1]."""
    chain, t = Discrete(T=30, schedule="cosine"), torch.tensor(1 / 30, dtype=F64)
    x = torch.linspace(-1, 1, 17, dtype=F64)[:, None]
    spread = torch.tensor(0.02, dtype=F64).expand(17, 1)
    said = Mean(value=torch.full_like(x, 0.3), x_t=x, t=t, process=chain, variance=Variance(spread, of="transition"))
    nats = term(chain, x, said, t, torch.zeros_like(t), 17)
    torch.testing.assert_close((-nats).exp().sum(), torch.ones((), dtype=F64))
    with pytest.raises(Unsupported, match="suffuse/range"):
        Hybrid().loss("model", batch(), held(0.0), {}, Rng.of(0, 64))


@pytest.mark.parametrize("steps", [3, 20])
def test_with_exact_mean_and_variance_the_bound_of_gaussian_data_is_their_entropy(steps):
    """In any number of steps: every reverse step is the true one."""
    spread = torch.tensor([0.3, 1.5], dtype=F64)
    law = GaussianMixture(weights=torch.ones(1), means=torch.tensor([[0.8, -0.5]]), covariances=spread[None])
    found = Bound(steps=steps, levels=0).run(
        mixture_system(law, CHAIN, variance=True), {"data": truth(law, 1500, 0)}, Rng.of(1, 1500)
    )
    entropy = float((2 * torch.pi * torch.e * spread).log().mean()) / 2 / torch.log(torch.tensor(2.0))
    assert abs(found.metrics["bound"] - float(entropy)) < 5 * found.metrics["standard_error"]


def test_the_bound_s_parts_add_up_and_batches_do_not_matter():
    x = ring_data(7, 3)
    whole, split = (Bound(steps=9, levels=0, batch=b).run(held(0.3), {"data": x}, Rng.of(1, 7)) for b in (256, 3))
    torch.testing.assert_close(whole.states["bound"], split.states["bound"], rtol=1e-5, atol=1e-4)
    m = whole.metrics
    assert m["prior"] + m["divergence"] + m["decoder"] == pytest.approx(m["bound"], rel=1e-5)
    assert len(whole.tables["steps"]) == 9
    assert whole.tables["steps"][-1]["s"] == 0


@seeded(0)
def test_images_learn_it():
    net = UNet(channels=1, width=8, multipliers=(1, 2), outputs=2, dropout=0.0)
    model = Preconditioned(backbone=net, parameterization=Eps(), trained=Discrete(T=20, schedule="cosine"))
    system = System(model=LearnedRange(model=model), space=Euclidean(shape=(1, 8, 8)), codec=Range(low=0.0, high=16.0))
    x = torch.randint(0, 17, (6, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float() / 8 - 1
    images = Batch(x=x, cond=Condition(), index=torch.arange(6))
    for objective in (Hybrid(levels=17), Vlb(levels=17)):
        loss = objective.loss("model", images, system, objective.start(system, Rng.of(0, 6)), Rng.of(0, 6))
        slope = torch.autograd.grad(loss.per_sample.sum(), net.last.weight)[0]
        assert bool(slope.isfinite().all())
        assert bool((slope.flatten(1).abs().amax(1) > 0).all())


@pytest.mark.parametrize("objective", [Hybrid(), Vlb()])
def test_they_need_data(objective):
    with pytest.raises(InvalidInput, match="data"):
        objective.loss("model", None, held(0.0), {}, Rng.of(0, 2))


def test_settings_and_grids_are_checked():
    with pytest.raises(SpecError, match="weight"):
        Hybrid(weight=-1.0)
    with pytest.raises(SpecError, match="history"):
        Vlb(history=-1)
    with pytest.raises(SpecError, match="uniform"):
        Vlb(uniform=0.0)
    with pytest.raises(Unsupported, match="t = 1"):
        Bound(steps=5, levels=0, grid=LogSnr(start=0.9)).run(held(0.0), {"data": ring_data(2, 0)}, Rng.of(0, 2))
