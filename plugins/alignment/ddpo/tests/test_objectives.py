import attrs
import pytest
import torch
from suffuse_cfg.guidance import Cfg
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.parameterization import V
from suffuse_ddpo.claims import expected_quadratic, linear_system
from suffuse_ddpo.policy_gradient import ImportanceSampling, ScoreFunction
from suffuse_ddpo.regression import RewardWeighted
from suffuse_ddpo.rewards import Quadratic
from suffuse_mlp.backbone import Mlp

from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents
from suffuse.parts import Uniform
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import fit, seeded
from suffuse.train.settings import Experiment, Settings
from suffuse.train.trainer import Trainer

OBJECTIVES = {
    "is": lambda **kw: ImportanceSampling(clip=0.1, minibatches=3, **kw),
    "sf": ScoreFunction,
    "rwr": RewardWeighted,
    "sparse": lambda **kw: RewardWeighted(share=0.25, **kw),
}


def small_system(classes=0, **parts):
    with seeded(0):
        net = Mlp(shape=(2,), width=16, depth=1, classes=classes)
        torch.nn.init.normal_(net.last.weight, std=0.1)
    model = Preconditioned(backbone=net, parameterization=V(scale=1.0, shift=0.0), trained=Cosine())
    sampler = Ddim(steps=5, eta=1.0, grid=Uniform(start=0.98))
    return System(model=model, space=Euclidean(shape=(2,)), sampler=sampler, **parts)


@pytest.mark.parametrize("name", ["is", "sf"])
def test_the_expected_reward_rises(name):
    """In closed form, for one weight: up to the optimum of the quadratic, all mass at the origin."""
    system = linear_system(0.6)
    system.model.float()
    before = float(expected_quadratic(linear_system(0.6)).detach())
    fit(system, OBJECTIVES[name](reward=Quadratic()), None, steps=30, batch=64, seed=0, learning_rate=1e-2)
    assert float(expected_quadratic(linear_system(float(system.model.k.detach()))).detach()) > 0.8 * before


@pytest.mark.parametrize("name", ["rwr", "sparse"])
def test_regression_moves_towards_reward(name):
    system = small_system()
    before = float(system.sample(1000, seed=1)[:, 0].detach().mean())
    objective = OBJECTIVES[name](reward=Quadratic(centre=(3.0, 0.0)), **({"temperature": 3.0} if name == "rwr" else {}))
    fit(system, objective, None, steps=40, batch=128, seed=0, learning_rate=1e-2)
    assert float(system.sample(1000, seed=1)[:, 0].detach().mean()) > before + 0.3


def test_weights_of_regression():
    reward = torch.tensor([0.0, 0.2, 0.4, 0.1])
    weights = RewardWeighted(reward=Quadratic(), temperature=0.2)._weights(reward)
    assert float(weights.mean()) == pytest.approx(1.0)
    assert float(weights[2] / weights[1]) == pytest.approx(torch.e, rel=1e-5)
    assert RewardWeighted(reward=Quadratic(), share=0.5)._weights(reward).tolist() == [0.0, 2.0, 2.0, 0.0]


def test_an_epoch_is_split_and_then_drawn_again():
    system, rng = small_system(), Rng.of(0, 4)
    objective = ImportanceSampling(reward=Quadratic(), minibatches=3)
    state = objective.start(system, rng)
    assert state["states"].shape == (6, 12, 2)
    seen = []
    for step in (1, 2, 3):
        part, _ = objective.minibatch(state, 4, rng)
        seen.append(part["states"])
        before = state
        state = objective.after(state, step, system, rng.at(step))
    assert torch.equal(torch.cat(seen, 1), before["states"])
    assert state["update"] == 0
    assert not torch.equal(state["states"], before["states"])


def test_a_share_of_the_steps():
    system, rng = small_system(), Rng.of(0, 6)
    objective = ScoreFunction(reward=Quadratic(), fraction=0.5)
    state = objective.start(system, rng)
    part, steps = objective.minibatch(state, 6, rng)
    assert steps.shape == part["log_prob"].shape == (2, 6)
    assert all(len(set(column.tolist())) == 2 for column in steps.T)
    assert len(set(map(tuple, steps.T.tolist()))) > 1
    for i in range(6):
        assert torch.equal(part["log_prob"][:, i], state["log_prob"][steps[:, i], i])


def test_the_clip_stops_the_gradient():
    """Where all ratios have left the interval to the good side, nothing pulls further."""
    system = linear_system(0.6)
    objective = ImportanceSampling(reward=Quadratic(), clip=1e-6, minibatches=1)
    rng = Rng.of(0, 50)
    state = dict(objective.start(system, rng))
    state["log_prob"] = state["log_prob"] - torch.sign(state["advantage"])  # better ones likelier, worse ones less
    loss = objective.loss("model", None, system, state, rng)
    assert float(loss.logs["clipped"]) == 1.0
    assert float(torch.autograd.grad(loss.per_sample.sum(), list(system.model.parameters()))[0]) == 0.0
    state["log_prob"] = state["log_prob"] + 2 * torch.sign(state["advantage"])  # the other way: the way back is open
    loss = objective.loss("model", None, system, state, rng)
    assert float(torch.autograd.grad(loss.per_sample.sum(), list(system.model.parameters()))[0]) != 0.0


def test_guided_policies_with_prompts():
    """Sampling and recomputing go through the same guidance, each trajectory with its label."""
    system = small_system(classes=3, guidance=Cfg(scale=2.0))
    rng = Rng.of(0, 32)
    objective = ImportanceSampling(reward=Quadratic(), classes=3, minibatches=1, history_least=4)
    state = objective.start(system, rng)
    assert set(state["label"].tolist()) == {0, 1, 2}
    assert state["history"].isfinite().sum() == 32
    loss = objective.loss("model", None, system, state, rng)
    torch.testing.assert_close(loss.per_sample, -state["advantage"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, name):
    def trainer(folder, steps):
        objective = OBJECTIVES[name](reward=Quadratic(), classes=2)
        train = Settings(steps=steps, batch=6, save_every=4, log_every=4)
        return Trainer(Experiment(system=small_system(classes=2), objective=objective, train=train), tmp_path / folder)

    def bits(run):
        return [*run.system.model.parameters(), *(v for v in run.progress.values() if isinstance(v, torch.Tensor))]

    whole = trainer("whole", 8)
    whole.run()
    trainer("parts", 5).run()  # in the middle of an epoch
    parts = trainer("parts", 8)
    parts.run()
    for a, b in zip(bits(whole), bits(parts), strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num())


def test_a_deterministic_sampler_is_refused_when_composed():
    system = attrs.evolve(small_system(), sampler=Ddim(steps=5))
    with pytest.raises(IncompatibleComponents, match="stochastic"):
        Experiment(system=system, objective=ScoreFunction(reward=Quadratic()), train=Settings(steps=1))
