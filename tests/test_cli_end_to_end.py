"""The command line on what is really installed: published weights, parts of several plugins, and the demo's file."""

import json
import re
from pathlib import Path

import pytest

from suffuse import cli
from suffuse.registry import registry
from suffuse.spec import load_toml

DEMO = Path(__file__).parents[1] / "docs" / "demo.toml"
SCORE = ("--score", "digits/frechet", "--score", "digits/accuracy", "--reference", "digits/digits")


@pytest.fixture
def suffuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command line in an empty folder, and return its output once it has succeeded."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> str:
        status = cli.main(argv)
        out, err = capsys.readouterr()
        assert status == 0, err
        return out

    return run


@pytest.mark.parametrize("weights", ["digits/ddpm", "digits/edm"])
def test_both_weights_draw_the_digit_that_is_asked_for(suffuse, weights: str) -> None:
    swap = ("--set", "sampler=edm/heun", "--set", "sampler.steps=10")
    record = json.loads(suffuse("sample", weights, "--label", "0-9", "--n", "100", *swap, *SCORE, "--json"))
    # By chance one in ten would be read as asked for; 100 draws of chance reach 35 % with probability 1e-10.
    assert record["metrics"]["accuracy"] > 0.35
    assert record["nfe"] == 2 * 19
    noise = json.loads(suffuse("sample", weights, "--label", "0-9", "--n", "100", "--set", "sampler.terminal=stop",
                               "--set", "sampler.steps=2", *SCORE, "--json"))  # fmt: skip
    assert record["metrics"]["frechet"] < noise["metrics"]["frechet"]


@pytest.mark.parametrize(
    "sampler", ["ddpm/ancestral", "ddim/ddim", "edm/euler", "edm/stochastic", "dpm-solver-pp/multistep"]
)
@pytest.mark.parametrize("weights", ["digits/ddpm", "digits/edm"])
def test_every_sampler_runs_on_every_weights(suffuse, weights: str, sampler: str) -> None:
    out = suffuse(
        "sample", weights, "--n", "2", "--label", "3", "--set", f"sampler={sampler}", "--set", "sampler.steps=4"
    )
    assert re.search(rf"sampler +{sampler}", out)


def test_the_demo_names_only_what_is_installed() -> None:
    known = registry()
    for section in load_toml(DEMO)["section"]:
        for step in section["step"]:
            for ref in re.findall(r"(?<![\w./])[a-z][a-z0-9-]*/[a-z][a-z0-9.-]*", " ".join(step["command"])):
                assert any(entry.ref == ref for entry in known.find()), ref


def test_a_short_demo_becomes_a_report(suffuse, tmp_path: Path) -> None:
    text = DEMO.read_text()
    text = re.sub(r'"--n", "200"', '"--n", "10"', text)
    text = re.sub(r'"n=24"', '"n=2"', text)
    text = re.sub(r"steps=\d+", "steps=2", text)
    (tmp_path / "short.toml").write_text(text)
    out = suffuse("run", "short.toml", "--out", "d")
    assert "report: d/report.html" in out
    page = (tmp_path / "d/report.html").read_text()
    commands = sum(len(section["step"]) for section in load_toml(DEMO)["section"])
    assert page.count("<figcaption>") == commands
    assert page.count('<tr class="floor">') == 1
    assert "http" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)
