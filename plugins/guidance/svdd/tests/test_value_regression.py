"""The learned value: what its objective trains, on which trajectories, towards what."""

import attrs
import pytest
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpo.rewards import Compressibility, Quadratic
from suffuse_md4.denoiser import TokenDenoiser
from suffuse_md4.sampler import Ancestral
from suffuse_md4.schedules import Linear
from suffuse_md4.transformer import Transformer
from suffuse_svdd.claims import Places, token_system
from suffuse_svdd.guidance import Svdd
from suffuse_svdd.regression import ValueRegression
from suffuse_svdd.values import Learned, PosteriorMean

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module
from suffuse.contracts.space import Tokens
from suffuse.errors import IncompatibleComponents, Unsupported
from suffuse.parts import Uniform
from suffuse.pipeline import Pipeline
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.discrete import Joint
from suffuse.testing.exact import mixture_system
from suffuse.testing.fitting import fit, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import LinearNet
from suffuse.train.settings import Experiment, Settings
from suffuse.train.trainer import Trainer

F64 = torch.float64


@module
class Table(Backbone):
    """A number for each state of two tokens (three symbols and the mask), whatever the time."""

    def __attrs_post_init__(self):
        self.blocks = torch.nn.ModuleDict()
        self.table = torch.nn.Parameter(torch.zeros(16))

    def forward(self, x, c_noise, cond):
        return self.table[x[:, 0] * 4 + x[:, 1]][:, None]


def test_the_minimum_is_the_expected_reward():
    """One step from all masks reveals some of two tokens; the mean square is least at E[r | x_s], here counted."""
    system = token_system(Joint.random(2, 3, seed=2), 2, Svdd(value=Learned(backbone=Table())))
    objective, rng = ValueRegression(reward=Places(), trajectories=2000), Rng.of(0, 1)
    state = objective.start(system, rng)
    x, reward = state["states"].flatten(0, 1), state["reward"].repeat(2)
    place = x[:, 0] * 4 + x[:, 1]
    mean = torch.stack([reward[place == i].mean() if (place == i).any() else torch.tensor(0.0) for i in range(16)])
    value = system.guidance.value

    def loss(table):
        with torch.no_grad():
            value.backbone.table.copy_(table)
        return float(objective.loss("value", None, system, state, Rng.of(1, 4000)).per_sample.detach().mean())

    least = loss(mean)
    assert all(loss(mean + d) > least for d in (0.2, -0.2))
    assert loss(torch.zeros(16)) > least
    exact = mean[:15][((torch.arange(15) // 4 < 3) & (torch.arange(15) % 4 < 3))]
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    torch.testing.assert_close(exact, Places().value(pairs, Condition()))  # where x_s determines x_0


def test_it_trains_the_value_alone_and_raises_the_reward():
    mixture = GaussianMixture.ring(4, radius=1.5, std=0.3)
    with seeded(0):
        value = Learned(backbone=LinearNet(dim=2), time_scale=1.0, shift=-4.0)
    system = mixture_system(
        mixture, Cosine(), guidance=Svdd(value=value), sampler=Ddim(steps=8, eta=1.0, grid=Uniform(start=0.98))
    )
    reward = Quadratic(centre=(1.5, 0.0))
    before = float(reward.value(attrs.evolve(system, guidance=None).sample(300, seed=0), Condition()).mean())
    logs = fit(system, ValueRegression(reward=reward), None, steps=150, batch=64, seed=0, learning_rate=2e-2)
    assert set(ValueRegression(reward=reward).players(system)) == {"value"}
    assert list(system.modules()) == ["model", "guidance.value"]
    assert float(logs[-1]["value/loss"]) < float(logs[0]["value/loss"])
    assert float(reward.value(system.sample(300, seed=0), Condition()).mean()) > before + 1


def test_epochs_are_kept_and_then_drawn_again():
    system = token_system(Joint.random(2, 3, seed=2), 2, Svdd(value=Learned(backbone=Table())))
    objective = ValueRegression(reward=Places(), trajectories=4, updates=3)
    state = objective.start(system, Rng.of(0, 5))
    assert state["states"].shape == (2, 20, 2)
    assert state["times"].tolist() == [[0.5] * 20, [0.0] * 20]
    assert objective.after(state, 2, system, Rng.of(0, 5)) is state
    again = objective.after(state, 3, system, Rng.of(0, 5).at(1))
    assert not torch.equal(again["states"], state["states"])


def test_labels_are_drawn_and_reach_the_value():
    mixture = GaussianMixture.ring(4, radius=1.5, std=0.3)
    value = Learned(backbone=LinearNet(dim=2, classes=4))
    sampler = Ddim(steps=4, eta=1.0, grid=Uniform(start=0.98))
    system = mixture_system(mixture, Cosine(), guidance=Svdd(value=value), sampler=sampler)
    objective = ValueRegression(reward=Quadratic(), classes=4)
    state = objective.start(system, Rng.of(0, 8))
    assert set(state["label"].tolist()) == {0, 1, 2, 3}
    x0 = state["states"][-1].double()
    assert (mixture.class_log_prob(x0).argmax(1) == state["label"]).double().mean() > 0.95
    loss = objective.loss("value", None, system, state, Rng.of(0, 8)).per_sample
    assert loss.shape == (8,)
    (slope,) = torch.autograd.grad(loss.sum(), value.backbone.label.weight)
    assert (slope != 0).any()


def test_a_learned_value_reads_tokens_and_times_by_row():
    with seeded(0):
        network = Transformer(symbols=3, shape=(2,), width=16, depth=1, heads=2)
        torch.nn.init.normal_(network.final.linear.weight)
    value = Learned(backbone=network, shift=2.0, scale=0.5)
    x, s = torch.tensor([[0, 3], [1, 2]]), torch.tensor([0.2, 0.7], dtype=F64)
    found = value(x, s, Condition())
    assert found.shape == (2,)
    torch.testing.assert_close(value(x[1:], s[1], Condition()), found[1:])
    raw = network(x, (1000 * s).float(), Condition()).flatten(1).mean(1)
    torch.testing.assert_close(found, 2.0 + 0.5 * raw)


def token_pipeline():
    with seeded(0):
        networks = [Transformer(symbols=3, shape=(2,), width=16, depth=1, heads=2) for _ in range(2)]
        torch.nn.init.normal_(networks[1].final.linear.weight)
    guidance = Svdd(value=Learned(backbone=networks[1]), candidates=3)
    parts = {"process": Linear(symbols=3), "space": Tokens(shape=(2,), symbols=3), "sampler": Ancestral(steps=3)}
    return System(model=TokenDenoiser(backbone=networks[0]), guidance=guidance, **parts)


def test_the_value_is_saved_with_the_system(tmp_path):
    system = token_pipeline()
    Pipeline(system=system).save(tmp_path / "saved")
    again = Pipeline.load(tmp_path / "saved").system
    assert torch.equal(again.sample(16, seed=0), system.sample(16, seed=0))
    assert not torch.equal(again.sample(16, seed=0), attrs.evolve(system, guidance=None).sample(16, seed=0))


def test_the_trainer_moves_the_value_and_not_the_model(tmp_path):
    system = token_pipeline()
    before = {
        k: v.clone()
        for k, v in torch.nn.ModuleDict({"model": system.model, "value": system.guidance.value}).state_dict().items()
    }
    train = Settings(steps=4, batch=8)
    objective = ValueRegression(reward=Compressibility(), updates=2)
    trained = Trainer(Experiment(system=system, objective=objective, train=train), tmp_path).run().system
    after = torch.nn.ModuleDict({"model": trained.model, "value": trained.guidance.value}).state_dict()
    moved = {k.partition(".")[0] for k, v in after.items() if not torch.equal(v, before[k])}
    assert moved == {"value"}


def test_bad_systems_are_refused():
    joint, reward = Joint.random(2, 3, seed=2), Places()
    objective = ValueRegression(reward=reward)
    with pytest.raises(Unsupported, match="got 0"):
        objective.players(token_system(joint, 2, Svdd(value=PosteriorMean(reward=reward))))
    with pytest.raises(Unsupported, match="one time a row"):
        Learned(backbone=Table())(torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 2), Condition())
    with pytest.raises(IncompatibleComponents, match="stochastic"):
        mixture_system(
            GaussianMixture.ring(4), Cosine(), guidance=Svdd(value=Learned(backbone=LinearNet())), sampler=Ddim()
        )
