import math
from itertools import pairwise

import pytest
import torch
from suffuse_ddpm.bound import Bound
from suffuse_ddpm.chain import ReverseChain
from suffuse_ddpm.decoder import log_level_probability
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.linear import Linear
from suffuse_ddpm.progressive import Progressive
from suffuse_ddpm.simple import Simple
from suffuse_ddpm.vlb import Vlb, VlbWeight

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.parts import Range
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.mixture import GaussianMixture

F64 = torch.float64
UNIT = GaussianMixture.single([0.0, 0.0])
BITS = math.log(2)


def unit_system(T=40):
    return mixture_system(UNIT, Discrete(T=T))


def test_the_bound_is_tight_for_unit_gaussian_data():
    """With variance beta the exact chain is the data's own reverse chain, so the bound is the entropy...

    ... but for the published variance of the first step, beta-tilde of the second instead of beta: a known gap.
    """
    x = truth(UNIT, 400, 0)
    found = Bound(levels=0).run(unit_system(), {"data": x}, Rng.of(1, 400)).metrics
    chain = Discrete(T=40)
    ratio = float(chain.betas[0] / ReverseChain.of(chain, None, "large").std(torch.tensor(1)) ** 2)
    exact = 0.5 * math.log(2 * math.pi * math.e) + 0.5 * (ratio - 1 - math.log(ratio))
    assert abs(found["bound"] - exact / BITS) < 5 * found["standard_error"]
    # The small variance pays for being wrong: per step 1/2 (r - 1 - log r) more, where 1/r is beta-tilde/beta.
    worse = Bound(levels=0, variance="small").run(unit_system(), {"data": x}, Rng.of(1, 400)).metrics
    n = torch.arange(2, 41)
    r = (ReverseChain.of(chain, None, "large").std(n) / ReverseChain.of(chain, None, "small").std(n)) ** 2
    gap = float(((r - 1 - r.log()) / 2).sum()) / BITS
    both = 5 * math.hypot(found["standard_error"], worse["standard_error"])
    assert gap > both
    assert abs(worse["bound"] - found["bound"] - gap) < both


def test_the_parts_add_up_and_batches_do_not_matter():
    x = truth(UNIT, 7, 0)
    whole = Bound(levels=0).run(unit_system(), {"data": x}, Rng.of(1, 7))
    split = Bound(levels=0, batch=3).run(unit_system(), {"data": x}, Rng.of(1, 7))
    torch.testing.assert_close(whole.states["bound"], split.states["bound"], rtol=1e-12, atol=1e-12)
    m = whole.metrics
    assert m["prior"] + m["divergence"] + m["decoder"] == pytest.approx(m["bound"], abs=1e-9)
    steps = [row["bits_per_dim"] for row in whole.tables["steps"]]
    assert len(steps) == 40
    assert sum(steps) == pytest.approx(m["decoder"] + m["divergence"], abs=1e-9)
    # KL(N(alpha x, sigma^2) || N(0, 1)), mean over the data
    alpha, sigma = Discrete(T=40).scalars(torch.ones((), dtype=F64))
    prior = 0.5 * (sigma**2 + alpha**2 * (x**2).mean() - 1 - 2 * sigma.log())
    assert m["prior"] == pytest.approx(float(prior) / BITS, rel=1e-9)


def test_terms_are_divergences_of_the_chain_s_gaussians():
    process = Discrete(T=30)
    g = torch.Generator().manual_seed(0)
    x0, guess, x_t = torch.randn(3, 29, 4, dtype=F64, generator=g)
    n = torch.arange(2, 31)
    for variance in ("small", "large"):
        chain = ReverseChain.of(process, None, variance)
        t, s = chain.times(n)
        q, p = process.posterior(x_t, x0, t, s), process.posterior(x_t, guess, t, s)
        laws = [
            torch.distributions.Normal(q.mean, q.std[:, None]),
            torch.distributions.Normal(p.mean, chain.std(n)[:, None]),
        ]
        exact = torch.distributions.kl_divergence(*laws).sum(1)
        torch.testing.assert_close(chain.term(x0, guess, n), exact, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_weight_is_the_paper_s(variance):
    chain = Discrete()
    n = torch.arange(2, 1001)
    beta, after, before = chain.betas[n - 1], chain.alpha_bar[n - 1], chain.alpha_bar[n - 2]
    spread = beta if variance == "large" else (1 - before) / (1 - after) * beta
    expected = beta**2 / (2 * spread * (1 - beta) * (1 - after))
    got = VlbWeight(variance=variance).weight(chain, chain.time_of(n), (0.0, 1.0))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=0)
    first = VlbWeight(variance=variance).weight(chain, chain.time_of(torch.tensor(1)), (0.0, 1.0))
    substitute = (1 - chain.alpha_bar[0]) / (1 - chain.alpha_bar[1]) * chain.betas[1]
    expected = chain.betas[0] / (2 * substitute * (1 - chain.betas[0]))
    torch.testing.assert_close(first, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_level_probabilities_sum_to_one(levels):
    x = torch.linspace(-1, 1, levels, dtype=F64)
    for mean in (-1.7, -0.3, 0.0, 0.999, 30.0):
        for std in (1e-3, 0.01, 0.3, 5.0):
            logs = log_level_probability(x, torch.full_like(x, mean), torch.tensor(std, dtype=F64), levels)
            assert float(logs.logsumexp(0).abs()) < 1e-12


def test_level_probability_is_finite_with_a_gradient_far_off():
    for dtype in (torch.float32, torch.float64):
        mean = torch.tensor([-50.0, -1.0, 0.2, 1.0, 50.0], dtype=dtype, requires_grad=True)
        x = torch.tensor([1.0, 1.0, -1.0, 0.0, 0.5], dtype=dtype)
        logs = log_level_probability(x, mean, torch.tensor(7e-3, dtype=dtype), 5)
        (slope,) = torch.autograd.grad(logs.sum(), mean)
        assert bool(logs.isfinite().all() & slope.isfinite().all())
        assert slope.sign().tolist() == [1, 1, -1, -1, -1]


def test_the_objective_estimates_the_bound():
    """Its mean over times and noise is the bound without L_T; within five standard errors."""
    x = truth(UNIT, 4000, 0)
    system = unit_system()
    batch = Batch(x=x, cond=Condition(), index=torch.arange(4000))
    loss = Vlb(levels=0, variance="large").loss("model", batch, system, {}, Rng.of(3, 4000)).per_sample
    m = Bound(levels=0).run(system, {"data": x[:500]}, Rng.of(1, 500)).metrics
    error = math.hypot(float(loss.std()) / 4000**0.5, m["standard_error"])
    assert abs(float(loss.mean()) - (m["divergence"] + m["decoder"])) < 5 * error


def test_discrete_data_cost_no_more_bits_than_a_uniform_code():
    """Two equally likely levels, almost exactly modelled: one bit each."""
    pair = GaussianMixture(
        weights=torch.ones(2),
        means=torch.tensor([[-1.0], [1.0]], dtype=F64),
        covariances=torch.full((2,), 1e-6, dtype=F64),
    )
    system = mixture_system(pair, Discrete(T=200), codec=Range(low=0.0, high=1.0))
    data = (torch.arange(100) % 2).double()[:, None]
    found = Bound(levels=2, variance="small").run(system, {"data": data}, Rng.of(0, 100)).metrics
    assert found["bound"] > 1 - 5 * found["standard_error"]
    assert found["bound"] < 1.2  # a chain of 200 steps loses little


def test_simple_is_a_plain_mean_square():
    system = unit_system()
    x = truth(UNIT, 6, 0)
    batch, rng = Batch(x=x, cond=Condition(), index=torch.arange(6)), Rng.of(0, 6)
    loss = Simple().loss("model", batch, system, {}, rng)
    t, _ = Simple().times.draw(system.process, 6, rng)
    made = system.process.corrupt(x, t, rng=rng)
    alpha, sigma = (w[:, None] for w in system.process.scalars(t))
    # The exact denoiser says v, which is zero for this data.
    torch.testing.assert_close(loss.per_sample, (alpha * made.noise - sigma * x).square().mean(1))
    weighted = Simple(weighting=VlbWeight()).loss("model", batch, system, {}, rng).per_sample
    weight = VlbWeight().weight(system.process, t, (-sigma[:, 0], alpha[:, 0]))
    torch.testing.assert_close(weighted, loss.per_sample * weight)


def test_a_chain_over_a_continuous_process():
    x = truth(UNIT, 50, 0)
    m = Bound(levels=0, T=20).run(mixture_system(UNIT, Linear()), {"data": x}, Rng.of(0, 50))
    assert len(m.tables["steps"]) == 20
    assert ReverseChain.of(Linear(), None, "small").T == 1000


def test_progressive_decoding():
    pair = GaussianMixture.single([0.1] * 16, 0.2)
    x = truth(pair, 30, 0)
    system = mixture_system(pair, Discrete(T=50))
    found = Progressive(levels=0).run(system, {"data": x}, Rng.of(0, 30))
    table = found.tables["decoding"]
    rates = [row["rate"] for row in table]
    assert [row["step"] for row in table] == list(range(50, 0, -1))
    assert all(b > a for a, b in pairwise(rates))
    assert table[0]["distortion"] > 5 * table[-1]["distortion"]
    assert not found.pictures
    bound = Bound(levels=0).run(system, {"data": x}, Rng.of(1, 30)).metrics
    # Two estimates of one number, which share the data.
    assert abs(found.metrics["lossless"] - bound["bound"]) < 10 * bound["standard_error"]


def test_wrong_inputs():
    system, x, rng = unit_system(), truth(UNIT, 4, 0), Rng.of(0, 4)
    with pytest.raises(InvalidInput, match="data"):
        Bound(levels=0).run(system, {"images": x}, rng)
    with pytest.raises(InvalidInput, match="streams"):
        Bound(levels=0).run(system, {"data": x}, Rng.of(0, 3))
    with pytest.raises(InvalidInput, match="NaN"):
        Bound(levels=0).run(system, {"data": x * math.nan}, rng)
    with pytest.raises(Unsupported, match="suffuse/range"):
        Bound().run(system, {"data": x}, rng)
    with pytest.raises(SpecError, match="levels"):
        Vlb(levels=1)
    with pytest.raises(InvalidInput, match="data"):
        Simple().loss("model", None, system, {}, rng)
