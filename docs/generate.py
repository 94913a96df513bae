"""The generated pages: ``make docs`` writes plugins.md from manifests and evidence, composition.md from the matrix."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from suffuse.registry import Registry, registry
from suffuse.testing import evidence
from suffuse.testing.composition import matrix

HERE = Path(__file__).parent

INTRODUCTION = """# What goes with what

Compositions that the manifests allow, run where the truth is known: a mixture in the plane for Gaussian processes, a
table of sequences for discrete ones, two mixtures for bridges. A number is the distance between samples and truth in
units of what exact samples would exceed once in a thousand runs of the whole matrix: above 1 a composition differs.
Beside it is how many compositions of the pair ran; guidance stands where it is off. Every pair of two parts is in one
of them. The test suite runs a part that changes daily.

"""


def plugins(known: Registry) -> str:
    """A row for each plugin: the paper, its parts by kind, and the status of its evidence."""
    lines = ["# Plugins", "", "| plugin | paper | parts | " + " | ".join(evidence.TIERS) + " |"]
    lines.append("| --- | --- | --- |" + " --- |" * len(evidence.TIERS))
    for loaded in known.plugins():
        key, paper = loaded.origin.key, loaded.plugin.paper
        parts = [f"{c.kind} {c.name}" for c in loaded.components if c.kind != "claim"]
        status = evidence.status_of(evidence.package_of(known, key))
        told = " | ".join(status[tier] for tier in evidence.TIERS)
        lines.append(f"| {key} | {paper.citation if paper else ''} | {', '.join(parts)} | {told} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both pages."""
    (HERE / "plugins.md").write_text(plugins(registry()), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()) as said:
        matrix.main([])
    (HERE / "composition.md").write_text(INTRODUCTION + said.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    main()
