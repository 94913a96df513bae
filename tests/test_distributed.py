"""Two processes under torchrun train what one does, and tell the same losses."""

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file

STEPS = 4


def train(out: Path, *launcher: str) -> list[dict]:
    recipe = files("suffuse_digits") / "recipes" / "edm-dit.toml"
    program = [str(Path(sys.executable).with_name("suffuse")), "train", str(recipe), "--out", str(out), "--quiet"]
    settings = [f"--set=train.{s}" for s in (f"steps={STEPS}", "log_every=2", "batch=16")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launcher, *program, *settings], capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_two_processes_are_one(tmp_path):
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    one = train(tmp_path / "one")
    two = train(tmp_path / "two", torchrun, "--standalone", "--nproc_per_node", "2")
    # The same samples and noise, summed in another order: float32 rounding, over a few steps.
    a, b = (load_file(tmp_path / name / "pipeline" / "model.safetensors") for name in ("one", "two"))
    assert max(float((a[k] - b[k]).abs().max()) for k in a) < 1e-5
    assert [r["step"] for r in two] == [2, STEPS]
    for mine, theirs in zip(one, two, strict=True):
        for name in ("model/loss", "model/gradient"):
            torch.testing.assert_close(mine[name], theirs[name], rtol=1e-4, atol=0)
