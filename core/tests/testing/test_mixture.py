"""The closed forms against autograd, numerical integration, importance sampling and Bayes' rule."""

import math

import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from suffuse.testing import mixture as module
from suffuse.testing.mixture import ConditionalMixture, EmpiricalDistribution, GaussianMixture
from suffuse.testing.statistics import covariance_within, mean_within

F64 = torch.float64


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=gen(seed), dtype=F64)


def build(kind, dim, components, seed=0):
    full = GaussianMixture.random(dim, components, seed)
    std = torch.linspace(0.2, 0.6, components * dim, dtype=F64).reshape(components, dim)
    covariances = {"full": full.covariances, "diagonal": std**2, "isotropic": std[:, 0] ** 2}[kind]
    return GaussianMixture(full.weights, full.means, covariances, full.labels)


def reference(mixture):
    covariances = mixture.roots @ mixture.roots.mT
    return MixtureSameFamily(Categorical(mixture.weights), MultivariateNormal(mixture.means, covariances))


KINDS = [("full", 3, 4), ("diagonal", 3, 4), ("isotropic", 3, 4), ("full", 1, 1), ("full", 1, 3), ("isotropic", 5, 1)]
every = pytest.mark.parametrize(("kind", "dim", "components"), KINDS)


@every
def test_density_is_that_of_torch_distributions(kind, dim, components):
    mixture, x = build(kind, dim, components), randn(7, dim)
    torch.testing.assert_close(mixture.log_prob(x), reference(mixture).log_prob(x), rtol=1e-11, atol=1e-11)
    noisy = mixture.marginal(0.6, 0.3)
    torch.testing.assert_close(mixture.log_prob(x, 0.6, 0.3), reference(noisy).log_prob(x), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(mixture.score(x, 0.6, 0.3), noisy.score(x), rtol=1e-10, atol=1e-10)


@every
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.0), (0.9, 0.1), (0.3, 2.0), (0.0, 1.0)])
def test_score_and_hessian_are_the_derivatives(kind, dim, components, alpha, sigma):
    mixture, x = build(kind, dim, components), randn(5, dim).requires_grad_()
    (score,) = torch.autograd.grad(mixture.log_prob(x, alpha, sigma).sum(), x, create_graph=True)
    rows = [torch.autograd.grad(score[:, i].sum(), x, retain_graph=True)[0] for i in range(dim)]
    torch.testing.assert_close(mixture.score(x, alpha, sigma), score, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mixture.hessian(x, alpha, sigma), torch.stack(rows, 1), rtol=1e-8, atol=1e-8)


@every
def test_tweedie_to_first_and_second_order(kind, dim, components):
    mixture, x = build(kind, dim, components), randn(5, dim)
    alpha, sigma = torch.linspace(0.2, 1, 5, dtype=F64), torch.linspace(1.5, 0.1, 5, dtype=F64)
    mean, covariance = mixture.denoise(x, alpha, sigma), mixture.posterior_covariance(x, alpha, sigma)
    score = (alpha[:, None] * mean - x) / sigma[:, None] ** 2
    a, s = alpha[:, None, None], sigma[:, None, None]
    hessian = (a**2 * covariance / s**2 - torch.eye(dim, dtype=F64)) / s**2
    torch.testing.assert_close(mixture.score(x, alpha, sigma), score, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(mixture.hessian(x, alpha, sigma), hessian, rtol=1e-9, atol=1e-9)


def grid(dim, radius=6.0, n=601):
    axis = torch.linspace(-radius, radius, n, dtype=F64)
    return torch.cartesian_prod(*[axis] * dim).reshape(-1, dim), (axis[1] - axis[0]).item() ** dim


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.2), (0.5, 0.8), (0.05, 1.0)])
def test_posterior_by_numerical_integration(dim, alpha, sigma):
    mixture = GaussianMixture.random(dim, 3, seed=2)  # the trapezoidal rule is exact far below 1e-10 for Gaussians
    x0, cell = grid(dim)
    prior = reference(mixture).log_prob(x0)
    for x in randn(3, dim, seed=1):
        log_noise = -((x - alpha * x0) ** 2).sum(-1) / (2 * sigma**2) - dim / 2 * math.log(2 * math.pi * sigma**2)
        joint = (prior + log_noise).exp() * cell
        density = joint / joint.sum()
        mean = density @ x0
        covariance = (density[:, None] * (x0 - mean)).T @ (x0 - mean)
        torch.testing.assert_close(mixture.log_prob(x[None], alpha, sigma)[0], joint.sum().log(), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(mixture.denoise(x[None], alpha, sigma)[0], mean, rtol=1e-9, atol=1e-9)
        ours = mixture.posterior_covariance(x[None], alpha, sigma)[0]
        torch.testing.assert_close(ours, covariance, rtol=1e-8, atol=1e-9)


def test_posterior_mean_by_importance_sampling():
    mixture, alpha, sigma, n = GaussianMixture.random(4, 3, seed=5), 0.8, 0.7, 200_000
    x = randn(1, 4, seed=3)
    x0 = mixture.sample(gen(1), n)
    w = (-((x - alpha * x0) ** 2).sum(-1) / (2 * sigma**2)).softmax(0)
    estimate = w @ x0
    error = ((w**2) @ (x0 - estimate) ** 2).sqrt()  # the delta method for a self-normalised mean
    assert 1 / (w**2).sum() > 1000
    assert ((mixture.denoise(x, alpha, sigma)[0] - estimate).abs() < 5 * error).all()


@every
def test_posterior_obeys_bayes_rule(kind, dim, components):
    mixture, x, x0 = build(kind, dim, components), randn(4, dim), randn(4, dim, seed=1)
    alpha, sigma = torch.tensor([0.3, 0.7, 0.9, 1.0], dtype=F64), torch.tensor([1.0, 0.5, 0.2, 0.1], dtype=F64)
    posterior = mixture.posterior(x, alpha, sigma)
    noise = torch.distributions.Normal(alpha[:, None] * x0, sigma[:, None]).log_prob(x).sum(-1)
    joint = mixture.log_prob(x0) + noise
    torch.testing.assert_close(posterior.log_prob(x0) + mixture.log_prob(x, alpha, sigma), joint, rtol=1e-9, atol=1e-9)
    mean, covariance = posterior.moments()
    torch.testing.assert_close(mean, mixture.denoise(x, alpha, sigma), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(covariance, mixture.posterior_covariance(x, alpha, sigma), rtol=1e-10, atol=1e-12)
    for b in range(4):
        row = posterior.row(b)
        torch.testing.assert_close(row.log_prob(x0[b : b + 1])[0], posterior.log_prob(x0)[b], rtol=1e-8, atol=1e-8)


def test_posterior_twice_is_posterior_of_both():
    mixture, x, z = GaussianMixture.random(3, 4, 0), randn(5, 3), randn(5, 3, seed=1)
    one = mixture.posterior(x, 0.9, 0.4).denoise(z, 0.5, 0.8)
    # Two independent looks at x_0 amount to one, at the precision-weighted mean.
    precision = 0.9**2 / 0.4**2 + 0.5**2 / 0.8**2
    both = (0.9 / 0.4**2 * x + 0.5 / 0.8**2 * z) / precision
    torch.testing.assert_close(one, mixture.denoise(both, 1.0, precision**-0.5), rtol=1e-11, atol=1e-11)


def test_posterior_samples_have_its_moments():
    mixture, x = GaussianMixture.random(2, 3, 0), randn(4, 2)
    posterior = mixture.posterior(x, torch.tensor([0.9, 0.8, 0.5, 0.1]), 0.5)
    draws = posterior.sample(gen(3), 20_000)
    assert draws.shape == (4, 20_000, 2)
    mean, covariance = posterior.moments()
    for b in range(4):
        assert mean_within(draws[b], mean[b])
        assert covariance_within(draws[b], covariance[b])


@pytest.mark.parametrize("kind", ["full", "diagonal", "isotropic"])
def test_rows_are_independent_when_batch_equals_dimension(kind):
    mixture, x = build(kind, 4, 4), randn(4, 4)  # B == D == K
    alpha, sigma = torch.rand(4, generator=gen(), dtype=F64), torch.rand(4, generator=gen(1), dtype=F64)
    names = ["log_prob", "denoise", "score", "hessian", "posterior_covariance", "responsibilities", "class_log_prob"]
    for name in names:
        method = getattr(mixture, name)
        rows = torch.cat([method(x[b : b + 1], alpha[b].item(), sigma[b]) for b in range(4)])
        torch.testing.assert_close(method(x, alpha, sigma), rows, rtol=1e-11, atol=1e-11)
    rows = [mixture.posterior(x[b : b + 1], alpha[b], sigma[b]) for b in range(4)]
    torch.testing.assert_close(mixture.posterior(x, alpha, sigma).means, torch.cat([r.means for r in rows]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_states_are_evaluated_in_double(dtype):
    mixture, x = GaussianMixture.random(3, 4, 0), randn(6, 3).to(dtype)
    sigma = torch.full((6,), 0.25, dtype=dtype)
    for name in ("denoise", "score", "hessian", "posterior_covariance", "responsibilities"):
        low, high = (getattr(mixture, name)(v, 0.5, sigma) for v in (x, x.double()))
        assert low.dtype == dtype
        torch.testing.assert_close(low, high.to(dtype), rtol=0, atol=0)
    for name in ("log_prob", "class_log_prob"):
        assert getattr(mixture, name)(x, 0.5, sigma).dtype == torch.float32


def test_gradients_reach_state_alpha_and_sigma():
    mixture, x = GaussianMixture.random(2, 3, 0), randn(3, 2).requires_grad_()
    alpha = torch.tensor([0.9, 0.5, 0.2], dtype=F64, requires_grad=True)
    sigma = torch.tensor(0.4, dtype=F64, requires_grad=True)
    for method in (mixture.denoise, mixture.score, mixture.log_prob, mixture.posterior_covariance):
        assert torch.autograd.gradcheck(method, (x, alpha, sigma))


@every
def test_limits(kind, dim, components):
    mixture, x = build(kind, dim, components), randn(3, dim)
    mean, covariance = mixture.moments()
    for sigma in (0.0, 1e-12):
        torch.testing.assert_close(mixture.denoise(x, 0.5, sigma), x / 0.5, rtol=1e-12, atol=1e-12)
        assert mixture.posterior_covariance(x, 0.5, sigma).abs().max() < 1e-20
    for sigma in (0.0, 1.0):  # nothing is known
        torch.testing.assert_close(mixture.denoise(0 * x, 0.0, sigma), mean.expand(3, dim))
        prior = covariance.expand(3, dim, dim)
        torch.testing.assert_close(mixture.posterior_covariance(0 * x, 0.0, sigma), prior)
    for size in (1e4, 1e30):
        far = (size * torch.sign(x)).float()
        for name in ("log_prob", "denoise", "score", "hessian", "posterior_covariance", "responsibilities"):
            for sigma in (1e-4, 1.0):
                assert torch.isfinite(getattr(mixture, name)(far.double(), 1.0, sigma)).all(), (name, size, sigma)


def test_far_states_follow_the_widest_component():
    mixture = GaussianMixture([0.5, 0.5], [[0.0], [0.0]], [1.0, 4.0])
    x = torch.tensor([[1e6]], dtype=F64)
    torch.testing.assert_close(mixture.denoise(x, 1.0, 1.0), 4 / 5 * x)
    torch.testing.assert_close(mixture.score(x, 1.0, 1.0), -x / 5)


def test_single_gaussian_is_the_wiener_filter():
    mixture, x = GaussianMixture.single([1.0], 4.0), torch.tensor([[3.0]], dtype=F64)
    alpha, sigma = 0.5, 2.0
    gain = alpha * 4 / (alpha**2 * 4 + sigma**2)
    torch.testing.assert_close(mixture.denoise(x, alpha, sigma), 1 + gain * (x - alpha))
    torch.testing.assert_close(mixture.posterior_covariance(x, alpha, sigma)[0], x.new_tensor([[4 - gain * alpha * 4]]))


def test_singular_covariances_stay_on_their_subspace():
    direction = torch.tensor([0.6, 0.8], dtype=F64)
    mixture = GaussianMixture.single([0.0, 0.0], direction[:, None] * direction)
    x = randn(5, 2)
    for sigma in (0.0, 1e-20, 1e-6):
        torch.testing.assert_close(mixture.denoise(x, 1.0, sigma), (x @ direction)[:, None] * direction)
    with pytest.raises(ValueError, match="sigma > 0"):
        mixture.log_prob(x)
    draws = mixture.sample(gen(), 10)
    assert (draws @ torch.tensor([-0.8, 0.6], dtype=F64)).abs().max() < 1e-12


def test_sampling_law():
    mixture = GaussianMixture([0.2, 0.0, 0.5, 0.3], [[-1.0], [9.0], [0.0], [2.0]], [0.1, 1.0, 0.2, 0.05])

    def cdf(v):
        parts = [w * stats.norm.cdf(v, m, c**0.5) for w, m, c in ((0.2, -1, 0.1), (0.5, 0, 0.2), (0.3, 2, 0.05))]
        return sum(parts)

    draws = mixture.sample(gen(), 20_000)
    assert stats.kstest(draws[:, 0].numpy(), cdf).pvalue > 1e-3
    full = GaussianMixture.random(3, 4, 1)
    x, labels = full.sample_labelled(gen(), 20_000)
    assert torch.equal(x, full.sample(gen(), 20_000))
    assert torch.equal(x, full.sample(gen(), 20_000))
    mean, covariance = full.moments()
    assert mean_within(x, mean)
    assert covariance_within(x, covariance)
    counts = torch.bincount(labels, minlength=4).numpy()
    assert stats.chisquare(counts, 20_000 * full.weights.numpy()).pvalue > 1e-3
    for k in range(4):
        assert mean_within(x[labels == k], full.means[k])
        assert covariance_within(x[labels == k], full.roots[k] @ full.roots[k].T)


def test_each_draw_depends_on_its_own_noise_alone():
    mixture = GaussianMixture.random(3, 4, 1)
    u, z = torch.rand(8, generator=gen(), dtype=F64), randn(8, 3)
    torch.testing.assert_close(mixture.transform(u[2:5], z[2:5]), mixture.transform(u, z)[2:5], rtol=0, atol=1e-14)
    assert mixture.transform(u.float(), z.float()).dtype == torch.float32
    assert torch.isfinite(mixture.transform(torch.tensor([0.0, 1.0]), randn(2, 3))).all()
    edge = GaussianMixture([0.0, 1.0, 0.0], [[-9.0], [1.0], [9.0]], 0.0)  # no weight is never drawn
    assert edge.transform(torch.tensor([0.0, 0.5, 1 - 1e-16]), torch.zeros(3, 1)).flatten().tolist() == [1, 1, 1]


def test_classes_by_bayes_rule():
    base = GaussianMixture.random(2, 5, 0)
    mixture = GaussianMixture(base.weights, base.means, base.covariances, [7, 3, 7, 3, 4])
    x = randn(6, 2)
    assert mixture.classes.tolist() == [3, 4, 7]
    log_p = mixture.class_log_prob(x, 0.7, 0.4)
    for column, label in enumerate((3, 4, 7)):
        share = mixture.weights[mixture.labels == label].sum().log()
        law = mixture.conditioned(label)
        expected = share + law.log_prob(x, 0.7, 0.4) - mixture.log_prob(x, 0.7, 0.4)
        torch.testing.assert_close(log_p[:, column], expected, rtol=1e-10, atol=1e-10)
    assert GaussianMixture.ring().conditioned(2).means.shape == (1, 2)


def test_bayes_accuracy_of_two_gaussians():
    mixture = GaussianMixture([1, 1], [[-1.0], [1.0]], 0.25, [0, 1])
    accuracy = mixture.bayes_accuracy(gen(), 20_000, 0.5, 1.0)
    exact = stats.norm.cdf(0.5 / math.sqrt(0.25 * 0.25 + 1))
    assert abs(accuracy.value - exact) < 5 * accuracy.standard_error


def test_factories():
    ring = GaussianMixture.ring(6, 2.0, 0.1)
    torch.testing.assert_close(ring.means.norm(dim=-1), torch.full((6,), 2.0, dtype=F64))
    mean, covariance = ring.moments()
    torch.testing.assert_close(mean, torch.zeros(2, dtype=F64), atol=1e-12, rtol=0)
    torch.testing.assert_close(covariance, (2.0 + 0.01) * torch.eye(2, dtype=F64))
    lattice = GaussianMixture.grid(3, 2.0)
    assert sorted(map(tuple, lattice.means.tolist())) == [(a, b) for a in (-2, 0, 2) for b in (-2, 0, 2)]
    assert torch.equal(GaussianMixture.random(3, 2, 5).means, GaussianMixture.random(3, 2, 5).means)
    assert ring.to("cpu").dim == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, -0.5], [[0.0], [0.0]], 1.0), "weights"),
        (([0.0, 0.0], [[0.0], [0.0]], 1.0), "positive sum"),
        (([1.0], [0.0, 1.0], 1.0), "means"),
        (([1.0, 1.0], [[0.0, 0.0, 0.0]] * 2, torch.eye(3)), "covariances: expected"),
        (([1.0], [[0.0]], -1.0), "variances >= 0"),
        (([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]]), "symmetric"),
        (([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]]), "semidefinite"),
        (([1.0], [[0.0]], 1.0, [1, 2]), "labels"),
    ],
)
def test_bad_mixtures_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(*arguments)


def test_bad_states_are_refused():
    mixture, x = GaussianMixture.ring(), randn(5, 2)
    calls = [
        (lambda: mixture.denoise(randn(5, 3), 1.0, 1.0), r"x: expected shape \(B, 2\), got \(5, 3\)"),
        (lambda: mixture.denoise(x[0], 1.0, 1.0), "x: expected"),
        (lambda: mixture.denoise(x.long(), 1.0, 1.0), "floating"),
        (lambda: mixture.denoise(x, torch.ones(2), 1.0), r"alpha: expected shape \(\) or \(5,\)"),
        (lambda: mixture.denoise(x, 1.0, torch.ones(5, 1)), "sigma: expected"),
        (lambda: mixture.posterior(x, 1.0, 1.0).denoise(x[:3], 1.0, 1.0), r"x: expected shape \(5, 2\)"),
        (lambda: mixture.conditioned(99), "label: expected one of"),
        (lambda: GaussianMixture.random(2, 2, 0).conditioned(5), "label"),
        (lambda: GaussianMixture.single([0.0]).class_log_prob(randn(1, 1)), "labels"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("block", [1, 1 << 24])
def test_data_set_is_a_mixture_of_atoms(block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    data = 3 + randn(20, 2, 3)
    weights = torch.rand(20, generator=gen(), dtype=F64)
    empirical = EmpiricalDistribution(data, weights, torch.arange(20) % 2)
    mixture, x = empirical.mixture(), randn(6, 2, 3, seed=1)
    alpha, sigma = torch.linspace(0.1, 1, 6, dtype=F64), torch.linspace(1, 0.3, 6, dtype=F64)
    flat = x.flatten(1)
    for name in ("denoise", "score", "log_prob", "responsibilities"):
        ours, theirs = getattr(empirical, name)(x, alpha, sigma), getattr(mixture, name)(flat, alpha, sigma)
        torch.testing.assert_close(ours.flatten(1) if ours.ndim == 3 else ours, theirs, rtol=1e-9, atol=1e-9)
    x.requires_grad_()
    (score,) = torch.autograd.grad(empirical.log_prob(x, alpha, sigma).sum(), x)
    torch.testing.assert_close(empirical.score(x, alpha, sigma), score, rtol=1e-9, atol=1e-9)
    half = empirical.conditioned(1)
    torch.testing.assert_close(half.data, data[1::2])
    torch.testing.assert_close(half.weights, weights[1::2] / weights[1::2].sum())
    assert empirical.denoise(x.half(), 1.0, 1.0).dtype == torch.float16


def test_data_set_limits():
    data = randn(50, 4)
    empirical = EmpiricalDistribution(data)
    for sigma in (0.0, 1e-20, 1e-6):
        torch.testing.assert_close(empirical.denoise(0.5 * data + 1e-9, 0.5, sigma), data)
        torch.testing.assert_close(empirical.mixture().denoise(0.5 * data + 1e-9, 0.5, sigma), data)
    torch.testing.assert_close(empirical.denoise(data, 0.0, 1.0), data.mean(0).expand(50, 4))
    assert torch.isfinite(empirical.denoise(1e30 * data, 1.0, 1.0)).all()
    draws = empirical.sample(gen(), 4000)
    assert mean_within(draws, data.mean(0))
    with pytest.raises(ValueError, match="sigma > 0"):
        empirical.score(data, 1.0, 0.0)
    with pytest.raises(ValueError, match="x: expected"):
        empirical.denoise(randn(2, 5), 1.0, 1.0)


def test_one_conditional_mixture_serves_many_states():
    mixture, x = GaussianMixture.random(3, 2, 0), randn(5, 3)
    one = ConditionalMixture(mixture.weights.log()[None], mixture.means[None], *_spectrum(mixture))
    torch.testing.assert_close(one.score(x, 0.5, 0.5), mixture.score(x, 0.5, 0.5))


def _spectrum(mixture):
    values, vectors = torch.linalg.eigh(mixture.covariances)
    return values[None], vectors


def test_numbers_are_read_in_double():
    mixture = GaussianMixture([0.1, 0.9], [[0.3], [0.7]], 0.1, [0, 1])
    assert mixture.means[0, 0].item() == 0.3
    assert mixture.covariances.item() == 0.1
