"""The networks, the loss and the schedules."""

import cmath
import math

import pytest
import torch
from suffuse_digits.dataset import Digits
from suffuse_r3gan.claims import DiracConverges, DiracField, Relativistic
from suffuse_r3gan.dirac import distance_after, eigenvalues
from suffuse_r3gan.layers import Block, Down, Up
from suffuse_r3gan.loss import R3Gan
from suffuse_r3gan.networks import R3Discriminator, R3Generator
from suffuse_r3gan.presets import PRESETS
from suffuse_r3gan.schedule import half_cosine
from suffuse_wgan.latents import Gaussian, Uniform
from suffuse_wgan.mlp import MlpCritic, MlpGenerator

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, SpecError
from suffuse.parts import Range
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.train.settings import Experiment, Settings
from suffuse.train.trainer import Trainer

SMALL = {"channels": 1, "widths": (8, 4), "cardinalities": (4, 2), "blocks": 1}


@pytest.mark.parametrize("claim", [DiracField, Relativistic, DiracConverges])
def test_exact_claims_hold_and_their_sabotage_fails(claim):
    for seed in range(5):
        assert claim().measure(seed).effect > 0
    assert claim().measure(0, sabotage=True).effect < 0


def test_eigenvalues_turn_without_and_contract_with_a_penalty():
    assert eigenvalues(0.0) == (0.5j, -0.5j)
    for g in (0.05, 0.5, 1.0, 3.0):
        first, second = eigenvalues(g)
        assert first.real < 0
        assert second.real < 0
        assert cmath.isclose(first * second, 0.25)
    assert distance_after(1.0, 0.0, 1.0) < 2e-6


def test_blocks_start_as_the_identity():
    with seeded(0):
        block = Block(6, 2, 3, 8)
    x = torch.randn(2, 6, 4, 4)
    assert torch.equal(block(x), x)
    # He's gain for a slope of 0.2, times blocks^(-1/4); 12 * 6 weights, standard error 8 %.
    wide = Block(256, 2, 32, 16).layers
    assert float(wide[0].weight.detach().std()) == pytest.approx(math.sqrt(2 / 1.04 / 256) / 2, rel=0.02)
    assert float(wide[2].weight.detach().std()) == pytest.approx(math.sqrt(2 / 1.04 / (16 * 9)) / 2, rel=0.02)


def test_resampling_is_bilinear_inside_and_keeps_the_mean():
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    up = Up(3, 3).double()(x)
    exact = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(up[..., 1:-1, 1:-1], exact[..., 1:-1, 1:-1])
    # Down is the transpose of up but for the factor of four.
    y = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    down = Down(3, 3).double()(y)
    torch.testing.assert_close((up * y).sum(), 4 * (x * down).sum())
    flat = Down(3, 3)(torch.ones(1, 3, 12, 12))
    torch.testing.assert_close(flat[..., 1:-1, 1:-1], torch.ones(1, 3, 4, 4))


def test_shapes_follow_the_stages():
    generator, critic = R3Generator(latent=Gaussian(dim=5), **SMALL), R3Discriminator(**SMALL)
    x = generator(torch.randn(3, 5), Condition())
    assert x.shape == (3, 1, 8, 8)
    assert critic(x, Condition()).shape == (3,)
    with pytest.raises(InvalidInput, match=r"images \(batch, 1, 8, 8\)"):
        critic(torch.zeros(1, 1, 16, 16), Condition())
    with pytest.raises(InvalidInput, match=r"latents \(batch, 5\)"):
        generator(torch.zeros(1, 4), Condition())
    with pytest.raises(SpecError, match="as many, got 2 and 1"):
        R3Generator(widths=(8, 4), cardinalities=(2,))
    with pytest.raises(SpecError, match="the cardinality must divide"):
        R3Discriminator(widths=(5,), cardinalities=(3,))


@pytest.mark.parametrize(("name", "side"), [("cifar-10", 32), ("ffhq-64", 64), ("ffhq-256", 256), ("imagenet-64", 64)])
def test_published_configurations(name, side):
    preset = PRESETS[name]
    with torch.device("meta"):
        generator, objective = preset.generator(), preset.objective()
        z = torch.empty(2, 64)
        x = generator(z, Condition())
        assert x.shape == (2, 3, side, side)
        assert objective.critic(x, Condition()).shape == (2,)
    assert objective.burn_in == round(preset.burn_in_images / preset.batch)
    assert objective.gamma[0] == pytest.approx(10 * objective.gamma[1])


def test_the_defaults_are_those_of_cifar_10():
    with torch.device("meta"):
        published, plain = PRESETS["cifar-10"].objective(), R3Gan(critic=R3Discriminator())
    assert (published.burn_in, published.gamma) == (plain.burn_in, plain.gamma)
    assert published.half_life[1] == pytest.approx(plain.half_life[1], abs=1)


def test_schedules():
    assert half_cosine(0, 10, (0.05, 0.005)) == 0.05
    assert half_cosine(5, 10, (0.0, 1.0)) == pytest.approx(0.5)
    assert half_cosine(10, 10, (0.0, 1.0)) == half_cosine(99, 10, (0.0, 1.0)) == 1
    objective = R3Gan(critic=R3Discriminator(**SMALL), burn_in=100, half_life=(0.0, 50.0))
    generator = R3Generator(latent=Gaussian(dim=5), **SMALL)
    player = objective.players(System(model=generator, space=Euclidean(shape=(1, 8, 8))))["generator"]
    assert player.betas(0) == (0.0, 0.9)
    assert player.betas(100) == (0.0, pytest.approx(0.99))
    assert player.learning_rate_scale(100) == pytest.approx(0.25)
    assert objective.ema(0) == 0
    assert objective.ema(1000) ** 50 == pytest.approx(0.5)


def test_the_average_ends_in_the_system():
    """Half-life 1 from the start: the average is half the old one and half the present weights."""
    finals = []
    x = torch.randn(50, 2)
    for steps, half_life in ((0, 0.0), (1, 0.0), (2, 0.0), (2, 1.0)):
        with seeded(0):
            model = MlpGenerator(latent=Gaussian(dim=2), shape=(2,), width=4, depth=1)
            critic = MlpCritic(shape=(2,), width=4, depth=1)
        objective = R3Gan(critic=critic, half_life=(half_life, half_life))
        system = System(model=model, space=Euclidean(shape=(2,)))
        if steps:
            fit(system, objective, rows_of(x), steps=steps, batch=8, seed=0, learning_rate=0.1)
        finals.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    w0, w1, w2, average = finals
    torch.testing.assert_close(average, 0.25 * w0 + 0.25 * w1 + 0.5 * w2)


@pytest.mark.parametrize("penalties", ["both", "r1", "r2", "none"])
def test_the_critic_s_loss_written_out(penalties):
    with seeded(0):
        model = MlpGenerator(latent=Uniform(dim=2), shape=(2,), width=8).double()
        critic = MlpCritic(shape=(2,), width=8, slope=0.2).double()
    system = System(model=model, space=Euclidean(shape=(2,)))
    x, rng = torch.randn(16, 2, dtype=torch.float64), Rng.of(0, 16)
    batch = Batch(x=x, cond=Condition(), index=torch.arange(16))
    objective = R3Gan(critic=critic, penalties=penalties, gamma=(3.0, 1.0), burn_in=10)
    found = objective.loss("critic", batch, system, {"step": 5}, rng).per_sample
    z = model.latent.law(16, dtype=torch.float64, device="cpu").sample(rng.at("latent"))
    fake = model(z, Condition()).detach()
    expected = torch.log1p(torch.exp(critic(fake, Condition()) - critic(x, Condition())))
    for name, points in (("r1", x), ("r2", fake)):
        if penalties in ("both", name):
            jacobian = torch.func.vmap(torch.func.grad(lambda v: critic(v[None], Condition())[0]))(points)
            expected = expected + 2.0 / 2 * jacobian.square().sum(1)  # halfway gamma is 2
    torch.testing.assert_close(found, expected)


def test_it_trains_on_labelled_digits_and_resumes(tmp_path):
    def trainer(folder, steps):
        with seeded(0):
            generator = R3Generator(latent=Gaussian(dim=4), classes=10, **SMALL)
            objective = R3Gan(critic=R3Discriminator(classes=10, **SMALL), burn_in=4, half_life=(0.0, 2.0))
        system = System(model=generator, space=Euclidean(shape=(1, 8, 8)), codec=Range(low=0.0, high=16.0))
        settings = Settings(steps=steps, batch=8, learning_rate=2e-4, save_every=2, log_every=1)
        return Trainer(Experiment(system=system, objective=objective, data=Digits(), train=settings), folder)

    whole = trainer(tmp_path / "whole", 4).run()
    trainer(tmp_path / "parts", 2).run()
    resumed = trainer(tmp_path / "parts", 4).run()
    label = torch.arange(10)
    x, y = (p.system.sample(cond={"label": label}, seed=1) for p in (whole, resumed))
    assert torch.equal(x, y)
    assert torch.equal(whole.system.sample(cond={"label": label}, seed=1, batch=10), x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": (0.1,)}, "the first and the last value"),
        ({"gamma": (-0.1, 0.1)}, "both at least 0"),
        ({"beta2": (0.9, 1.0)}, "decay rates below 1"),
        ({"penalties": "r3"}, "must be one of"),
        ({"burn_in": 0}, "at least 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(SpecError, match=message):
        R3Gan(critic=R3Discriminator(**SMALL), **settings)
