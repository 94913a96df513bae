"""Every process, parameterization, sampler and guidance that say they go together, run on an exact mixture.

``python -m suffuse.testing.composition.matrix`` runs all of it and prints the table of the docs; ``covering`` chooses
a part of it, by a seed, that has every pair.
"""

from __future__ import annotations

import datetime
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from typing import Any

import attrs
import torch
from scipy.stats import gamma

from suffuse.capabilities import Given, check
from suffuse.contracts import kinds
from suffuse.contracts.guidance import Guidance
from suffuse.errors import IncompatibleComponents, Unsupported
from suffuse.parts import LogSnr, Uniform
from suffuse.registry import Entry, registry
from suffuse.spec import structure
from suffuse.system import System
from suffuse.testing.composition.gaussian import SPACE, exact_model, labels, truth
from suffuse.testing.statistics import energy_distance

STEPS, SAMPLES = 100, 600
# The chance that a correct composition fails anywhere in the whole matrix.
LEVEL = 1e-3
AXES = ("process", "parameterization", "sampler", "guidance")


@attrs.frozen
class Cell:
    """One composition, by reference; without guidance where the last is empty."""

    process: str
    parameterization: str
    sampler: str
    guidance: str = ""

    def pairs(self) -> set[tuple[str, str]]:
        """What it covers."""
        return set(combinations(attrs.astuple(self), 2))


@attrs.frozen
class Outcome:
    """``agrees``, ``differs`` or ``refused``, with the distance in units of its bound or the reason."""

    said: str
    told: str


def entries(kind: str) -> list[Entry]:
    """All installed parts of a kind; of processes those with a scalar Gaussian kernel."""
    found = [e for e in registry().find(kind=kind) if e.origin.key != "suffuse"]
    return [e for e in found if kind != "process" or "gaussian" in e.component.gives]


def refusal(parts: Sequence[Entry]) -> str:
    """Why the manifests say that these do not go together, or nothing."""
    given = [Given(e.ref, e.ref, frozenset(e.component.needs), frozenset(e.component.gives)) for e in parts]
    model = Given("model", "a denoiser", frozenset(), frozenset({"mean", "conditional"}))
    try:
        check([*given, model])
    except IncompatibleComponents as error:
        return str(error)
    return ""


def cells() -> list[Cell]:
    """All compositions that the manifests allow."""
    known = {kind: entries(kind) for kind in AXES}
    found = []
    for process in known["process"]:
        for parameterization in known["parameterization"]:
            for sampler in known["sampler"]:
                for guidance in [None, *known["guidance"]]:
                    parts = [process, parameterization, sampler, *([guidance] if guidance else [])]
                    if not refusal(parts) and (guidance is None or _scale(guidance.ref)):
                        found.append(Cell(*(p.ref for p in parts)))
    return found


def covering(all_cells: Sequence[Cell], seed: int) -> list[Cell]:
    """Few cells, chosen by the seed, in which every pair of parts that occurs at all occurs."""
    order, left = list(all_cells), set().union(*(c.pairs() for c in all_cells))
    random.Random(seed).shuffle(order)
    chosen = []
    while left:
        best = max(order, key=lambda c: len(c.pairs() & left))
        chosen.append(best)
        left -= best.pairs()
    return chosen


def run(cell: Cell, seed: int, tests: int) -> Outcome:
    """Draw samples and compare them with the truth: the mixture's, or the labelled class's where guidance is off."""
    process, parameterization = (part_of(kind, getattr(cell, kind)) for kind in AXES[:2])
    sampler = part_of("sampler", cell.sampler, steps=STEPS)
    if isinstance(sampler.grid, Uniform):  # which suits no process whose noise grows to 80: even steps of log-SNR do
        sampler = attrs.evolve(sampler, grid=LogSnr())
    guidance = part_of("guidance", cell.guidance, **_scale(cell.guidance)) if cell.guidance else None
    cond = {"label": labels(SAMPLES)} if cell.guidance else None
    try:
        model = exact_model(process, parameterization)
        system = System(model=model, space=SPACE, process=process, sampler=sampler, guidance=guidance)
        x = system.sample(SAMPLES, cond=cond, seed=seed, dtype=torch.float64)
    except (Unsupported, IncompatibleComponents) as error:
        return Outcome("refused", str(error))
    expected = truth(SAMPLES, torch.Generator().manual_seed(seed), conditional=bool(cond))
    assert isinstance(x, torch.Tensor)
    share = energy_distance(x, expected).value / bound(bool(cond), tests)
    return Outcome("agrees" if share <= 1 else "differs", f"{share:.2f}")


@cache
def bound(conditional: bool, tests: int) -> float:
    """The energy distance of two exact samples that one of ``tests`` exceeds with probability LEVEL.

    The tail of a gamma law with the mean and variance of 200 such distances: the limit law is a weighted sum of
    chi-squares, shifted to mean zero.
    """
    g = torch.Generator().manual_seed(0)
    pairs = [[truth(SAMPLES, g, conditional=conditional) for _ in range(2)] for _ in range(200)]
    values = torch.tensor([energy_distance(*pair).value for pair in pairs], dtype=torch.float64)
    spread, skew = float(values.std()), float(((values - values.mean()) / values.std()).pow(3).mean())
    shape = 4 / skew**2
    tail = float(gamma.isf(LEVEL / tests, shape))
    return float(values.mean()) + spread * (tail - shape) / math.sqrt(shape)


def pairs_refused() -> Iterator[tuple[Entry, Entry, str]]:
    """Pairs of a process and another part that the manifests refuse, with the reason."""
    every = registry().find(kind="process")
    for kind in AXES[1:]:
        for other in entries(kind):
            for process in every:
                if reason := refusal([process, other]):
                    yield process, other, reason


@cache
def _scale(ref: str) -> dict[str, Any]:
    """The settings under which a guidance of one strength is off: ``scale = 1`` for all of them."""
    component = registry().get(ref, "guidance").component
    cls = registry().resolve(ref, "guidance")
    names = {a.name for a in attrs.fields(cls)}
    ours = "scale" in names and issubclass(cls, Guidance) and not cls.reads and "scale" not in component.example
    return {"scale": 1.0} if ours else {}


def part_of(kind: str, ref: str, **settings: Any) -> Any:  # noqa: ANN401 - a part of this kind
    """An installed part under its example settings and these."""
    component = registry().get(ref, kind).component
    spec = {"use": ref, "with": {**component.example, **settings}}
    return structure(spec, kinds.contract_of(kind), registry=registry())


def table(results: dict[Cell, Outcome], seconds: float) -> str:
    """Process by sampler: the worst over parameterizations and guidance, in units of the bound."""
    processes, samplers = (sorted({getattr(c, axis) for c in results}) for axis in ("process", "sampler"))
    lines = ["| sampler | " + " | ".join(processes) + " |", "| --- |" + " --- |" * len(processes)]
    for sampler in samplers:
        row = []
        for process in processes:
            here = [o for c, o in results.items() if c.process == process and c.sampler == sampler]
            ran = [float(o.told) for o in here if o.said != "refused"]
            row.append(f"{max(ran):.2f}" + (f" ({len(ran)})" if ran else "") if ran else "refused")
        lines.append(f"| {sampler} | " + " | ".join(row) + " |")
    return "\n".join(lines) + f"\n\n{len(results)} compositions, {seconds:.0f} s\n"


def today() -> int:
    """The seed of the part that is run: another one every day."""
    return datetime.date.today().toordinal()


def main() -> None:
    """Run everything and print the table, the deviations on standard error."""
    torch.set_num_threads(1)
    began, todo, found = time.perf_counter(), cells(), {}
    for cell in todo:
        found[cell] = run(cell, 0, len(todo))
        if found[cell].said != "agrees":
            sys.stderr.write(f"{found[cell].said}: {cell}: {found[cell].told}\n")
    sys.stdout.write(table(found, time.perf_counter() - began))


if __name__ == "__main__":
    main()
