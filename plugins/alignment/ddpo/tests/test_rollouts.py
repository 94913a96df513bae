import math

import attrs
import pytest
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.parameterization import V
from suffuse_ddpo.advantages import by_prompt, normalised
from suffuse_ddpo.claims import expected_quadratic, linear_system
from suffuse_ddpo.rewards import Bump, Compressibility, Quadratic
from suffuse_ddpo.rollouts import draw, evaluating, log_prob
from suffuse_mlp.backbone import Mlp

from suffuse.contracts.condition import Condition
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.parts import Uniform
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.fitting import seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import mean_within

F64 = torch.float64


def network_system(sampler, classes=0, dropout=0.0):
    with seeded(0):
        net = Mlp(shape=(2,), width=16, depth=1, classes=classes, dropout=dropout)
        torch.nn.init.normal_(net.last.weight, std=0.3)
    model = Preconditioned(backbone=net, parameterization=V(scale=1.0, shift=0.0), trained=Cosine())
    return System(model=model, space=Euclidean(shape=(2,)), sampler=sampler)


SAMPLERS = {
    "ddim": Ddim(steps=6, eta=1.0, grid=Uniform(start=0.98)),
    "half-ddim": Ddim(steps=6, eta=0.5, grid=Uniform(start=0.98)),
    "ancestral": Ancestral(steps=6),
    "small": Ancestral(steps=6, variance="small"),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_log_probabilities_are_recomputed(name):
    """One batch of all steps gives what the walk gave, up to the rounding of another batch size."""
    system = network_system(SAMPLERS[name])
    system.model.double()
    rollouts = draw(system, Quadratic(), Condition(), Rng.of(0, 7))
    assert rollouts.steps.tolist() == [0, 1, 2, 3, 4]  # the last has no noise
    again = log_prob(system, rollouts.states, rollouts.steps[:, None].expand(5, 7), Condition(), Rng.of(0, 7))
    torch.testing.assert_close(again, rollouts.log_prob, rtol=1e-9, atol=1e-9)
    assert again.requires_grad
    assert not rollouts.log_prob.requires_grad


def test_one_step_at_a_time_gives_the_same_bits():
    system = network_system(SAMPLERS["ddim"])
    rollouts = draw(system, Quadratic(), Condition(), Rng.of(0, 7))
    for i in rollouts.steps.tolist():
        step = torch.full((1, 7), i)
        again = log_prob(system, rollouts.states, step, Condition(), Rng.of(0, 7))[0]
        # Times of each row go another way through schedules than single ones: an ulp of float32.
        torch.testing.assert_close(again, rollouts.log_prob[i], rtol=1e-5, atol=1e-5)


def test_rollouts_are_samples():
    """Same streams, same states, and the reward is of decoded data."""
    system = network_system(SAMPLERS["ddim"])
    rollouts = draw(system, Quadratic(), Condition(), Rng.of(3, 5))
    x = system.sample(5, seed=3)
    assert torch.equal(rollouts.states[-1], x)
    torch.testing.assert_close(rollouts.reward, -x.square().sum(1))


def test_at_eta_one_the_transition_is_the_posterior():
    mixture = GaussianMixture.ring(4)
    system = mixture_system(mixture, Cosine(), sampler=SAMPLERS["ddim"])
    rollouts = draw(system, Quadratic(), Condition(), Rng.of(0, 5))
    points = system.points
    for i in rollouts.steps.tolist():
        t, s = points[i], points[i + 1]
        x_t, x_s = rollouts.states[i].double(), rollouts.states[i + 1].double()
        law = system.process.posterior(x_t, system.plain(x_t, t, Condition()).x0, t, s)
        torch.testing.assert_close(law.log_prob(x_s) / 2, rollouts.log_prob[i].double(), rtol=1e-3, atol=1e-3)


def test_dropout_is_off():
    system = network_system(SAMPLERS["ddim"], dropout=0.5)
    system.model.train()
    rollouts = draw(system, Quadratic(), Condition(), Rng.of(0, 7))
    again = log_prob(system, rollouts.states, rollouts.steps[:, None].expand(5, 7), Condition(), Rng.of(0, 7))
    torch.testing.assert_close(again, rollouts.log_prob, rtol=1e-4, atol=1e-4)
    assert system.model.training
    system.model.backbone.blocks["block0"].eval()
    with evaluating(system.model):
        assert not system.model.training
    assert not system.model.backbone.blocks["block0"].training
    assert system.model.training


def test_the_closed_form_is_the_sampler_s():
    system = linear_system(0.6)
    x = draw(system, Quadratic(), Condition(), Rng.of(0, 40_000)).reward
    assert mean_within(x, float(expected_quadratic(system).detach()))


def test_samplers_without_noise_are_refused():
    with pytest.raises(Unsupported, match="no step of Ddim is random"):
        draw(network_system(Ddim(steps=4, grid=Uniform(start=0.98))), Quadratic(), Condition(), Rng.of(0, 3))


def test_advantages_of_a_batch():
    a = normalised(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert float(a.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(a.std(correction=0)) == pytest.approx(1.0, abs=1e-4)
    assert not normalised(torch.ones(4)).any()


def test_advantages_by_prompt():
    """Prompt 0 has enough rewards and is compared with itself; prompt 1 has not."""
    history = torch.full((2, 4), math.nan)
    reward, prompt = torch.tensor([10.0, 12.0, 14.0, 0.0]), torch.tensor([0, 0, 0, 1])
    advantage, history = by_prompt(reward, prompt, history, 3)
    torch.testing.assert_close(advantage[:3], torch.tensor([-1.0, 0.0, 1.0]) * math.sqrt(1.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(advantage[3], normalised(reward)[3])
    assert history[0].tolist()[:3] == [10.0, 12.0, 14.0]
    assert history[1].isfinite().tolist() == [True, False, False, False]
    _, history = by_prompt(torch.tensor([1.0, 2.0]), torch.tensor([0, 0]), history, 3)
    assert history[0].tolist() == [12.0, 14.0, 1.0, 2.0]


def test_rewards():
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert Quadratic(centre=(1.0, 0.0)).value(x, Condition()).tolist() == [0.0, -5.0]
    bump = Bump(centre=(1.0, 0.0), width=0.5).value(x, Condition())
    assert bump.tolist() == pytest.approx([1.0, math.exp(-10)])
    flat, noise = torch.zeros(1, 1, 8, 8), torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    part = Compressibility()
    small, large = (float(part.value(v, Condition())) for v in (flat, noise))
    assert small > large
    assert float(Compressibility(better="large").value(noise, Condition())) == -large
    with pytest.raises(InvalidInput, match=r"points \(batch, 2\), got \(3, 5\)"):
        Quadratic().value(torch.zeros(3, 5), Condition())
    with pytest.raises(SpecError, match="low must be below high"):
        attrs.evolve(part, low=1.0)
