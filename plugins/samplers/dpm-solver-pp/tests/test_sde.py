"""The stochastic solver: laws, variances and weak convergence."""

import pytest
import torch
from suffuse_dpm_solver_pp.sde import Sde

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import compare, mean_within, slope

UNIT = GaussianMixture.single(torch.zeros(1), 1.0)


def variance(order, process, times):
    """The exact variance after the walk, for unit data: the law's mean is linear in (x, x0 of the step before).

    Its coefficients are read off the sampler by running it on unit vectors.
    """
    system = mixture_system(UNIT, process, sampler=Sde(order=order))
    basis = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    # Columns: the state and the previous prediction as linear functions of independent unit noises.
    x = torch.ones(1, dtype=torch.float64) * (sum(v**2 for v in process.scalars(times[0]))).sqrt()
    before = None
    for i in range(len(times) - 1):
        t, s = times[i], times[i + 1]
        memory = {} if before is None else {"times": (times[i - 1],), "x0": (basis.flip(0),)}
        _, info = system.sampler.step(system, Carry(x=basis, cond=Condition(), memory=memory), t, s, Rng.of(0, 2))
        law, x0 = info.transition, info.prediction.x0
        of_x, of_before = law.mean[:, 0]
        if before is None:
            before, of_before = torch.zeros_like(x), torch.zeros(())
        mean = of_x * x + of_before * before
        before = x0[0, 0] * x
        x = torch.cat([mean, law.std.reshape(1)])
        before = torch.cat([before, torch.zeros(1, dtype=torch.float64)])
    return x.square().sum()


@pytest.mark.parametrize("order", [1, 2])
def test_the_marginal_variance_is_kept(order, circle):
    """Unit data under a variance-preserving process: 1 at every time, up to an error that falls with the steps.

    Exact, without sampling. The deficit of order 1 is the posterior variance that the mean leaves out.
    """
    errors, counts = [], [50, 100, 200, 400]
    for n in counts:
        lo, hi = circle.log_snr(as_time([0.95, 0.05])).tolist()
        times = circle.time(torch.linspace(lo, hi, n + 1, dtype=torch.float64))
        errors.append(abs(variance(order, circle, times) - 1).item())
    assert slope(counts, errors).value > 0.9
    assert errors[-1] < 0.02


def test_weak_convergence(circle):
    """Few steps give another law than the data's; many steps one that a two-sample test does not tell apart."""
    mixture, n = GaussianMixture.ring(4, radius=1.5, std=0.5), 1500
    data = truth(mixture, n, seed=3)
    p = {}
    for steps in (3, 100):
        system = mixture_system(mixture, circle, sampler=Sde(steps=steps))
        p[steps] = compare(system.sample(n, seed=1, dtype=torch.float64), data, permutations=99).p_value
    assert p[3] == 0.01
    assert p[100] > 0.02


@pytest.mark.parametrize("order", [1, 2])
def test_the_law_is_what_was_drawn(order, process):
    """Standardised by its law, a step's result is unit noise, and its log-density is that of the noise."""
    system = mixture_system(GaussianMixture.random(2, 3, 0), process, sampler=Sde(order=order))
    x = Rng.of(0, 2000).at("x").normal(torch.empty(2000, 2, dtype=torch.float64))
    carry = Carry(x=x, cond=Condition())
    for i, (t, s) in enumerate(((0.8, 0.6), (0.6, 0.5))):
        carry, info = system.sampler.step(system, carry, as_time(t), as_time(s), Rng.of(5, 2000).at(i))
        z = (info.x_s - info.transition.mean) / info.transition.std
        assert mean_within(z, 0.0)
        assert mean_within(z.square(), 1.0)
        normal = torch.distributions.Normal(info.transition.mean, info.transition.std)
        expected = normal.log_prob(info.x_s).sum(1)
        torch.testing.assert_close(info.transition.log_prob(info.x_s), expected, rtol=1e-10, atol=1e-10)


def test_noise_has_its_own_stream(circle):
    """A step draws from ``rng.at("noise")`` and from nothing else."""
    system = mixture_system(UNIT, circle, sampler=Sde())
    carry, rng = Carry(x=torch.zeros(4, 1, dtype=torch.float64), cond=Condition()), Rng.of(0, 4)
    _, info = system.sampler.step(system, carry, as_time(0.8), as_time(0.4), rng)
    torch.testing.assert_close(info.transition.sample(rng.at("noise")), info.x_s, rtol=0, atol=0)
