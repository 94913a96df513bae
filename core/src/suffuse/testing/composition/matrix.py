"""Every process, parameterization, sampler and guidance that say they go together, run where the truth is known.

A Gaussian process is judged on a mixture in the plane, a discrete one on a table of sequences, a bridge between two
mixtures. Other processes (phase space, graphs, groups, degradations) have an exact world in their own plugin only.

``python -m suffuse.testing.composition.matrix`` prints the tables of the docs; ``covering`` chooses a part of the
compositions, by a seed, that has every pair.
"""

from __future__ import annotations

import datetime
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, product
from typing import Any

import attrs
import torch
from scipy.stats import gamma

from suffuse.capabilities import Given, check
from suffuse.contracts import kinds
from suffuse.errors import IncompatibleComponents, Unsupported
from suffuse.parts import LogSnr, Uniform
from suffuse.registry import Entry, registry
from suffuse.spec import structure
from suffuse.system import System
from suffuse.testing.composition import bridges, tokens
from suffuse.testing.composition.gaussian import SPACE, exact_model, labels, truth
from suffuse.testing.statistics import energy_distance

STEPS, SAMPLES = 100, 1000
# The chance that a correct composition fails anywhere in the whole matrix.
LEVEL = 1e-3
AXES = ("process", "sampler", "parameterization", "guidance")
# What the exact model and the space of each world give, by what its processes give.
WORLDS = {
    "gaussian": frozenset({"mean", "conditional", "flat"}),
    "discrete": frozenset({"logits", "tokens"}),
    "bridge": frozenset({"field", "score", "flat"}),
}


@attrs.frozen
class Cell:
    """One composition, by reference; empty where there is no guidance, or no parameterization to choose."""

    process: str
    sampler: str
    parameterization: str = ""
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
    """All installed plugins' parts of a kind; of processes those that have an exact world here."""
    found = [e for e in registry().find(kind=kind) if e.origin.key != "suffuse"]
    return [e for e in found if kind != "process" or world_of(e)]


def world_of(process: Entry) -> str:
    """The world of a process, or nothing."""
    return next((world for world in WORLDS if world in process.component.gives), "")


def refusal(parts: Sequence[Entry], around: frozenset[str]) -> str:
    """Why the manifests say that these do not go together in a model and a space that give this, or nothing."""
    given = [Given(e.ref, e.ref, frozenset(e.component.needs), frozenset(e.component.gives)) for e in parts]
    try:
        check([*given, Given("around", "a model and a space", frozenset(), around)])
    except IncompatibleComponents as error:
        return str(error)
    return ""


def cells() -> list[Cell]:
    """All compositions that the manifests allow; guidance that can be switched off stands where it is off."""
    guidances = [None, *(e for e in entries("guidance") if e.component.off)]
    found = []
    for process in entries("process"):
        world = world_of(process)
        choices = entries("parameterization") if world == "gaussian" else [None]
        for sampler, parameterization, guidance in product(entries("sampler"), choices, guidances):
            parts = [part for part in (process, sampler, parameterization, guidance) if part is not None]
            if not refusal(parts, WORLDS[world]):
                names = ("" if part is None else part.ref for part in (process, sampler, parameterization, guidance))
                found.append(Cell(*names))
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
    """Draw samples and compare them with the truth: the data's, or the labelled class's where guidance is off.

    The distance is told in units of the bound that an exact sampler would exceed, in one of ``tests``, with
    probability LEVEL.
    """
    try:
        share = _share(cell, seed, tests)
    except (Unsupported, IncompatibleComponents) as error:
        return Outcome("refused", str(error))
    return Outcome("agrees" if share <= 1 else "differs", f"{share:.2f}")


def _share(cell: Cell, seed: int, tests: int) -> float:
    process = part_of("process", cell.process)
    sampler = part_of("sampler", cell.sampler, steps=STEPS)
    guidance = part_of("guidance", cell.guidance, **_off(cell.guidance)) if cell.guidance else None
    world = world_of(registry().get(cell.process, "process"))
    if world == "discrete":
        return tokens.share(process, sampler, guidance, seed, LEVEL / tests)
    if world == "bridge":
        x, conditional = bridges.sample(process, sampler, guidance, seed, SAMPLES), False
    else:
        if isinstance(sampler.grid, Uniform):  # which suits no process whose noise grows to 80: log-SNR does
            sampler = attrs.evolve(sampler, grid=LogSnr())
        model = exact_model(process, part_of("parameterization", cell.parameterization))
        system = System(model=model, space=SPACE, process=process, sampler=sampler, guidance=guidance)
        conditional = guidance is not None
        cond = {"label": labels(SAMPLES)} if conditional else None
        drawn = system.sample(SAMPLES, cond=cond, seed=seed, dtype=torch.float64)
        assert isinstance(drawn, torch.Tensor)
        x = drawn
    expected = truth(SAMPLES, torch.Generator().manual_seed(seed), conditional=conditional)
    return energy_distance(x, expected).value / bound(conditional, tests)


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


def anything() -> frozenset[str]:
    """What some installed model or space gives: a pair that lacks more is refused whatever stands around it."""
    found = [e for kind in ("denoiser", "space", "backbone") for e in registry().find(kind=kind)]
    return frozenset[str]().union(*(e.component.gives for e in found), *WORLDS.values())


def pairs_refused() -> Iterator[tuple[Entry, Entry, str]]:
    """Pairs of a process and another part that the manifests refuse, with the reason."""
    around = anything()
    for kind in AXES[1:]:
        for other, process in product(entries(kind), registry().find(kind="process")):
            if reason := refusal([process, other], around):
                yield process, other, reason


def _off(ref: str) -> dict[str, Any]:
    return dict(registry().get(ref, "guidance").component.off)


def part_of(kind: str, ref: str, **settings: Any) -> Any:  # noqa: ANN401 - a part of this kind
    """An installed part under its example settings and these."""
    component = registry().get(ref, kind).component
    spec = {"use": ref, "with": {**component.example, **settings}}
    return structure(spec, kinds.contract_of(kind), registry=registry())


def table(results: dict[Cell, Outcome], seconds: float) -> str:
    """A table for each world, samplers by processes: the worst of each pair's compositions, and how many ran."""
    lines = []
    for world in WORLDS:
        here = {c: o for c, o in results.items() if world_of(registry().get(c.process, "process")) == world}
        processes, samplers = (sorted({getattr(c, axis) for c in here}) for axis in ("process", "sampler"))
        lines += [f"## {world.capitalize()}", "", "| sampler | " + " | ".join(processes) + " |"]
        lines.append("| --- |" + " --- |" * len(processes))
        for sampler in samplers:
            row = (_told([o for c, o in here.items() if (c.process, c.sampler) == (p, sampler)]) for p in processes)
            lines.append(f"| {sampler} | " + " | ".join(row) + " |")
        lines.append("")
    reasons = sorted({(c.process, c.sampler, o.told) for c, o in results.items() if o.said == "refused"})
    lines += ["## Refused when run", "", "| process | sampler | reason |", "| --- | --- | --- |"]
    lines += [f"| {process} | {sampler} | {told} |" for process, sampler, told in reasons]
    ran = sum(o.said != "refused" for o in results.values())
    return "\n".join(lines) + f"\n\n{len(results)} compositions, {ran} of them ran, in {seconds:.0f} s.\n"


def _told(outcomes: Sequence[Outcome]) -> str:
    ran = [max(float(o.told), 0.0) for o in outcomes if o.said != "refused"]
    return f"{max(ran):.2f} ({len(ran)})" if ran else "refused" if outcomes else ""


def today() -> int:
    """The seed of the part that is run: another one every day."""
    return datetime.date.today().toordinal()


def main(arguments: Sequence[str]) -> None:
    """Run what covers every pair (seed 0), or all with ``all``; print the tables, and deviations on standard error."""
    torch.set_num_threads(1)
    began, everything = time.perf_counter(), cells()
    todo = everything if list(arguments) == ["all"] else covering(everything, 0)
    found = {}
    for cell in todo:
        found[cell] = run(cell, 0, len(everything))
        if found[cell].said == "differs":
            sys.stderr.write(f"differs: {cell}: {found[cell].told}\n")
    for cell in everything:  # a pair of which only refused compositions were chosen is tried with the others
        pair = [o for c, o in found.items() if (c.process, c.sampler) == (cell.process, cell.sampler)]
        if not cell.guidance and all(o.said == "refused" for o in pair):
            found[cell] = run(cell, 0, len(everything))
    sys.stdout.write(table(found, time.perf_counter() - began))


if __name__ == "__main__":
    main(sys.argv[1:])
