import pytest
import torch
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.linear import Linear
from suffuse_ddpm.times import Steps, Strided

from suffuse.contracts.condition import Condition
from suffuse.contracts.sampler import Carry
from suffuse.errors import SpecError, Unsupported
from suffuse.parts import Stop
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import compare, covariance_within

F64 = torch.float64
MIXTURE = GaussianMixture.random(dim=2, components=3, seed=1)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_chain_is_the_published_algorithm(variance):
    """Algorithm 2 written out, with the same noise."""
    chain = Discrete(T=40)
    system = mixture_system(MIXTURE, chain, sampler=Ancestral(steps=40, variance=variance))
    infos = [info for _, info in system.stream(5, seed=3, dtype=F64)]
    assert len(infos) == 40
    betas, alpha_bar = chain.betas, torch.cat([torch.ones(1, dtype=F64), chain.alpha_bar])
    x = infos[0].x_t
    for i, info in enumerate(infos):
        n = 40 - i
        beta, after, before = betas[n - 1], alpha_bar[n], alpha_bar[n - 1]
        eps = -(1 - after).sqrt() * MIXTURE.score(x, after.sqrt(), (1 - after).sqrt())
        mean = (x - beta / (1 - after).sqrt() * eps) / (1 - beta).sqrt()
        spread = beta if variance == "large" else (1 - before) / (1 - after) * beta
        if n == 1:
            assert info.transition is None
            x = mean
        else:
            torch.testing.assert_close(info.transition.std, spread.sqrt(), rtol=1e-9, atol=0)
            torch.testing.assert_close(info.transition.mean, mean, rtol=1e-9, atol=1e-9)
            normal = torch.distributions.Normal(mean, spread.sqrt())
            torch.testing.assert_close(info.transition.log_prob(info.x_s), normal.log_prob(info.x_s).sum(1))
            x = info.x_s
        torch.testing.assert_close(info.x_s, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("process", [Linear(), Cosine(), Discrete()])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_converges_to_the_mixture(process, variance):
    system = mixture_system(MIXTURE, process, sampler=Ancestral(steps=200, variance=variance))
    x = system.sample(1000, seed=5, dtype=F64)
    p = compare(x, truth(MIXTURE, 1000, 7), "energy", permutations=500, seed=0).p_value
    assert p > 0.005


def test_large_variance_is_exact_for_unit_gaussian_data_in_few_steps():
    """Every step keeps variance 1 but the last, which adds no noise: it leaves alpha_t^2."""
    unit = GaussianMixture.single([0.0, 0.0])
    system = mixture_system(unit, Linear(), sampler=Ancestral(steps=4, terminal=Stop()))
    x = system.sample(20_000, seed=1, dtype=F64)
    assert covariance_within(x, torch.eye(2, dtype=F64))
    small = mixture_system(unit, Linear(), sampler=Ancestral(steps=4, terminal=Stop(), variance="small"))
    assert not covariance_within(small.sample(20_000, seed=1, dtype=F64), torch.eye(2, dtype=F64))


def test_a_sample_does_not_depend_on_its_batch():
    system = mixture_system(MIXTURE, Discrete(), sampler=Ancestral(steps=20))
    whole = system.sample(5, seed=2, dtype=F64)
    torch.testing.assert_close(system.sample(5, seed=2, batch=2, dtype=F64), whole, rtol=0, atol=1e-12)


def test_each_row_at_its_own_time():
    """Rows that end at 0 beside rows that do not."""
    system = mixture_system(MIXTURE, Linear(), sampler=Ancestral())
    x, rng = torch.ones(2, 2, dtype=F64), Rng.of(0, 2)
    t, s = torch.tensor([0.5, 0.1], dtype=F64), torch.tensor([0.3, 0.0], dtype=F64)
    both, _ = system.sampler.step(system, Carry(x=x, cond=Condition()), t, s, rng)
    for i in (0, 1):
        one, _ = system.sampler.step(system, Carry(x=x[i : i + 1], cond=Condition()), t[i], s[i], rng.index([i]))
        torch.testing.assert_close(both.x[i : i + 1], one.x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("s", [0.5, 0.6])
def test_it_does_not_go_back(s):
    system = mixture_system(MIXTURE, Linear(), sampler=Ancestral())
    carry = Carry(x=torch.ones(1, 2), cond=Condition())
    with pytest.raises(Unsupported, match="renoise"):
        system.sampler.step(system, carry, torch.tensor(0.5).double(), torch.tensor(s).double(), Rng.of(0, 1))


def test_strided_stops_at_whole_steps():
    assert torch.equal(Strided().times(Discrete(), 3) * 1000, torch.tensor([1000, 667, 333], dtype=F64))
    assert torch.equal(Strided(T=10).times(Linear(), 10) * 10, torch.arange(10, 0, -1, dtype=F64))
    with pytest.raises(Unsupported, match="steps"):
        Strided().times(Discrete(T=50), 51)
    with pytest.raises(Unsupported, match="T="):
        Strided().times(Linear(), 5)
    with pytest.raises(SpecError, match="T must"):
        Strided(T=0)


def test_times_are_the_chain_s_own():
    t, weight = Steps().draw(Discrete(T=30), 3000, Rng.of(0, 3000))
    n = t * 30
    assert torch.equal(n, n.round())
    assert set(n.int().tolist()) == set(range(1, 31))
    assert bool((weight == 1).all())
    t, _ = Steps().draw(Linear(), 3000, Rng.of(0, 3000))
    assert bool(((t > 0) & (t <= 1)).all())
    assert len(t.unique()) == 3000
    # Five standard errors of the mean of a uniform.
    assert abs(float(t.mean()) - 0.5) < 5 * (1 / 12 / 3000) ** 0.5
