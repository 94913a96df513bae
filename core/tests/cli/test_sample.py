import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from suffuse.spec import dump_toml, load_json


def samples(path: str | Path) -> torch.Tensor:
    return load_file(f"{path}.safetensors")["samples"]


def test_a_sample_leaves_a_picture_tensors_and_a_record(suffuse, toy: Path) -> None:
    status, out, err = suffuse(
        "sample", "toy/squares", "--label", "0-9", "--n", "20", "--seed", "3", "--out", "d/a.png"
    )
    assert (status, err) == (0, "")
    assert "toy/squares: 20 samples in " in out
    assert "6 evaluations each" in out
    assert sorted(p.name for p in (toy / "d").iterdir()) == ["a.json", "a.png", "a.safetensors"]
    record = load_json(toy / "d/a.json")
    assert record["command"][:3] == ["suffuse", "sample", "toy/squares"]
    assert record["cond"] == {"label": [*range(10), *range(10)]}
    assert (record["nfe"], record["seed"], record["n"]) == (6, 3, 20)
    assert record["spec"]["sampler"]["use"] == "toy/euler"
    assert record["versions"]["suffuse-toy"] == "1.2.0"
    x = samples("d/a")
    assert x.shape == (20, 1, 8, 8)
    assert 0 <= float(x.min()) < float(x.max()) <= 1  # the codec's range
    # Ten columns of 56 pixels, gaps of 4; the middle of the first tile's corner pixel is the first value.
    picture = Image.open(toy / "d/a.png")
    assert picture.size == (10 * 60 - 4, 2 * 60 - 4)
    assert picture.getpixel((3, 3)) == (*(round(float(x[0, 0, 0, 0]) * 255),) * 3, 255)
    assert picture.getpixel((58, 3))[3] == 0


def test_the_recorded_command_gives_the_same_samples_again(suffuse, toy: Path) -> None:
    assert suffuse("sample", "toy/squares", "--n", "5", "--set", "sampler.churn=0.5", "--quiet")[0] == 0
    first = samples("samples")
    command = load_json(toy / "samples.json")["command"]
    for file in toy.iterdir():
        file.unlink()
    assert suffuse(*command[1:]) == (0, "", "")
    assert torch.equal(samples("samples"), first)


def test_batches_change_no_sample(suffuse) -> None:
    run = ("sample", "toy/squares", "--n", "5", "--set", "sampler.churn=0.5", "--label", "0-3", "--quiet")
    for name, batch in (("a", "5"), ("b", "2")):
        assert suffuse(*run, "--batch", batch, "--out", name) == (0, "", "")
    torch.testing.assert_close(samples("a"), samples("b"), rtol=0, atol=1e-6)
    assert load_json("a.json")["nfe"] == load_json("b.json")["nfe"] == 6


def test_parts_are_swapped_by_name_on_the_same_weights(suffuse) -> None:
    sets = ["sampler=toy/euler", "sampler.steps=4", "sampler.grid=log-snr", "sampler.grid.start=0.9"]
    sets += ["guidance=toy/pull", "guidance.scale=1.0"]
    swapped = [word for item in sets for word in ("--set", item)]
    status, out, _ = suffuse("sample", "toy/squares", "--label", "2", *swapped, "--out", "a")
    assert status == 0
    assert "suffuse/log-snr (start=0.9)" in out
    record = load_json("a.json")
    assert (record["nfe"], record["parts"]["steps"], record["n"]) == (8, 4, 1)
    # A scale of 1 is off, so the same without guidance; and the class mean is where every sample goes.
    assert suffuse("sample", "toy/squares", "--label", "2", *swapped, "--set", "guidance=none", "--out", "b")[0] == 0
    torch.testing.assert_close(samples("a"), samples("b"), rtol=0, atol=1e-5)
    assert load_json("b.json")["nfe"] == 4
    assert "guidance" not in load_json("b.json")["parts"]


def test_scores_are_against_a_data_set_which_can_stand_for_a_pipeline(suffuse) -> None:
    score = ("--score", "toy/distance", "--reference", "{use='toy/rows', with={size=30}}")
    status, out, _ = suffuse("sample", "toy/squares", *score, "--json", "--out", "a")
    assert status == 0
    record = json.loads(out)
    assert record == load_json("a.json")
    # The reference's mean is that of 0, 1/9, ..., 1.
    expected = abs(float(samples("a").mean()) - 0.5)
    assert math.isclose(record["metrics"]["distance"], expected, abs_tol=1e-6)
    assert suffuse("sample", "toy/rows", "--n", "40", *score, "--out", "b")[0] == 0
    floor = load_json("b.json")
    assert floor["nfe"] == 0
    assert floor["metrics"]["distance"] < 1e-6
    assert sorted(floor["cond"]["label"]) == sorted([*range(10)] * 4)  # all rows once


def test_a_folder_and_a_spec_file_are_pipelines_too(suffuse, toy: Path, site: Path) -> None:
    weights = str(site / "suffuse_toy" / "weights")
    assert suffuse("sample", weights, "--out", "a")[0] == 0
    spec = load_json(Path(weights, "suffuse.json"))["pipeline"]
    (toy / "p.toml").write_text(dump_toml(spec))
    (toy / "p.json").write_text(json.dumps(spec))
    assert suffuse("sample", "p.toml", "--out", "b", "--set", "model.side=4", "--set", "space.shape=[1,4,4]")[0] == 0
    assert samples("b").shape == (16, 1, 4, 4)
    assert suffuse("sample", "p.json", "--out", "c", "--cond", "label=1,2", "--n", "3")[0] == 0
    assert load_json("c.json")["cond"] == {"label": [1, 2, 1]}


def test_points_in_the_plane_are_scattered() -> None:
    from suffuse.cli.pictures import columns_for, drawable, scatter

    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert drawable(x)
    assert not drawable(torch.zeros(3, 5))
    assert scatter(x, [0, 1] * 25).size == (480, 480)
    assert [columns_for(n) for n in (1, 3, 12, 100)] == [1, 3, 6, 13]
    assert columns_for(30, [*range(10)] * 3) == 10
    assert columns_for(3, [4, 4, 4]) == 3


WRONG = [
    (["toy/squares", "--n", "0"], "--n must be at least 1, got 0"),
    (["toy/squares", "--n", "x"], "argument --n: invalid int value: 'x' (see suffuse sample --help)"),
    (["toy/squares", "--batch", "0"], "--batch must be at least 1, got 0"),
    (["toy/squares", "--seed", "-1"], "--seed must lie in 0 to 2**64 - 1, got -1"),
    (["toy/squares", "--frob"], "unrecognized arguments: --frob (see suffuse sample --help)"),
    ([], "the following arguments are required: pipeline (see suffuse sample --help)"),
    (["toy/squars"], "unknown weights 'toy/squars'; did you mean toy/squares?"),
    (["nowhere/a"], "the plugin 'nowhere' of 'nowhere/a' is neither installed nor known to suffuse"),
    (["toy/euler"], "expected dataset or weights, got the sampler toy/euler"),
    (["toy/broken"], "toy/broken: expected the path of a saved pipeline, got 3"),
    (["./missing"], "./missing: no such folder or file"),
    (["a/b/c"], "a/b/c: no such folder or file"),
    (["p.toml"], "p.toml: no such folder or file"),
    (["."], ". is no saved pipeline: it has no suffuse.json"),
    (["./x.txt"], "./x.txt: expected a saved pipeline's folder, or a spec in a .toml or .json file"),
    (["toy/squares", "--label", "12"], "expected label: integers (batch,) in [0, 10), got values from 12 to 12"),
    (["toy/squares", "--label", "3-1"], "--label takes classes such as 3, 0-9 or 1,4,7; got '3-1'"),
    (["toy/squares", "--label", "-1"], "--label takes classes such as 3, 0-9 or 1,4,7; got '-1'"),
    (["toy/squares", "--cond", "label"], "--cond takes KEY=VALUES, each key once, such as label=0,1,2; got 'label'"),
    (["toy/squares", "--cond", "label=a"], "--cond takes KEY=VALUES, each key once"),
    (["toy/squares", "--cond", "text=1"], "this model takes label: integers (batch,) in [0, 10), got ['text']"),
    (["toy/squares", "--set", "sampler.steps=0"], "steps must be at least 1, got 0 @ sampler.steps"),
    (["toy/squares", "--set", "sampler.steps=2.5"], "expected int, got float 2.5 @ sampler.steps"),
    (["toy/squares", "--set", "sampler.stepz=2"], "unknown setting 'stepz'; did you mean steps? @ sampler"),
    (["toy/squares", "--set", "samplr=toy/euler"], "unknown part 'samplr'; did you mean sampler?"),
    (["toy/squares", "--set", "sampler"], "expected an assignment such as sampler.steps=18, got 'sampler'"),
    (
        ["toy/squares", "--set", "sampler=toy/eulr"],
        "unknown sampler 'toy/eulr'; did you mean toy/euler or toy/slow? @ sampler",
    ),
    (["toy/squares", "--set", "sampler=toy/pull"], "expected sampler, got the guidance toy/pull @ sampler"),
    (["toy/squares", "--set", "guidance=toy/wants"], "guidance: toy/wants needs 'jump', which nothing here gives"),
    (["toy/squares", "--set", "model.side=4"], "model has weights, and they fit the settings it was trained with only"),
    (["toy/squares", "--set", "sampler=none"], "this system has no sampler or no process to walk through"),
    (["toy/squares", "--score", "toy/distance"], "--score and --reference go together"),
    (["toy/squares", "--score", "toy/dist", "--reference", "toy/rows"], "unknown metric 'toy/dist'"),
    (["toy/squares", "--score", "toy/distance", "--reference", "toy/row"], "unknown dataset 'toy/row'"),
    (["toy/squares", "--device", "warp"], "no device 'warp' here: "),
    (["toy/squares", "--out", "x.txt/a"], "cannot write to x.txt: "),
    (["toy/rows", "--n", "41"], "toy/rows has 40 rows, 41 were asked for"),
    (["toy/rows", "--label", "1"], "toy/rows is a data set: its rows have labels and take no --label or --cond"),
    (["toy/rows", "--set", "size=0"], "size must be at least 1, got 0 @ size"),
    (["toy/rows", "--set", "size=10", "--n", "11"], "toy/rows has 10 rows, 11 were asked for"),
]


@pytest.mark.parametrize(("argv", "message"), WRONG, ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else "")
def test_mistakes_are_one_line(suffuse, toy: Path, argv: list[str], message: str) -> None:
    (toy / "x.txt").write_text("")
    status, out, err = suffuse("sample", *argv)
    assert (status, out) == (2, "")
    assert err.startswith(f"suffuse: error: {message}")
    assert err.count("\n") == 1
    assert [p.name for p in toy.iterdir()] == ["x.txt"]


def test_what_is_altered_is_refused(suffuse, toy: Path, site: Path) -> None:
    import shutil

    shutil.copytree(site / "suffuse_toy" / "weights", toy / "w")
    (toy / "w/model.safetensors").write_bytes(b"short")
    status, _, err = suffuse("sample", "./w")
    assert status == 2
    assert err.startswith("suffuse: error: w/model.safetensors is truncated or altered: ")
    (toy / "w/suffuse.json").write_text("{}")
    assert suffuse("sample", "./w")[2] == "suffuse: error: w/suffuse.json: pipeline is malformed\n"


def test_an_interruption_leaves_nothing_behind(start, toy: Path) -> None:
    with start("sample", "toy/squares", "--set", "sampler=toy/slow", "--set", "sampler.steps=5") as process:
        assert process.stdout.readline() == "sampling\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == "suffuse: interrupted\n"
    assert list(toy.iterdir()) == []


def test_help_imports_no_torch_and_neither_do_mistakes_in_names(start) -> None:
    code = "import sys; from suffuse.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'rich', 'PIL') if m in sys.modules])"
    for argv in (["--help"], ["sample", "--help"], ["run", "--help"], ["train", "--help"], ["show", "--help"],
                 ["sample", "suffuse/uniform"], ["sample", "toy/squares", "--n", "0"]):  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]", argv
