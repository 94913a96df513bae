import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from suffuse.testing import evidence


def test_a_part_with_its_paper_settings_and_partners(suffuse) -> None:
    status, out, err = suffuse("show", "toy/euler")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == ["toy/euler  sampler", "one evaluation a step"]
    assert "paper       Toys (2024, arXiv:2401.00001)" in lines
    assert "            A. Author" in lines
    assert "needs       gaussian, given by toy/vp" in lines
    assert "            mean, given by suffuse/preconditioned, toy/templates" in lines
    (churn,) = [line.split() for line in lines if line.startswith("  churn")]
    assert churn == ["churn", "float", "0.0", ">=", "0,", "<=", "1", "noise", "added", "to", "each", "step"]
    assert "evidence    nothing measured yet: suffuse verify measures it" in lines


def test_a_part_as_json(suffuse) -> None:
    about = json.loads(suffuse("show", "toy/templates", "--json")[1])
    assert about["paper"]["arxiv"] == "2401.00001"
    assert about["gives"]["conditional"] == ["toy/pull"]
    assert [s["name"] for s in about["settings"]] == ["side", "trained"]
    assert about["settings"][1]["default"] == "toy/vp"
    assert about["doc"].startswith("The exact conditional mean")


def test_a_plugin_and_its_weights(suffuse, site: Path) -> None:
    assert "  sampler          toy/euler                      one evaluation a step" in suffuse("show", "toy")[1]
    for ref in ("toy/squares", str(site / "suffuse_toy" / "weights")):
        status, out, _ = suffuse("show", ref)
        assert status == 0
        assert "model.safetensors  0.00 MB  sha256 " in out
        assert "title       Squares" in out
        assert 'use = "toy/templates"' in out
        assert json.loads(suffuse("show", ref, "--json")[1])["requires"] == ["suffuse 0.1.0", "suffuse-toy 1.2.0"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["toy/eulr"], "unknown 'toy/eulr'; did you mean toy/euler"),
        (["toy/euler", "--kind", "task"], "unknown task 'toy/euler': toy/euler is of kind sampler"),
        (["./nothing"], "./nothing: no such folder or file"),
        (["toy/broken"], "toy/broken: expected the path of a saved pipeline, got 3"),
    ],
)
def test_mistakes_are_one_line(suffuse, argv: list[str], message: str) -> None:
    status, out, err = suffuse("show", *argv)
    assert (status, out) == (2, "")
    assert err.startswith(f"suffuse: error: {message}")
    assert err.count("\n") == 1


@pytest.fixture
def package(site: Path) -> Iterator[Path]:
    yield site / "suffuse_toy"
    (site / "suffuse_toy" / evidence.FILE).unlink(missing_ok=True)


def test_evidence_is_told_by_tier_and_goes_stale(suffuse, package: Path) -> None:
    orders = {"status": "passed", "effect": 0.5, "interval": [0.4, 0.6], "margin": 0.1}
    tiers = {
        "contract": {
            "status": "failed",
            "rules": {"sampler euler": {"status": "failed"}, "task x": {"status": "passed"}},
        },
        "exact": {"status": "passed", "rules": {"sums": {"status": "passed", "effects": [0.25, 0.5]}}},
        "claim": {"status": "passed", "rules": {"orders": orders}},
    }
    told = {"measured": "2025-01-02", "source": evidence.source_hash(package), "tiers": tiers}
    evidence.write(package, told)
    lines = suffuse("show", "toy/euler")[1].splitlines()
    assert lines[lines.index("evidence    measured on 2025-01-02") + 1 :] == [
        "  contract  failed; 2 rules, 0.0 s",
        "    sampler euler                failed",
        "  exact     passed; 1 rule, 0.0 s",
        "    sums                         passed   smallest margin 0.25 over 2 seeds",
        "  claim     passed; 1 rule, 0.0 s",
        "    orders                       passed   effect 0.5 [0.4, 0.6], must lie above 0.1",
        "  parity    not run; 0 rules, 0.0 s",
    ]
    evidence.write(package, told | {"source": "another"})
    assert "  claim     stale, was passed; 1 rule, 0.0 s" in suffuse("show", "toy")[1]
    assert json.loads(suffuse("show", "toy", "--json")[1])["evidence"]["tiers"]["exact"]["now"] == "stale"
    (package / evidence.FILE).write_text("{}")
    assert "evidence.jsonisnoevidence" in "".join(suffuse("show", "toy")[1].split())  # wrapped anywhere
