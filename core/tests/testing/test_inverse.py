"""The posterior of a linear-Gaussian measurement against integration, Bayes' rule and closed forms."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from suffuse.testing.inverse import LinearInverse
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import covariance_within, mean_within

F64 = torch.float64


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=gen(seed), dtype=F64)


def random_problem(dim=5, m=3, seed=0):
    root = 0.3 * randn(m, m, seed=seed + 1)
    return LinearInverse(GaussianMixture.random(dim, 4, seed), randn(m, dim, seed=seed), root @ root.T)


def test_posterior_by_numerical_integration():
    prior, a, s = GaussianMixture.random(2, 3, 1), torch.tensor([[1.0, -0.5]], dtype=F64), 0.09
    problem = LinearInverse(prior, a, s)
    axis = torch.linspace(-6, 6, 601, dtype=F64)
    x0, cell = torch.cartesian_prod(axis, axis), (axis[1] - axis[0]).item() ** 2
    x, alpha, sigma = torch.tensor([0.4, -0.3], dtype=F64), 0.6, 0.5
    noise = -((x - alpha * x0) ** 2).sum(-1) / (2 * sigma**2) - math.log(2 * math.pi * sigma**2)
    for value in (-1.0, 0.2, 1.5):
        y = torch.tensor([[value]], dtype=F64)
        likelihood = -((y - x0 @ a.T)[:, 0] ** 2) / (2 * s) - math.log(2 * math.pi * s) / 2
        joint = (prior.log_prob(x0) + likelihood).exp() * cell
        density = joint / joint.sum()
        mean = density @ x0
        covariance = (density[:, None] * (x0 - mean)).T @ (x0 - mean)
        ours = problem.posterior(y).moments()
        torch.testing.assert_close(problem.log_evidence(y)[0], joint.sum().log(), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ours[0][0], mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ours[1][0], covariance, rtol=1e-8, atol=1e-9)
        both = joint * noise.exp()
        torch.testing.assert_close(problem.denoise(x[None], y, alpha, sigma)[0], both @ x0 / both.sum())
        log_p = both.sum().log() - prior.log_prob(x[None], alpha, sigma)[0]
        torch.testing.assert_close(problem.log_likelihood(x[None], y, alpha, sigma)[0], log_p, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dim", "m"), [(5, 3), (3, 3), (3, 6), (1, 1), (1, 2)])
def test_bayes_rule(dim, m):
    problem, x0, y = random_problem(dim, m), randn(4, dim, seed=7), randn(4, m, seed=8)
    likelihood = MultivariateNormal(x0 @ problem.operator.T, problem.noise_covariance).log_prob(y)
    ours = problem.posterior(y).log_prob(x0) + problem.log_evidence(y)
    torch.testing.assert_close(ours, problem.prior.log_prob(x0) + likelihood, rtol=1e-8, atol=1e-8)


def test_posterior_is_the_schur_complement():
    problem, y = random_problem(), randn(3, 3, seed=8)
    a, s, prior = problem.operator, problem.noise_covariance, problem.prior
    posterior = problem.posterior(y)
    for k, c in enumerate(prior.covariances):
        gain = c @ a.T @ torch.linalg.inv(a @ c @ a.T + s)
        torch.testing.assert_close(posterior.means[:, k], prior.means[k] + (y - prior.means[k] @ a.T) @ gain.T)
        q = posterior.basis[k]
        torch.testing.assert_close(q @ torch.diag(posterior.variances[0, k]) @ q.T, c - gain @ a @ c)


def test_likelihood_of_noisy_state_by_its_own_posterior():
    """p(y | x_t) = sum_k r_k N(y; A mu_k, A V_k A^T + S): the other order of conditioning."""
    problem, x, y = random_problem(), randn(4, 5, seed=3), randn(4, 3, seed=4)
    alpha, sigma = torch.tensor([1.0, 0.7, 0.4, 0.1], dtype=F64), torch.tensor([0.05, 0.5, 0.9, 1.0], dtype=F64)
    law = problem.prior.posterior(x, alpha, sigma)
    for b in range(4):
        row, a = law.row(b), problem.operator
        parts = MultivariateNormal(row.means @ a.T, a @ row.covariances @ a.T + problem.noise_covariance)
        expected = (row.weights.log() + parts.log_prob(y[b])).logsumexp(0)
        ours = problem.log_likelihood(x[b : b + 1], y[b], alpha[b], sigma[b])[0]
        torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-8)
        inner = LinearInverse(row, a, problem.noise_covariance)  # condition on x_t first, then on y
        mean = inner.posterior(y[b]).moments()[0]
        torch.testing.assert_close(problem.denoise(x[b : b + 1], y[b], alpha[b], sigma[b]), mean)


def test_likelihood_score_is_the_gradient():
    problem, y = random_problem(), randn(4, 3, seed=4)
    x = randn(4, 5, seed=3).requires_grad_()
    (score,) = torch.autograd.grad(problem.log_likelihood(x, y, 0.7, 0.5).sum(), x)
    torch.testing.assert_close(problem.likelihood_score(x, y, 0.7, 0.5), score, rtol=1e-9, atol=1e-9)


def test_one_measurement_serves_many_states():
    problem, x, y = random_problem(), randn(5, 5), randn(3, seed=4)
    every = problem.denoise(x, y.expand(5, 3), 0.7, 0.5)
    torch.testing.assert_close(problem.denoise(x, y, 0.7, 0.5), every)
    assert problem.log_evidence(y).shape == ()
    assert problem.posterior(y).row(0).log_prob(x).shape == (5,)


@pytest.mark.parametrize("std", [1.0, 1e-3, 1e-6, 1e-9])
def test_small_noise_keeps_its_accuracy(std):
    """A scalar problem in closed form, seen through an operator of rank one with a repeated row."""
    prior = GaussianMixture.single([0.5, -1.0], torch.tensor([0.04, 0.25], dtype=F64))
    problem = LinearInverse(prior, [[2.0, 0.0], [2.0, 0.0]], std**2)
    posterior = problem.posterior(torch.tensor([1.2, 1.2], dtype=F64))
    precision = 1 / 0.04 + 2 * 4 / std**2
    mean = (0.5 / 0.04 + 2 * 2 * 1.2 / std**2) / precision
    expected = torch.tensor([[precision**-1, 0.25]], dtype=F64)
    variances = posterior.moments()[1].diagonal(dim1=1, dim2=2)
    # Standard deviations are exact to rounding relative to the prior's, here 0.2.
    rtol = 20 * torch.finfo(F64).eps * 0.2 * precision**0.5
    torch.testing.assert_close(variances, expected, rtol=rtol, atol=0)
    torch.testing.assert_close(posterior.moments()[0], torch.tensor([[mean, -1.0]], dtype=F64), rtol=1e-12, atol=1e-12)


def test_no_noise_fixes_what_is_measured():
    prior, a = GaussianMixture.random(4, 3, 0), randn(2, 4)
    x0 = prior.sample(gen(), 3)
    exact, near = LinearInverse(prior, a, 0.0), LinearInverse(prior, a, 1e-16)
    y = x0 @ a.T
    draws = exact.posterior(y).sample(gen(1), 20_000)
    torch.testing.assert_close(draws @ a.T, y[:, None].expand(3, 20_000, 2), rtol=1e-12, atol=1e-12)
    mean, covariance = exact.posterior(y).moments()
    for b in range(3):
        assert mean_within(draws[b], mean[b])
        assert covariance_within(draws[b], covariance[b])
    torch.testing.assert_close(near.posterior(y).moments()[0], mean, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(near.log_evidence(y), exact.log_evidence(y), rtol=1e-7, atol=1e-7)
    # Dependent rows without noise say nothing new.
    again = LinearInverse(prior, torch.cat([a, a.sum(0, keepdim=True)]), 0.0)
    longer = torch.cat([y, y.sum(1, keepdim=True)], 1)
    torch.testing.assert_close(again.posterior(longer).moments()[0], mean, rtol=1e-9, atol=1e-9)
    volume = math.log(3) / 2  # of the map from y to (y, y_1 + y_2)
    torch.testing.assert_close(again.log_evidence(longer), exact.log_evidence(y) - volume, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="off the range"):
        again.posterior(longer + torch.tensor([0.0, 0.0, 0.1]))


def test_no_information():
    prior = GaussianMixture.random(3, 2, 0)
    for operator, noise in ((torch.zeros(2, 3), 1.0), (torch.ones(2, 3), 1e30), (torch.zeros(1, 3), 0.0)):
        problem = LinearInverse(prior, operator, noise)
        mean, covariance = problem.posterior(torch.zeros(len(operator), dtype=F64)).moments()
        torch.testing.assert_close(mean[0], prior.moments()[0])
        torch.testing.assert_close(covariance[0], prior.moments()[1])


def test_singular_prior():
    # The prior lies on a line.
    prior = GaussianMixture.single([0.0, 0.0], torch.tensor([[0.36, 0.48], [0.48, 0.64]], dtype=F64))
    mean, covariance = LinearInverse(prior, torch.eye(2), 0.5).posterior(torch.tensor([1.0, 2.0]).double()).moments()
    direction = torch.tensor([0.6, 0.8], dtype=F64)
    torch.testing.assert_close(mean[0], (2.2 / 1.5) * direction)
    torch.testing.assert_close(covariance[0], (0.5 / 1.5) * direction[:, None] * direction)
    with pytest.raises(ValueError, match="singular where y has no noise"):
        LinearInverse(prior, torch.eye(2), 0.0)


def test_measurements_have_the_evidence_as_their_law():
    problem = random_problem()
    n = 20_000
    y = problem.measure(problem.prior.sample(gen(), n), randn(n, 3, seed=1))
    mean, covariance = problem.prior.moments()
    a = problem.operator
    assert mean_within(y, a @ mean)
    assert covariance_within(y, a @ covariance @ a.T + problem.noise_covariance)
    y.requires_grad_()
    (score,) = torch.autograd.grad(problem.log_evidence(y).sum(), y)
    assert mean_within(score, torch.zeros(3))  # Stein: E[grad log p(y)] = 0 and E[y grad log p(y)^T] = -I
    assert mean_within((y.detach() - y.detach().mean(0))[:, :, None] * score[:, None], -torch.eye(3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype):
    problem, x, y = random_problem(), randn(3, 5).to(dtype), randn(3, 3).to(dtype)
    for method in (problem.denoise, problem.likelihood_score):
        low, high = method(x, y, 0.5, 0.5), method(x.double(), y.double(), 0.5, 0.5)
        assert low.dtype == dtype
        torch.testing.assert_close(low, high.to(dtype), rtol=0, atol=0)
    assert problem.log_evidence(y).dtype == torch.float32
    assert problem.measure(x, y).dtype == dtype


def test_bad_problems_are_refused():
    prior = GaussianMixture.ring()
    calls = [
        (lambda: LinearInverse(prior, torch.ones(1, 3), 1.0), "operator: expected"),
        (lambda: LinearInverse(prior, torch.ones(1, 2), -1.0), "noise_covariance: expected variances"),
        (lambda: LinearInverse(prior, torch.ones(1, 2), torch.ones(4)), "noise_covariance: expected"),
        (lambda: LinearInverse(prior, torch.ones(1, 2), 1.0).posterior(torch.ones(5, 2)), r"y: expected \(1,\)"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
