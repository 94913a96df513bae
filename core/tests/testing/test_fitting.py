"""The loop in memory does what the trainer does."""

import pytest
import torch

from suffuse.contracts.objective import Loss, Objective, Player
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
