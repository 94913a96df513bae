from collections import deque

import pytest
import torch
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.parameterization import Eps
from suffuse_ddpm.unet import UNet
from suffuse_digits.dataset import Digits
from suffuse_iddpm.denoiser import LearnedRange
from suffuse_iddpm.history import probabilities, remember
from suffuse_iddpm.ring import held, ring_data
from suffuse_iddpm.vlb import Vlb

from suffuse.contracts.space import Euclidean
from suffuse.parts import Range
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.train.settings import Experiment, Settings
from suffuse.train.trainer import Trainer

F64 = torch.float64


@pytest.mark.parametrize("K", [1, 3, 10])
def test_the_latest_losses_of_each_step_are_kept(K):
    """Against a queue for each step, with batches in which a step comes more often than losses are kept."""
    g = torch.Generator().manual_seed(0)
    losses, counts = torch.zeros(4, K, dtype=F64), torch.zeros(4, dtype=torch.int64)
    queues = [deque(maxlen=K) for _ in range(4)]
    for _ in range(12):
        steps, fresh = torch.randint(0, 4, (23,), generator=g), torch.randn(23, generator=g, dtype=F64)
        losses, counts = remember(losses, counts, steps, fresh)
        for n, value in zip(steps.tolist(), fresh.tolist(), strict=True):
            queues[n].append(value)
        for row, queue, count in zip(losses, queues, counts, strict=True):
            assert sorted(row[: min(int(count), K)].tolist()) == sorted(queue)


def test_probabilities_are_uniform_until_all_steps_are_known():
    losses = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]], dtype=F64)
    assert torch.equal(probabilities(losses, torch.tensor([2, 9, 1]), 0.1), torch.full((3,), 1 / 3, dtype=F64))
    p = probabilities(losses, torch.tensor([2, 9, 2]), 0.1)
    torch.testing.assert_close(p, torch.tensor([0.9 * 5 / 6, 0.9 / 6, 0.0], dtype=F64) + 0.1 / 3)
    none = torch.zeros(3, 2, dtype=F64)
    assert torch.equal(probabilities(none, torch.tensor([2, 2, 2]), 0.1), torch.full((3,), 1 / 3, dtype=F64))


def test_steps_are_drawn_with_these_probabilities_and_weighed_back():
    system, objective = held(0.3), Vlb(T=5, levels=0)
    losses = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0], dtype=F64)[:, None].expand(5, 10)
    state = {"losses_of_steps": losses, "counts": torch.full((5,), 10)}
    p = probabilities(state["losses_of_steps"], state["counts"], 1e-3)
    loss = objective.loss("model", rows_of(ring_data(100, 0))(Rng.of(0, 4000)), system, state, Rng.of(1, 4000))
    share = torch.bincount(loss.seen["steps"] - 1, minlength=5) / 4000
    assert bool(((share - p).abs() < 5 * (p * (1 - p) / 4000).sqrt()).all())
    torch.testing.assert_close(loss.per_sample.double(), loss.seen["losses"] / p[loss.seen["steps"] - 1])


def test_no_history_is_uniform_whatever_comes():
    system, objective = held(0.3), Vlb(T=5, levels=0, history=0)
    rng = Rng.of(0, 50)
    state = objective.start(system, rng)
    loss = objective.loss("model", rows_of(ring_data(100, 0))(rng), system, state, rng)
    state = objective.after({**state, **loss.seen}, 1, system, rng)
    assert torch.equal(probabilities(state["losses_of_steps"], state["counts"], 1e-3), torch.full((5,), 0.2, dtype=F64))


@seeded(0)
def image_system():
    net = UNet(channels=1, width=4, multipliers=(1, 2), outputs=2, classes=10, dropout=0.0)
    model = Preconditioned(backbone=net, parameterization=Eps(), trained=Discrete(T=5, schedule="cosine"))
    return System(model=LearnedRange(model=model), space=Euclidean(shape=(1, 8, 8)), codec=Range(low=0.0, high=16.0))


def test_the_history_grows_in_training_in_memory():
    system, seen = held(0.3), []

    class Watched(Vlb):
        def after(self, state, step, system, rng):
            seen.append(super().after(state, step, system, rng))
            return seen[-1]

    system.model.requires_grad_(True)
    fit(system, Watched(T=5, levels=0), rows_of(ring_data(50, 0)), steps=4, batch=16, seed=0)
    assert [int(state["counts"].sum()) for state in seen] == [16, 32, 48, 64]


def test_the_trainer_keeps_the_history_in_its_checkpoints(tmp_path):
    def trainer(steps):
        settings = Settings(steps=steps, batch=8, save_every=2, log_every=2)
        parts = Experiment(system=image_system(), objective=Vlb(levels=17), data=Digits(), train=settings)
        return Trainer(parts, tmp_path / "run")

    first = trainer(2)
    first.run()
    assert int(first.progress["counts"].sum()) == 16
    again = trainer(4)
    again.run()
    assert int(again.progress["counts"].sum()) == 32
    assert set(again.progress) == {"losses_of_steps", "counts"}
