import json
import signal
import time
from pathlib import Path

import pytest

EXPERIMENT = """
seed = 1
data = "toy/rows"
objective = { use = "toy/regress", with = { wait = 0.0 } }
[system]
model = "toy/templates"
space = { use = "suffuse/euclidean", with = { shape = [1, 8, 8] } }
codec = "suffuse/range"
sampler = { use = "toy/euler", with = { steps = 3 } }
[train]
steps = 6
batch = 4
log_every = 2
[card]
title = "Trained here"
"""


@pytest.fixture
def file(toy: Path) -> Path:
    (toy / "squares.toml").write_text(EXPERIMENT)
    return toy / "squares.toml"


def test_training_leaves_a_pipeline_that_samples(suffuse, toy: Path, file: Path) -> None:
    status, out, err = suffuse("train", "squares.toml", "--set", "train.learning_rate=1e-3")
    assert (status, err) == (0, "")
    assert out.startswith("squares: at step 6, ")
    assert [json.loads(line)["step"] for line in (toy / "runs/squares/log.jsonl").open()] == [2, 4, 6]
    assert suffuse("sample", "runs/squares/pipeline", "--out", "a")[0] == 0
    assert "title       Trained here" in suffuse("show", "runs/squares/pipeline")[1]
    # The same command with more steps goes on: only the two further ones are logged.
    status, out, _ = suffuse(
        "train", "squares.toml", "--set", "train.learning_rate=1e-3", "--set", "train.steps=8", "--json"
    )
    assert status == 0
    assert json.loads(out)["steps"] == 8
    assert [json.loads(line)["step"] for line in (toy / "runs/squares/log.jsonl").open()] == [2, 4, 6, 8]


def test_an_interruption_saves_and_says_so(start, toy: Path, file: Path) -> None:
    slow = ("--set", "objective.wait=0.05", "--set", "train.steps=400", "--set", "train.log_every=1", "--out", "r")
    with start("train", "squares.toml", *slow) as process:
        end = time.monotonic() + 60
        while not (toy / "r/log.jsonl").exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        message = process.stderr.read()
    assert message.startswith("suffuse: stopped at step ")
    assert message.count("\n") == 1
    (checkpoint,) = (toy / "r/checkpoints").iterdir()
    assert checkpoint.name == f"step-{int(message.split()[4].strip(';')):09d}"


def test_a_loss_that_is_not_finite_is_a_failure_not_a_mistake(suffuse, file: Path) -> None:
    status, out, err = suffuse(
        "train", "squares.toml", "--set", "objective.rate=1e38", "--set", "train.learning_rate=1e30"
    )
    assert (status, out) == (1, "")
    assert err.startswith("suffuse: error: model/")
    assert "is not finite by step" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["none.toml"], "cannot read none.toml: No such file or directory"),
        (["x.txt"], "x.txt is not valid TOML: "),
        (["squares.toml", "--set", "train.steps=0"], "steps must be at least 1, got 0 @ train.steps"),
        (["squares.toml", "--set", "train.step=5"], "unknown setting 'step'; did you mean steps"),
        (["squares.toml", "--set", "objective=toy/euler"], "expected objective, got the sampler toy/euler @ objective"),
        (
            ["squares.toml", "--set", "data=gone/rows"],
            "the plugin 'gone' of 'gone/rows' is neither installed nor known",
        ),
        (["squares.toml", "--set", "seed=-1"], "expected an integer from 0 to 2**64 - 1, got -1 @ seed"),
        (["squares.toml", "--out", "x.txt/a"], "cannot write to x.txt/a: "),
    ],
)
def test_mistakes_are_one_line(suffuse, toy: Path, file: Path, argv: list[str], message: str) -> None:
    (toy / "x.txt").write_text("no = toml = this")
    status, out, err = suffuse("train", *argv)
    assert (status, out) == (2, "")
    assert err.startswith(f"suffuse: error: {message}")
    assert err.count("\n") == 1
    assert not (toy / "runs").exists()
