import math

import attrs
import pytest
import torch
from suffuse_ddgan.chain import planes, published, step_of
from suffuse_ddgan.critic import StepCritic
from suffuse_ddgan.generator import LatentGenerator
from suffuse_ddgan.objective import DenoisingGan
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.linear import Linear
from suffuse_ddpm.unet import UNet
from suffuse_mlp.backbone import Mlp
from suffuse_wgan.dcgan import DcganCritic
from suffuse_wgan.latents import Gaussian
from suffuse_wgan.mlp import MlpCritic

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.prediction import Draw
from suffuse.contracts.process import as_time
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import ExactDenoiser, mixture_system
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.mixture import GaussianMixture


def networks(T=2, classes=0):
    with seeded(0):
        backbone = Mlp(shape=(5,), outputs=2, width=16, depth=1, frequencies=4, classes=classes)
        model = LatentGenerator(backbone=backbone, latent=Gaussian(dim=4), T=T, width=3, depth=1, output="linear")
        torch.nn.init.normal_(backbone.last.weight)  # zero at initialisation
        critic = StepCritic(critic=MlpCritic(shape=(4 + T,), width=16, depth=2, slope=0.2, classes=classes), T=T)
    return model, critic


def parts(T=2, classes=0, **settings):
    model, critic = networks(T, classes)
    system = System(model=model, space=Euclidean(shape=(2,)), sampler=Ancestral(steps=T, variance="small"))
    return system, DenoisingGan(critic=critic, T=T, **settings)


def batch(n=16, seed=1):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return Batch(x=x, cond=Condition(), index=torch.arange(n))


def test_the_first_step_ends_at_the_draw():
    x_t, x0 = torch.randn(2, 3, 2)
    law = published().posterior(x_t, x0, as_time(0.25), as_time(0.0))
    assert float(law.std) == 0
    torch.testing.assert_close(law.mean, x0)


class _Mean(ExactDenoiser):
    """Ignores its latent: the mean as a draw."""

    provides = frozenset({"draw"})

    @property
    def gives(self):
        return frozenset({"draw"})

    def forward(self, x_t, t, cond, *, process, s=None, rng=None):
        mean = super().forward(x_t, t, cond, process=process, s=s, rng=rng)
        return Draw(value=mean.x0, x_t=x_t, t=t)


def test_a_generator_without_a_latent_is_the_ancestral_sampler():
    ring, sampler = GaussianMixture.ring(4, radius=1.4, std=0.2), Ancestral(steps=4, variance="small")
    system = System(model=_Mean(mixture=ring), process=published(), space=Euclidean(shape=(2,)), sampler=sampler)
    plain = mixture_system(ring, published(), sampler=sampler)
    torch.testing.assert_close(system.sample(20, dtype=torch.float64), plain.sample(20, dtype=torch.float64))


def test_losses_are_those_of_the_paper():
    system, objective = parts(gamma=0.3, lazy=2)
    b, rng = batch(), Rng.of(0, 16)
    pair = objective.pair(b.x, system.process, rng)
    fake = objective.sample(system, pair, b.cond, rng).detach()
    told = Condition(x_t=pair.x_t, t=pair.t)
    x = pair.x_s.clone().requires_grad_()
    real = objective.critic(x, told)
    (slope,) = torch.autograd.grad(real.sum(), x)
    sigma = torch.sigmoid
    plain = -sigma(real).log() - (1 - sigma(objective.critic(fake, told))).log()
    with_penalty = plain + 0.15 * slope.square().sum(1)
    for step, expected in ((0, with_penalty), (1, plain), (2, with_penalty)):
        found = objective.loss("critic", b, system, {"step": step}, rng)
        torch.testing.assert_close(found.per_sample, expected)
    generator = objective.loss("generator", b, system, {"step": 0}, rng).per_sample
    torch.testing.assert_close(generator, -sigma(objective.critic(fake, told)).log())


def test_one_step_is_a_conditional_gan_from_x_1():
    system, objective = parts(T=1)
    b, rng = batch(), Rng.of(0, 16)
    pair = objective.pair(b.x, system.process, rng)
    torch.testing.assert_close(pair.x_s, b.x)
    assert bool((pair.t == 1).all())
    drawn = system.plain(pair.x_t, pair.t, Condition(), rng=rng.at("model")).x0
    torch.testing.assert_close(objective.sample(system, pair, b.cond, rng), drawn)


def test_gradients_reach_the_generator_through_the_posterior_alone():
    system, objective = parts()
    for player, own, other in (
        ("critic", objective.critic, system.model),
        ("generator", system.model, objective.critic),
    ):
        loss = objective.loss(player, batch(), system, {"step": 1}, Rng.of(0, 16)).per_sample.sum()
        mine = torch.autograd.grad(loss, list(own.parameters()), retain_graph=True, allow_unused=True)
        theirs = torch.autograd.grad(loss, list(other.parameters()), allow_unused=True)
        assert all(g is not None for g in mine)
        assert all(g is None for g in theirs)


def test_players_have_the_published_rates():
    players = parts()[1].players(parts()[0])
    assert (players["critic"].learning_rate_scale, players["generator"].learning_rate_scale) == (0.78125, 1.0)
    assert players["critic"].betas == players["generator"].betas == (0.5, 0.9)


def test_draws_differ_by_their_latent_and_repeat_by_their_rng():
    model, _ = networks()
    x, t = torch.randn(1, 2).expand(8, 2), as_time(0.5)
    first, again, other = (model(x, t, Condition(), process=published(), rng=Rng.of(i, 8)).x0 for i in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(set(first[:, 0].tolist())) == 8


def test_the_step_acts_on_both_networks():
    model, critic = networks()
    x = torch.randn(1, 2).expand(2, 2)
    t = torch.tensor([0.5, 1.0], dtype=torch.float64)
    rng = Rng.cat([Rng.of(0, 1)] * 2)
    assert model(x, t, Condition(), process=published(), rng=rng).x0.diff(dim=0).abs().max() > 0
    assert critic(x, Condition(x_t=x, t=t)).diff().abs() > 0


def test_labels_reach_both_players():
    system, objective = parts(classes=3)
    label = torch.arange(16) % 3
    b = attrs.evolve(batch(), cond=Condition(label=label))
    other = attrs.evolve(b, cond=Condition(label=(label + 1) % 3))
    for player in ("critic", "generator"):
        one, two = (objective.loss(player, v, system, {"step": 1}, Rng.of(0, 16)).per_sample for v in (b, other))
        assert float((one - two).detach().abs().min()) > 0
    assert system.sample(cond={"label": torch.arange(3)}, seed=0).shape == (3, 2)


def test_images_train_with_convolutions():
    """The U-Net of DDPM and the critic of DCGAN, made for states, in two steps of training."""
    with seeded(0):
        backbone = UNet(channels=1 + 4, outputs=1, width=8, multipliers=(1, 2), attention=())
        model = LatentGenerator(backbone=backbone, latent=Gaussian(dim=6), T=2, width=4, depth=1)
        critic = StepCritic(critic=DcganCritic(channels=2 + 2, side=8, width=4, norm="none"), T=2)
    system = System(model=model, space=Euclidean(shape=(1, 8, 8)), sampler=Ancestral(steps=2, variance="small"))
    before = [p.clone() for p in model.parameters()]
    data = rows_of(torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    logs = fit(system, DenoisingGan(critic=critic, T=2), data, steps=2, batch=4, seed=0, learning_rate=1e-3)
    assert all(math.isfinite(float(v)) for v in logs[-1].values())
    assert any(not torch.equal(p, was) for p, was in zip(model.parameters(), before, strict=True))
    x = system.sample(2, seed=0)
    assert x.shape == (2, 1, 8, 8)
    assert float(x.abs().max()) <= 1  # no noise after the last draw, which tanh bounds


def test_planes_are_constant():
    numbers, like = torch.randn(2, 3), torch.zeros(2, 1, 4, 5)
    found = planes(numbers, like)
    assert found.shape == (2, 3, 4, 5)
    assert torch.equal(found[..., 0, 0], numbers)
    assert float(found.flatten(2).std(2).max()) == 0
    assert torch.equal(planes(numbers, torch.zeros(2, 7)), numbers)


def test_bad_inputs():
    model, critic = networks()
    x, good = torch.randn(3, 2), {"process": published(), "rng": Rng.of(0, 3)}
    with pytest.raises(Unsupported, match="k/2"):
        model(x, as_time(0.3), Condition(), **good)
    with pytest.raises(Unsupported, match="k/2"):
        step_of(as_time(0.0), 2)
    with pytest.raises(Unsupported, match="this generator knows Linear"):
        model(x, as_time(0.5), Condition(), process=Linear(), rng=Rng.of(0, 3))
    with pytest.raises(InvalidInput, match="needs an rng"):
        model(x, as_time(0.5), Condition(), process=published())
    with pytest.raises(InvalidInput, match=r"\['t', 'x_t'\] missing"):
        critic(x, Condition())
    with pytest.raises(InvalidInput, match="x_s and x_t of one shape"):
        critic(x, Condition(x_t=torch.zeros(3, 5), t=torch.ones(3)))
    system, _ = parts()
    with pytest.raises(IncompatibleComponents, match="ddgan/step-critic"):
        DenoisingGan(critic=MlpCritic(shape=(2,), width=4, depth=1)).players(system)
    with pytest.raises(IncompatibleComponents, match="StepCritic none"):
        DenoisingGan(critic=critic).players(parts(classes=3)[0])
    with pytest.raises(SpecError, match="lazy must be at least 1"):
        DenoisingGan(critic=critic, lazy=0)
