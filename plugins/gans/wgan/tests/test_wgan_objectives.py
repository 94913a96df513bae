"""The losses, against what they must be."""

import copy
import math

import attrs
import pytest
import torch
from suffuse_digits.dataset import Digits
from suffuse_wgan.clip import Clip
from suffuse_wgan.dcgan import DcganCritic, DcganGenerator
from suffuse_wgan.distances import gaussian_slopes
from suffuse_wgan.gan import Gan
from suffuse_wgan.latents import Gaussian, Uniform
from suffuse_wgan.lipschitz import lipschitz_bound
from suffuse_wgan.mlp import MlpCritic, MlpGenerator
from suffuse_wgan.penalties import between, one_sided, scored, two_sided, zero_centred
from suffuse_wgan.penalty import GradientPenalty

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError
from suffuse.parts import Range
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.train.settings import Experiment, Settings
from suffuse.train.trainer import Trainer


def parts(seed=0, classes=0, width=16):
    with seeded(seed):
        model = MlpGenerator(latent=Gaussian(dim=2), shape=(2,), width=width, depth=2, classes=classes)
        return System(model=model, space=Euclidean(shape=(2,))), MlpCritic(shape=(2,), width=width, depth=2)


def batch(n=32, seed=1):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)) + 3
    return Batch(x=x, cond=Condition(), index=torch.arange(n))


def test_the_clipped_losses_are_differences_of_scores():
    system, critic = parts()
    objective, rng, b = Clip(critic=critic), Rng.of(0, 32), batch()
    z = system.model.latent.law(32, dtype=torch.float32, device="cpu").sample(rng.at("latent"))
    fake = system.model(z, Condition())
    found = objective.loss("critic", b, system, {}, rng)
    torch.testing.assert_close(found.per_sample, critic(fake, Condition()) - critic(b.x, Condition()))
    torch.testing.assert_close(found.logs["wasserstein"], -found.per_sample.detach().mean())
    torch.testing.assert_close(objective.loss("generator", b, system, {}, rng).per_sample, -critic(fake, Condition()))
    # Exchanging data and samples changes the sign.
    swapped = objective.loss("critic", attrs.evolve(b, x=fake.detach()), system, {}, rng)
    assert float(swapped.per_sample.detach().abs().max()) == 0


def test_only_the_player_s_own_weights_get_a_gradient():
    system, critic = parts()
    for objective in (Clip(critic=critic), GradientPenalty(critic=critic), Gan(critic=critic)):
        for player, own, other in (("critic", critic, system.model), ("generator", system.model, critic)):
            loss = objective.loss(player, batch(), system, {}, Rng.of(0, 32)).per_sample.mean()
            mine = torch.autograd.grad(loss, list(own.parameters()), retain_graph=True, allow_unused=True)
            theirs = torch.autograd.grad(loss, list(other.parameters()), allow_unused=True)
            assert any(g is not None for g in mine)
            assert all(g is None for g in theirs)
        assert all(p.requires_grad for p in critic.parameters())


def test_weights_stay_in_the_box_and_slopes_under_the_bound():
    system, critic = parts(width=32)
    objective = Clip(critic=critic, limit=0.05, warm=0, repeats=2)
    fit(system, objective, rows_of(batch(200).x), steps=20, batch=32, seed=0, learning_rate=1e-2, clip=math.inf)
    largest = max(float(p.abs().max()) for p in critic.parameters())
    assert largest <= 0.05 * (1 + 1e-6)  # in float32
    assert largest > 0.049
    critic.requires_grad_(True)
    _, slope = scored(lambda v: critic(v, Condition()), torch.randn(500, 2) * 10)
    steepest = float(slope.detach().norm(dim=1).max())
    assert 0 < steepest <= lipschitz_bound(critic) * (1 + 1e-6)


def test_the_critic_s_turns_are_published():
    objective = Clip(critic=parts()[1])
    assert [objective.turns(step) for step in (0, 24, 25, 499, 500, 501, 1000)] == [100, 100, 5, 5, 100, 5, 100]
    player = objective.players(parts()[0])["critic"]
    assert (player.optimizer, player.turns(3), player.turns(30)) == ("rmsprop", 100, 5)


def test_one_update_is_that_of_rmsprop():
    system, critic = parts()
    objective = Clip(critic=critic, warm=0, burst_every=10**9, repeats=1, burst=1, limit=100.0)
    before = copy.deepcopy(critic)
    x = batch(64).x
    fit(system, objective, rows_of(x), steps=1, batch=16, seed=3, learning_rate=1e-3, clip=math.inf)
    rng = Rng.of(3, 16).at("train", 0, "critic", 0)
    again = Clip(critic=before)
    loss = again.loss("critic", rows_of(x)(rng.at("data")), parts()[0], {}, rng).per_sample.mean()
    for p, now, g in zip(
        before.parameters(), critic.parameters(), torch.autograd.grad(loss, list(before.parameters())), strict=True
    ):
        # v = 0.01 g^2 after one update, so the step is about 10 lr sign(g).
        torch.testing.assert_close(now, p - 1e-3 * g / ((0.01 * g**2).sqrt() + 1e-8))


def test_penalties_of_a_linear_critic():
    w = torch.tensor([3.0, 4.0], dtype=torch.float64)
    x = torch.randn(7, 2, dtype=torch.float64)
    value, slope = scored(lambda v: v @ w, x)
    torch.testing.assert_close(value, x @ w)
    for penalty, expected in ((zero_centred, 25.0), (two_sided, 16.0), (one_sided, 16.0)):
        torch.testing.assert_close(penalty(slope), torch.full((7,), expected, dtype=torch.float64))
    _, gentle = scored(lambda v: v @ w / 10, x)
    torch.testing.assert_close(one_sided(gentle), torch.zeros(7, dtype=torch.float64))
    torch.testing.assert_close(two_sided(gentle), torch.full((7,), 0.25, dtype=torch.float64))


def test_a_flat_critic_has_a_finite_penalty():
    x = torch.randn(4, 2)
    weight = torch.zeros(2, requires_grad=True)
    _, slope = scored(lambda v: (v * weight).sum(1), x)
    (g,) = torch.autograd.grad(two_sided(slope).sum(), weight)
    assert g.isfinite().all()


def test_interpolates_lie_on_the_line():
    x, y = torch.randn(50, 3, 4), torch.randn(50, 3, 4)
    point = between(x, y, Rng.of(0, 50))
    u = ((point - y) / (x - y)).flatten(1)
    assert float((u - u[:, :1]).abs().max()) < 1e-3
    assert float(u.min()) >= 0
    assert float(u.max()) <= 1


def test_the_classical_losses_at_an_undecided_discriminator():
    system, critic = parts()
    with torch.no_grad():
        for p in critic.parameters():
            p.zero_()
    b, rng = batch(), Rng.of(0, 32)
    found = Gan(critic=critic).loss("critic", b, system, {}, rng)
    torch.testing.assert_close(found.per_sample, torch.full((32,), 2 * math.log(2)))
    assert abs(float(found.logs["divergence"])) < 1e-6
    assert float(Gan(critic=critic).loss("generator", b, system, {}, rng).per_sample[0]) == pytest.approx(math.log(2))
    saturating = Gan(critic=critic, generator_loss="saturating").loss("generator", b, system, {}, rng)
    assert float(saturating.per_sample[0]) == pytest.approx(-math.log(2))


def test_slopes_of_the_best_discriminator():
    """E sigma(D) and E sigma(-D) add up to 1, and the saturating slope is at most d exp(-d^2/8) (Cauchy-Schwarz)."""
    for d in (1.0, 4.0, 10.0):
        found = gaussian_slopes(d)
        assert found["saturating"] + found["non_saturating"] == pytest.approx(d, rel=1e-9)
        assert found["saturating"] <= d * math.exp(-(d**2) / 8)


def test_labels_need_a_critic_with_labels():
    system, critic = parts(classes=3)
    with pytest.raises(IncompatibleComponents, match="MlpCritic none"):
        Clip(critic=critic).players(system)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DcganGenerator(side=12), "power of two"),
        (lambda: Uniform(low=1.0, high=1.0), "low must be below high"),
        (lambda: Clip(critic=parts()[1], limit=0.0), "limit must be above 0"),
        (lambda: MlpGenerator(shape=()), "sizes of at least 1"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(SpecError, match=message):
        make()


def test_bad_inputs():
    system, critic = parts()
    with pytest.raises(InvalidInput, match=r"latents \(batch, 2\)"):
        system.model(torch.zeros(3, 5), Condition())
    with pytest.raises(InvalidInput, match=r"states \(batch, 2\)"):
        critic(torch.zeros(3, 5), Condition())
    with pytest.raises(InvalidInput, match=r"images \(batch, 1, 8, 8\)"):
        DcganCritic(channels=1, side=8, width=2)(torch.zeros(3, 1, 16, 16), Condition())
    with pytest.raises(InvalidInput, match="learns from batches"):
        Clip(critic=critic).loss("critic", None, system, {}, Rng.of(0, 2))


@pytest.mark.parametrize("side", [8, 16, 64])
def test_convolutional_networks_have_the_published_sizes(side):
    generator = DcganGenerator(latent=Gaussian(dim=100), channels=3, side=side, width=2)
    critic = DcganCritic(channels=3, side=side, width=2).eval()
    x = generator.eval()(torch.randn(2, 100), Condition())
    assert x.shape == (2, 3, side, side)
    assert float(x.detach().abs().max()) <= 1
    assert critic(x, Condition()).shape == (2,)
    assert generator.layers[0].out_channels == 2 * side // 8


class _Unlabelled(Digits):
    def rows(self, index, rng):
        return attrs.evolve(super().rows(index, rng), cond=Condition())


def test_the_trainer_trains_both_players_and_resumes(tmp_path):
    """With the digits' data, convolutions with batch normalisation, and the published optimiser."""

    def trainer(folder, steps):
        with seeded(0):
            generator = DcganGenerator(latent=Gaussian(dim=4), channels=1, side=8, width=4)
            critic = DcganCritic(channels=1, side=8, width=4)
        system = System(model=generator, space=Euclidean(shape=(1, 8, 8)), codec=Range(low=0.0, high=16.0))
        objective = Clip(critic=critic, warm=1, burst=3, repeats=2)
        settings = Settings(steps=steps, batch=16, learning_rate=1e-3, save_every=2, log_every=1)
        return Trainer(Experiment(system=system, objective=objective, data=_Unlabelled(), train=settings), folder)

    whole = trainer(tmp_path / "whole", 4)
    pipeline = whole.run()
    assert whole.drawn == 3 + 2 + 2 + 2 + 4
    assert max(float(p.abs().max()) for p in whole.objective.critic.parameters()) <= 0.01
    trainer(tmp_path / "parts", 2).run()
    again = trainer(tmp_path / "parts", 4)
    resumed = again.run()
    assert again.drawn == whole.drawn
    x, y = (p.system.sample(5, seed=1) for p in (pipeline, resumed))
    assert torch.equal(x, y)
    assert x.shape == (5, 1, 8, 8)
    assert float(x.min()) >= 0
    assert float(x.max()) <= 16
