"""The loop in memory does what the trainer does."""

import pytest
import torch

from suffuse.contracts.objective import Loss, Objective, Player
from suffuse.errors import InvalidInput
from suffuse.parts import Identity
from suffuse.rng import Rng
from suffuse.state import rows
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.stand_ins import Circle, trainable_system


class Fetch(Objective):
    """The mean of |W|^2 over the rows: every batch pulls the weights to zero at a known rate."""

    def __init__(self, repeats=1, every=1):
        self.repeats, self.every = repeats, every

    def players(self, system):
        return {"model": Player(modules=(system.model,), repeats=self.repeats, every=self.every)}

    def loss(self, player, batch, system, state, rng):
        total = sum((p**2).sum() for p in system.model.parameters())
        return Loss(total.expand(rng.size), {"turns": torch.tensor(float(state["n"]))})

    def start(self, system, rng):
        return {"n": 0}

    def after(self, state, step, system, rng):
        return {"n": step}


def norm(system):
    return float(sum((p.detach() ** 2).sum() for p in system.model.parameters()))


def test_a_batch_keeps_rows_together():
    x, label, end = torch.arange(50.0)[:, None], torch.arange(50), -torch.arange(50.0)[:, None]
    batch = rows_of(x, end=end, label=label)(Rng.of(3, 200))
    assert torch.equal(batch.x[:, 0].long(), batch.cond["label"])
    assert torch.equal(batch.x, -batch.end)
    assert torch.equal(batch.x, rows(x, batch.index))
    assert len(set(batch.index.tolist())) > 40


def test_players_take_their_turns_and_progress_is_kept():
    system = trainable_system(Circle(), codec=Identity())
    before = norm(system)
    logs = fit(system, Fetch(every=2), None, steps=5, batch=3, seed=0, learning_rate=1e-2)
    assert norm(system) < before
    assert [sorted(told) for told in logs] == [["model/loss", "model/turns"], []] * 2 + [["model/loss", "model/turns"]]
    assert [float(told["model/turns"]) for told in logs[::2]] == [0, 2, 4]
    assert not any(p.requires_grad for p in system.model.parameters())


def test_the_average_is_the_trainer_s():
    """Weights after each step are known from runs of each length; their average follows by the recursion."""
    finals = []
    for steps in range(4):
        system = trainable_system(Circle(), codec=Identity())
        fit(system, Fetch(), None, steps=steps, batch=2, seed=0, learning_rate=0.1)
        finals.append(torch.cat([p.flatten() for p in system.model.parameters()]))
    average = finals[0]
    for n in (1, 2, 3):
        decay = min(0.9, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * finals[n]
    system = trainable_system(Circle(), codec=Identity())
    fit(system, Fetch(), None, steps=3, batch=2, seed=0, learning_rate=0.1, ema=0.9)
    torch.testing.assert_close(torch.cat([p.flatten() for p in system.model.parameters()]), average)


def test_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1):
        first = torch.rand(2)
    with seeded(1):
        assert torch.equal(first, torch.rand(2))
    fit(trainable_system(Circle(), codec=Identity()), Fetch(), None, steps=1, batch=2, seed=0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("decay", [False, True])
def test_the_same_seed_gives_the_same_weights(decay):
    found = []
    for _ in range(2):
        system = trainable_system(Circle(), codec=Identity())
        fit(system, Fetch(repeats=2), None, steps=3, batch=2, seed=4, decay=decay)
        found.append(norm(system))
    assert found[0] == found[1]


class Boxed(Fetch):
    """Gradient steps away from zero that are put back, with turns, rates and an average of its own."""

    def __init__(self, **rule):
        super().__init__()
        self.rule, self.projected = rule, []

    def players(self, system):
        return {"model": Player(modules=(system.model,), **self.rule)}

    def loss(self, player, batch, system, state, rng):
        total = -sum(p.sum() for p in system.model.parameters())
        return Loss(total.expand(rng.size))

    def project(self, player, system):
        assert not torch.is_grad_enabled()
        self.projected.append(player)
        for p in system.model.parameters():
            p.clamp_(-1, 0.01)


def weights(system):
    return torch.cat([p.detach().flatten() for p in system.model.parameters()])


def test_parameters_are_put_back_after_every_update():
    system, objective = trainable_system(Circle(), codec=Identity()), Boxed(repeats=lambda step: step)
    done = []
    fit(system, objective, None, steps=4, batch=2, seed=0, learning_rate=1.0, on_step=done.append)
    assert objective.projected == ["model"] * (0 + 1 + 2 + 3)
    assert float(weights(system).max()) == torch.tensor(0.01)
    assert done == [1, 2, 3, 4]


def test_a_player_has_its_own_optimiser():
    """The gradient is -1: RMSProp steps lr/sqrt(0.01) at first, Adam lr; rates follow the step."""
    for rule, expected in (
        ({"optimizer": "rmsprop"}, 1e-2),
        ({"betas": (0.0, 0.9)}, 1e-3),
        ({"learning_rate_scale": lambda step: 3.0 - step}, 3e-3),
    ):
        system, objective = trainable_system(Circle(), codec=Identity()), Boxed(**rule)
        before = weights(system)
        objective.project = lambda player, system: None
        fit(system, objective, None, steps=1, batch=2, seed=0, learning_rate=1e-3)
        # The loss has a gradient of norm above 1, which is clipped: RMSProp and Adam forget its size.
        torch.testing.assert_close(weights(system) - before, torch.full_like(before, expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"optimizer": "sgd"}, "expected the optimizer adam or rmsprop"),
        ({"optimizer": "rmsprop", "betas": (0, 1)}, "no betas"),
    ],
)
def test_an_optimiser_that_is_not_there_is_refused(rule, message):
    with pytest.raises(InvalidInput, match=message):
        fit(trainable_system(Circle(), codec=Identity()), Boxed(**rule), None, steps=1, batch=2, seed=0)


def test_an_objective_may_schedule_the_average():
    system, objective = trainable_system(Circle(), codec=Identity()), Boxed()
    objective.project = lambda player, system: None
    objective.ema = lambda step: 0.25 * step  # the first average is the first weights
    before = weights(system)
    fit(system, objective, None, steps=2, batch=2, seed=0, learning_rate=1e-3)
    # Adam's steps are 1e-3 each under a constant gradient.
    torch.testing.assert_close(weights(system) - before, torch.full_like(before, 1.75e-3), rtol=1e-4, atol=1e-6)
