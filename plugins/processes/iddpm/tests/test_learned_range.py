import attrs
import pytest
import torch
from suffuse_ddpm.chain import ReverseChain
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.parameterization import Eps
from suffuse_iddpm.ancestral import Ancestral
from suffuse_iddpm.denoiser import LearnedRange
from suffuse_iddpm.ring import CHAIN, RING, held
from suffuse_iddpm.spaced import Spaced
from suffuse_iddpm.transition import log_range
from suffuse_mlp.backbone import Mlp

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.sampler import Carry
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput, Unsupported
from suffuse.parts import Clip, Stop
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.fitting import seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Explosion
from suffuse.testing.statistics import covariance_within, mean_within

F64 = torch.float64


@seeded(0)
def random_system(outputs=4, trained=CHAIN, **parts):
    net = Mlp(shape=(2,), width=16, depth=1, frequencies=4, outputs=outputs).double()
    torch.nn.init.normal_(net.last.weight, std=0.3)
    model = Preconditioned(backbone=net, parameterization=Eps(), trained=trained)
    return System(model=LearnedRange(model=model), space=Euclidean(shape=(2,)), **parts)


@pytest.mark.parametrize("process", [Discrete(), Discrete(T=4000, schedule="cosine"), Cosine()])
def test_the_ends_of_the_range_are_ddpm_s_two_variances(process):
    """At the first step too, where beta-tilde is that of the second."""
    small, large = (ReverseChain.of(process, None, variance) for variance in ("small", "large"))
    n = torch.arange(1, small.T + 1)
    low, high = log_range(process, *small.times(n))
    torch.testing.assert_close((low / 2).exp(), small.std(n), rtol=1e-10, atol=0)
    torch.testing.assert_close((high / 2).exp()[1:], large.std(n)[1:], rtol=1e-10, atol=0)
    beta = process.transition(*small.times(torch.ones((), dtype=torch.int64))).sigma
    torch.testing.assert_close((high[0] / 2).exp(), beta, rtol=1e-10, atol=0)


def test_the_range_is_finite_wherever_a_step_may_go():
    t, s = torch.tensor([1.0, 0.7, 1e-9, 0.5], dtype=F64), torch.tensor([0.0, 0.0, 0.0, 0.5], dtype=F64)
    for process in (CHAIN, Cosine(), Explosion()):
        assert all(bool(w.isfinite().all()) for w in log_range(process, t, s))


def test_v_interpolates_logarithms():
    system = random_system()
    x, t, s = torch.randn(3, 2, dtype=F64), torch.tensor([0.2, 0.5, 0.9]).double(), torch.tensor(0.1).double()
    said = system.plain(x, t, Condition(), s=s)
    raw = system.model.model(x, t, Condition(), process=CHAIN).value
    assert torch.equal(said.value, raw[:, :2])
    low, high = (w[:, None] for w in log_range(CHAIN, t, s))
    expected = (low + high) / 2 + raw[:, 2:] * (high - low) / 2
    torch.testing.assert_close(said.variance.value.log(), expected)
    assert said.variance.of == "transition"
    assert system.plain(x, t, Condition()).variance is None  # a variance is that of a step to somewhere


def test_under_another_schedule_steps_are_the_same_up_to_scale():
    """x'_u = k x_t at equal log-SNR: mean and deviation of the step scale alike."""
    system = random_system(sampler=Ancestral())
    process = Explosion()
    t, s = torch.tensor([0.9, 0.5], dtype=F64), torch.tensor([0.6, 0.2], dtype=F64)
    u, w = process.time(CHAIN.log_snr(t)), process.time(CHAIN.log_snr(s))
    k_t, k_s = (
        (torch.hypot(*process.scalars(b)) / torch.hypot(*CHAIN.scalars(a)))[:, None] for a, b in ((t, u), (s, w))
    )
    x, rng = torch.randn(2, 2, dtype=F64), Rng.of(0, 2)
    laws = []
    for one, state, a, b in ((system, x, t, s), (attrs.evolve(system, process=process), k_t * x, u, w)):
        laws.append(one.step(one, Carry(x=state, cond=Condition()), a, b, rng)[1].transition)
    torch.testing.assert_close(laws[1].mean, k_s * laws[0].mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(laws[1].std, k_s * laws[0].std, rtol=1e-6, atol=0)


@pytest.mark.parametrize("outputs", [2, 3, 6])
def test_a_network_without_a_second_half_is_refused(outputs):
    with pytest.raises(InvalidInput, match="outputs=4"):
        random_system(outputs).plain(torch.zeros(1, 2).double(), torch.tensor(0.5).double(), Condition())


@pytest.mark.parametrize("steps", [2, 5])
def test_with_the_exact_variance_gaussian_data_are_sampled_exactly_in_any_number_of_steps(steps):
    """The true reverse step is Gaussian then; neither beta nor beta-tilde is its variance."""
    spread = torch.tensor([0.3, 1.5], dtype=F64)
    law = GaussianMixture(weights=torch.ones(1), means=torch.tensor([[0.8, -0.5]]), covariances=spread[None])
    sampler = Ancestral(steps=steps, grid=Spaced(), terminal=Stop())
    x = mixture_system(law, CHAIN, variance=True, sampler=sampler).sample(20_000, seed=1, dtype=F64)
    alpha, sigma = CHAIN.scalars(sampler.times(CHAIN)[-1])
    assert mean_within(x, alpha * law.means[0])
    assert covariance_within(x, alpha**2 * torch.diag(spread) + sigma**2 * torch.eye(2).double())
    fixed = attrs.evolve(mixture_system(law, CHAIN, variance=True), model=held(1.0).model)
    assert fixed.model.gives >= sampler.needs - {"gaussian"}


def test_clipping_x0_keeps_the_variance():
    system = random_system(sampler=Ancestral(steps=4, grid=Spaced()), guidance=Clip(low=-0.1, high=0.1))
    infos = [info for _, info in system.stream(3, seed=0, dtype=F64)]
    assert bool((infos[-1].x_s.abs() <= 0.1).all())
    plain = attrs.evolve(system, guidance=None).plain(infos[0].x_t, infos[0].t, Condition(), s=infos[0].s)
    torch.testing.assert_close(infos[0].transition.std, plain.variance.value.sqrt())


class Mixing(Guidance):
    def denoiser(self, inner, system):
        def denoise(x_t, t, cond, *, s=None, rng=None):
            one = inner(x_t, t, cond, s=s, rng=rng)
            return one.affine([0.5], [one])

        return denoise


def test_a_lost_variance_is_told():
    with pytest.raises(Unsupported, match="has none"):
        random_system(sampler=Ancestral(steps=4), guidance=attrs.frozen(Mixing)()).sample(2, dtype=F64)
    with pytest.raises(IncompatibleComponents, match="variance"):
        mixture_system(RING, CHAIN, sampler=Ancestral())


def test_rows_that_end_beside_rows_that_do_not():
    system = random_system(sampler=Ancestral())
    x, rng = torch.ones(2, 2, dtype=F64), Rng.of(0, 2)
    t, s = torch.tensor([0.5, 0.1], dtype=F64), torch.tensor([0.3, 0.0], dtype=F64)
    both, _ = system.step(system, Carry(x=x, cond=Condition()), t, s, rng)
    for i in (0, 1):
        one, _ = system.step(system, Carry(x=x[i : i + 1], cond=Condition()), t[i], s[i], rng.index([i]))
        torch.testing.assert_close(both.x[i : i + 1], one.x, rtol=1e-12, atol=1e-12)
    with pytest.raises(Unsupported, match="renoise"):
        system.step(system, Carry(x=x, cond=Condition()), s, t, rng)
