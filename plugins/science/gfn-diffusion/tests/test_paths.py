import math

import attrs
import pytest
import torch
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.linear import Linear
from suffuse_energies.funnel import Funnel
from suffuse_energies.gaussian import Gaussian
from suffuse_energies.many_well import ManyWell
from suffuse_gfn_diffusion.claims import linear_system
from suffuse_gfn_diffusion.network import FourierMlp
from suffuse_gfn_diffusion.paths import backward, differentiable, evaluate, forward, log_weights
from suffuse_gfn_diffusion.policy import Policy
from suffuse_gfn_diffusion.process import Pinned
from suffuse_gfn_diffusion.sampler import EulerMaruyama
from suffuse_gfn_diffusion.task import LogZ

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import as_time
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput, Unsupported
from suffuse.parts import Uniform
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import covariance_within, mean_within

F64 = torch.float64


def policy_system(dim=2, steps=10, scale=1.0, **settings):
    outputs = 2 * dim if settings.get("learned_variance") else None
    return System(
        model=Policy(backbone=FourierMlp(dim=dim, outputs=outputs, hidden=16), **settings),
        process=Pinned(scale=scale),
        sampler=EulerMaruyama(steps=steps),
        space=Euclidean(shape=(dim,)),
    )


def shaken(system, size=0.3, seed=0):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in system.model.parameters():
            p.add_(size * torch.randn(p.shape, generator=g, dtype=p.dtype))
    return system


def test_the_kernels_are_the_paper_s():
    """Backward step i+1 -> i of T: mean i/(i+1) x, variance scale dt i/(i+1); the point at i = 0."""
    T, scale = 20, 5.0
    process = Pinned(scale=scale)
    for i in range(T):
        k = process.transition(as_time(1 - i / T), as_time(1 - (i + 1) / T))
        assert float(k.alpha) == pytest.approx(i / (i + 1), abs=1e-12)
        assert float(k.sigma) ** 2 == pytest.approx(scale / T * i / (i + 1), abs=1e-12)


def test_steps_are_euler_s():
    system = shaken(policy_system(steps=10, scale=2.0))
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    t, s = as_time(0.7), as_time(0.6)
    _, info = system.step(system, attrs.evolve(next(system.stream(6))[0], x=x), t, s, Rng.of(0, 6))
    u = system.model.backbone(x, torch.full((6,), 0.3), Condition())
    torch.testing.assert_close(info.transition.mean, x + 0.1 * u)
    assert float(info.transition.std) == pytest.approx(math.sqrt(2.0 * 0.1))


def test_the_untrained_policy_is_brownian_motion():
    n = 20_000
    x = policy_system(scale=3.0).sample(n, seed=0)
    assert mean_within(x, 0.0)
    assert covariance_within(x, 3 * torch.eye(2, dtype=F64))


def test_rollouts_have_the_law_of_samples():
    system = shaken(policy_system(), size=0.5)
    ours, theirs = forward(system, Rng.of(1, 20_000))[-1], system.sample(20_000, seed=2)
    assert mean_within(ours, theirs.double().mean(0), z=6)  # both have an error
    assert covariance_within(ours, theirs.double().T.cov(), z=7)


def test_exploration_adds_its_variance_to_every_step():
    system, n = policy_system(steps=5), 20_000
    x = forward(system, Rng.of(0, n), exploration=0.4)[-1]
    assert covariance_within(x, (1 + 5 * 0.16) * torch.eye(2, dtype=F64))


def test_backward_paths_are_those_of_the_motion():
    """Their states, given a Gaussian end of the motion's variance, have the motion's marginals."""
    system, n = policy_system(steps=4, scale=2.0), 20_000
    end = math.sqrt(2.0) * Rng.of(0, n).at("x").normal(torch.empty(n, 2, dtype=F64))
    states = backward(system, end, Rng.of(0, n))
    assert torch.equal(states[-1], end)
    assert not states[0].any()
    for i in range(1, 4):
        assert covariance_within(states[i], 2.0 * i / 4 * torch.eye(2, dtype=F64))


@pytest.mark.parametrize("settings", [{}, {"learned_variance": True}, {"target": Gaussian(std=0.5)}])
def test_one_batch_gives_what_the_walk_gives(settings):
    system = shaken(policy_system(**settings))
    system.model.double()
    paths = differentiable(system, Rng.of(0, 8))
    again = evaluate(system, paths.states.detach(), Rng.of(0, 8))
    torch.testing.assert_close(again.log_pf, paths.log_pf, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(again.log_ratio, paths.log_ratio, rtol=1e-10, atol=1e-10)


def test_weights_of_a_perfect_policy_are_equal():
    """Brownian motion, for its own Gaussian."""
    target = Gaussian(dim=3, std=math.sqrt(2.0))
    system = policy_system(dim=3, scale=2.0)
    system.model.double()
    _, log_w = log_weights(system, target, Rng.of(0, 50))
    torch.testing.assert_close(log_w, torch.full_like(log_w, target.log_z), rtol=1e-10, atol=1e-10)


def test_weights_of_a_poor_policy_are_right_on_average():
    target = Gaussian(dim=2, std=0.8)
    _, log_w = log_weights(linear_system(-0.5, scale=1.0, steps=6, dim=2), target, Rng.of(0, 20_000))
    assert mean_within((log_w - target.log_z).exp(), 1.0)
    assert log_w.mean() < target.log_z


def test_the_langevin_term_is_the_clipped_score():
    target = Funnel(dim=4)
    system = policy_system(dim=4, target=target, score_clip=0.5)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    p = system.plain(x, as_time(0.4), Condition())
    drift = (p.x0 - x) / 0.4
    torch.testing.assert_close(drift, 0.01 * target.score(x).clamp(-0.5, 0.5), rtol=1e-4, atol=1e-6)


def test_the_learned_variance_starts_at_the_motion_s():
    system = policy_system(learned_variance=True, scale=2.0)
    _, info = next(iter(system.stream(3)))
    torch.testing.assert_close(info.transition.std, torch.full((3, 2), math.sqrt(2.0 / 10)))


def test_a_trained_policy_is_a_denoiser_for_other_samplers():
    """The pinned process's exact denoiser, sampled by this solver, gives the data; so do the process's posteriors."""
    mixture = GaussianMixture.single([1.0, -1.0], 0.25)
    sampler = EulerMaruyama(steps=200, grid=Uniform(start=0.999))
    x = mixture_system(mixture, Pinned(scale=2.0), sampler=sampler).sample(4000, seed=0, dtype=F64)
    # One step's noise, scale/T, is left at the end, and the solver's bias is of the same order.
    assert (x.mean(0) - torch.tensor([1.0, -1.0])).abs().max() < 0.05
    assert (x.T.cov() - 0.26 * torch.eye(2)).abs().max() < 0.05


def test_the_task_measures():
    target = ManyWell(dim=4)
    system = policy_system(dim=4)
    found = LogZ(target=target).run(system, {"n": 100}, Rng.of(0, 1)).metrics
    assert set(found) == {"elbo", "log_z", "ess", "log_z_true", "w2"}
    assert found["elbo"] < found["log_z"]
    with pytest.raises(InvalidInput, match="expected n"):
        LogZ(target=target).run(system, {"n": 0}, Rng.of(0, 1))


def test_wrong_compositions_are_refused():
    with pytest.raises(IncompatibleComponents, match="pinned"):
        attrs.evolve(policy_system(), process=Linear())
    with pytest.raises(Unsupported, match="not random"):
        log_weights(attrs.evolve(policy_system(), sampler=Ancestral(steps=5)), Gaussian(), Rng.of(0, 4))
    wrong = System(
        model=Policy(backbone=FourierMlp(dim=2), learned_variance=True),
        process=Pinned(),
        sampler=EulerMaruyama(steps=5),
        space=Euclidean(shape=(2,)),
    )
    with pytest.raises(InvalidInput, match=r"outputs \(batch, 4\)"):
        wrong.sample(3)
