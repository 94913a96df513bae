import json

import pytest
import torch

from suffuse.errors import WeightsError
from suffuse.train import checkpoint

STATE = {
    "modules": {"model": {"w": torch.arange(6.0).reshape(2, 3).T, "n": torch.tensor(3)}},
    "optimizers": {
        "model": {"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": [{"lr": 0.1, "betas": [0.9, 0.99]}]}
    },
    "half": torch.ones(2, dtype=torch.bfloat16),
    "progress": {"grid": 64, "none": None, "flag": True, "empty": {}, "rate": 0.1 + 0.2},
    # Two paths that are spelled the same.
    "a": {"b/c": torch.zeros(1)},
    "a/b": {"c": torch.ones(1)},
}


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b and type(a) is type(b)


def test_round_trip(tmp_path):
    path = checkpoint.write(tmp_path, 7, STATE, keep=2)
    assert path.name == "step-000000007"
    step, state = checkpoint.read(path)
    assert step == 7
    assert same(STATE, state)


def test_the_newest_are_kept_and_leftovers_go(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    (tmp_path / ".writing-dead").mkdir()
    (tmp_path / ".writing-dead" / "state.json").write_text("{")
    for step in (9, 10, 100):
        checkpoint.write(tmp_path, step, STATE, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000010", "step-000000100"]
    assert checkpoint.latest(tmp_path) == tmp_path / "step-000000100"


def test_a_step_can_be_written_again(tmp_path):
    checkpoint.write(tmp_path, 1, {"v": 1}, keep=2)
    checkpoint.write(tmp_path, 1, {"v": 2}, keep=2)
    assert checkpoint.read(tmp_path / "step-000000001") == (1, {"v": 2})


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    checkpoint.write(tmp_path, 1, {"v": 1}, keep=1)
    with pytest.raises(TypeError):
        checkpoint.write(tmp_path, 2, {"v": object()}, keep=1)
    latest = checkpoint.latest(tmp_path)
    assert latest is not None
    assert checkpoint.read(latest) == (1, {"v": 1})


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "noise", "other"])
def test_damage_is_named(tmp_path, file, damage):
    path = checkpoint.write(tmp_path, 1, STATE, keep=1)
    target = path / file
    content = target.read_bytes()
    if damage == "missing":
        target.unlink()
    else:
        other = json.dumps([1, 2]).encode()
        damaged = {"empty": b"", "truncated": content[:-5], "noise": b"\x93" * len(content), "other": other}
        target.write_bytes(damaged[damage])
    with pytest.raises(WeightsError, match=r"step-000000001 is damaged .*remove it to resume from the one before"):
        checkpoint.read(path)
