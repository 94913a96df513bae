import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest
import torch
import training_toy as toy
from torch import nn

from suffuse.contracts.objective import Player
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError, WeightsError
from suffuse.train.trainer import Diverged, Interrupted, Trainer


def trainer(folder, **settings) -> Trainer:
    return Trainer(toy.experiment(**settings), folder, registry=toy.registry())


def stop_at(step: int):
    """A log callback that asks the run to stop, as Ctrl-C does."""

    def on_log(now, logs):
        if now == step:
            os.kill(os.getpid(), signal.SIGINT)

    return on_log


def everything(run: Trainer) -> dict[str, torch.Tensor]:
    """Weights, averages, optimiser state and progress, by name."""
    found: dict[str, torch.Tensor] = {}
    from suffuse.train.checkpoint import flatten

    flatten({**run._state(), "step": run.step}, found)
    return found


def assert_same(a: Trainer, b: Trainer) -> None:
    x, y = everything(a), everything(b)
    assert list(x) == list(y)
    for name in x:
        assert torch.equal(x[name], y[name]), name
    assert a.progress["steps"] == b.progress["steps"] if "steps" in a.progress else True
    assert a.step == b.step


@pytest.mark.parametrize("make", [lambda: toy.Regression(), lambda: toy.Duel()], ids=["one-player", "two-players"])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, make):
    torch.manual_seed(0)
    objective = make()
    start = {k: v.clone() for k, v in objective.state_dict().items()} if isinstance(objective, nn.Module) else None

    def fresh():
        if start is not None:
            objective.load_state_dict(start)
        return objective

    whole = trainer(tmp_path / "whole", objective=fresh(), log_every=1)
    whole.run()
    kept = {k: v.clone() for k, v in everything(whole).items()}
    first = trainer(tmp_path / "parts", objective=fresh(), log_every=1)
    with pytest.raises(Interrupted, match="stopped at step 11; the same command goes on"):
        first.run(stop_at(10))
    second = trainer(tmp_path / "parts", objective=fresh(), log_every=1)
    pipeline = second.run()
    for name, value in everything(second).items():
        assert torch.equal(value, kept[name]), name
    whole_model = dict(whole.system.modules()["model"].state_dict())
    for name, value in pipeline.system.modules()["model"].state_dict().items():
        assert torch.equal(value, whole_model[name]), name
    # The log has each step once.
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 21))


def test_a_finished_run_gives_its_pipeline_again(tmp_path):
    first = trainer(tmp_path).run().system.sample(8, seed=1)
    again = trainer(tmp_path)
    assert torch.equal(again.run().system.sample(8, seed=1), first)
    assert again.step == 20


def test_a_run_may_be_made_longer(tmp_path):
    trainer(tmp_path, decay="none").run()
    longer = trainer(tmp_path, steps=30, decay="none")
    longer.run()
    whole = trainer(tmp_path / "whole", steps=30, decay="none")
    whole.run()
    assert_same(longer, whole)


def test_players_have_their_own_turns_batches_and_rates(tmp_path):
    duel = toy.Duel()
    run = trainer(tmp_path, objective=duel, steps=4, log_every=2, warmup=0, decay="none")
    run.run()
    assert [name for name, _ in duel.turns] == (["critic"] * 3 + ["model", "model"]) * 2
    batches = [batch for _, batch in duel.turns]
    assert len(set(batches)) == len(batches)
    # A player that rests counts only where it played.
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"critic/loss", "critic/gradient", "model/loss", "model/mse", "samples_per_second"} <= set(lines[0])
    rates = {name: o.param_groups[0]["lr"] for name, o in run.optimizers.items()}
    assert rates == {"critic": pytest.approx(5e-3), "model": pytest.approx(1e-2)}
    assert run.optimizers["critic"].state_dict()["state"][0]["step"] == 6
    assert run.optimizers["model"].state_dict()["state"][0]["step"] == 4


def test_each_epoch_shows_every_row_once(tmp_path):
    duel = toy.Duel()
    trainer(tmp_path, objective=duel, data=toy.Ring(size=40), steps=10, batch=16).run()
    shown = [i for name, batch in duel.turns if name == "model" for i in batch]
    assert set(shown) == set(range(40))
    solo = toy.Duel()
    solo.players = lambda system: {"model": Player(modules=(system.model,))}
    trainer(tmp_path / "solo", objective=solo, data=toy.Ring(size=40), steps=5, batch=16).run()
    shown = [i for _, batch in solo.turns for i in batch]
    assert sorted(shown[:40]) == sorted(shown[40:80]) == list(range(40))
    assert shown[:40] != shown[40:]


def test_the_average_is_the_formula(tmp_path):
    """avg_1 = w_1, then avg_n = d_n avg + (1 - d_n) w_n with d_n = min(ema, (1 + n)/(10 + n)), in float64."""
    run = trainer(tmp_path, ema=0.6)
    expected = None
    for n in range(1, 13):
        run._one_step()
        weights = torch.cat([p.detach().double().flatten() for p in run.averaged.parameters()])
        d = min(0.6, (1 + n) / (10 + n))
        expected = weights if expected is None else d * expected + (1 - d) * weights
    averaged = torch.cat([p.detach().double().flatten() for p in run.average.module.parameters()])
    # Twelve float32 lerps of numbers below 2, each with an error of at most 2 half units in the last place.
    assert float((averaged - expected).abs().max()) < 12 * 2 * 2.0**-24 * 2
    calls = [b for name, b in run.average.module.named_buffers() if name.endswith("calls")]
    assert calls == [12]


def test_dropout_depends_on_seed_and_step_alone(tmp_path):
    runs = []
    for i in range(2):
        torch.manual_seed(i)
        torch.rand(i)
        runs.append(trainer(tmp_path / str(i), steps=3))
        runs[-1].run()
        after = torch.rand(1)
        torch.manual_seed(i)
        torch.rand(i)
        assert torch.equal(after, torch.rand(1)), "training moved torch's global generator"
    assert_same(*runs)
    other = trainer(tmp_path / "seed", steps=3, seed=4)
    other.run()
    assert any(
        not torch.equal(a, b)
        for a, b in zip(runs[0].modules["model"].parameters(), other.modules["model"].parameters(), strict=True)
    )


def test_it_learns(tmp_path):
    losses = []
    trainer(tmp_path, steps=400, log_every=100, batch=64).run(lambda step, logs: losses.append(logs["model/loss"]))
    assert losses[-1] < 0.6  # a network that says nothing of unit noise loses 1


def test_a_loss_that_is_not_finite_leaves_a_good_checkpoint(tmp_path):
    run = trainer(tmp_path, objective=toy.Regression(diverges=12), save_every=5)
    with pytest.raises(Diverged, match="model/loss is not finite by step 15"):
        run.run()
    again = trainer(tmp_path, steps=12, decay="cosine", save_every=5)
    again._restore(tmp_path / "checkpoints" / "step-000000010")
    assert again.step == 10
    assert all(p.isfinite().all() for p in again.modules["model"].parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": toy.Ring(bad=3)}, "NaN"),
        ({"objective": "frozen"}, "has no parameters to train"),
        ({"objective": "lost"}, "trains what is no field"),
    ],
)
def test_bad_input_is_refused(tmp_path, settings, message):
    objective = toy.Duel()
    if settings.get("objective") == "frozen":
        objective.players = lambda system: {"model": Player(modules=(nn.Identity(),))}
        settings = {"objective": objective}
    elif settings.get("objective") == "lost":
        objective.players = lambda system: {"model": Player(modules=(nn.Linear(1, 1),))}
        settings = {"objective": objective}
    with pytest.raises(InvalidInput, match=message):
        trainer(tmp_path, **settings).run()


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 3)
    with pytest.raises(InvalidInput, match="batch=16 does not divide over 3 processes"):
        trainer(tmp_path)


def test_a_system_that_could_not_be_saved_is_refused_before_training(tmp_path):
    with pytest.raises(SpecError, match="registered by no plugin"):
        Trainer(toy.experiment(), tmp_path, registry=toy.registry(without=True))


def test_needs_are_checked(tmp_path):
    class Choosy(toy.Regression):
        needs = frozenset({"conditional"})

    with pytest.raises(IncompatibleComponents, match="Choosy needs 'conditional'"):
        toy.experiment(objective=Choosy())


@pytest.mark.parametrize("change", [{"learning_rate": 1e-3}, {"seed": 4}, {"batch": 8}])
def test_another_experiment_in_the_folder_is_refused(tmp_path, change):
    trainer(tmp_path, steps=2).run()
    with pytest.raises(InvalidInput, match=f"{next(iter(change))} was .*choose another folder"):
        trainer(tmp_path, **{"steps": 2, **change}).run()


def test_another_network_in_the_folder_is_refused(tmp_path):
    trainer(tmp_path, steps=2).run()
    other = attrs.evolve(toy.experiment(steps=2), system=toy.system(width=5))
    with pytest.raises(InvalidInput, match=r"another experiment \(.*size mismatch"):
        Trainer(other, tmp_path, registry=toy.registry()).run()


def test_a_run_past_its_steps_is_refused(tmp_path):
    trainer(tmp_path).run()
    with pytest.raises(InvalidInput, match="is at step 20, past steps=10"):
        trainer(tmp_path, steps=10).run()


def test_a_damaged_checkpoint_says_so_and_the_one_before_serves(tmp_path):
    trainer(tmp_path, save_every=5).run()
    newest = tmp_path / "checkpoints" / "step-000000020"
    (newest / "state.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(WeightsError, match=r"step-000000020 is damaged .*remove it to resume from the one before"):
        trainer(tmp_path, save_every=5).run()
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    run = trainer(tmp_path, save_every=5)
    run.run()
    whole = trainer(tmp_path / "whole")
    whole.run()
    assert_same(run, whole)


def start(folder: Path, steps: int) -> subprocess.Popen[str]:
    command = [sys.executable, toy.__file__, str(folder), str(steps)]
    kept = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=kept)


def wait_for(process: subprocess.Popen[str], step: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= step:
            return
    raise AssertionError("the run ended early")


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    """Killed with no chance to clean up, at whatever it was doing."""
    process = start(tmp_path / "killed", 30)
    wait_for(process, 8)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert process.stdout is not None
    process.stdout.close()
    resumed = trainer(tmp_path / "killed", steps=30, save_every=5)
    resumed.run()
    whole = trainer(tmp_path / "whole", steps=30, save_every=5)
    whole.run()
    assert_same(resumed, whole)


def test_ctrl_c_saves_and_leaves(tmp_path):
    process = start(tmp_path, 10**6)
    wait_for(process, 3)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 20
    message = rest.splitlines()[-1]
    assert message.startswith("stopped at step ")
    step = int(message.removeprefix("stopped at step ").split(";")[0])
    assert (tmp_path / "checkpoints" / f"step-{step:09d}" / "state.json").is_file()


def test_the_rate_warms_up_and_decays(tmp_path):
    run = trainer(tmp_path, steps=100, warmup=10, decay="cosine", learning_rate=1.0)
    assert run._rate(0) == pytest.approx(0.1)
    assert run._rate(50) == pytest.approx(0.5)
    assert run._rate(99) == pytest.approx(0.5 * (1 + math.cos(0.99 * math.pi)))
    assert trainer(tmp_path, warmup=0, decay="none", learning_rate=1.0)._rate(7) == 1.0
