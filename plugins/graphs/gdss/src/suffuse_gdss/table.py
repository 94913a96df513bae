"""The paper's table, row by row: train a recipe, sample, compare with the test set.

``python -m suffuse_gdss.table community-small`` trains ``recipes/community-small.toml`` in ``runs/community-small`` (or
goes on with it), samples as many graphs as the test set has, and prints the three discrepancies beside the paper's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
from suffuse_graph_sets.quality import Quality

from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.train.experiment import load_experiment
from suffuse.train.trainer import Trainer

__all__ = ["PAPER", "RECIPES", "row"]

RECIPES = Path(__file__).parent / "recipes"
# Degree, clustering, orbit: arXiv:2202.02514, table 1.
PAPER: Mapping[str, tuple[float, float, float]] = {
    "ego-small": (0.021, 0.024, 0.007),
    "community-small": (0.045, 0.086, 0.007),
    "grid": (0.111, 0.005, 0.070),
}


def row(name: str, folder: Path, *, n: int | None = None, seed: int = 0) -> Mapping[str, float]:
    """Train, or go on training, and measure. ``n`` graphs, by default as many as the test set has."""
    file = RECIPES / f"{name}.toml"
    if not file.exists():
        raise InvalidInput(f"no recipe {name!r}; there are {', '.join(sorted(f.stem for f in RECIPES.glob('*.toml')))}")
    experiment = load_experiment(file)
    system = Trainer(experiment, folder).run().system
    test = attrs.evolve(experiment.data, split="test")  # type: ignore[type-var,call-arg]
    return Quality(data=test).run(system, {} if n is None else {"n": n}, Rng.of(seed, 1)).metrics  # type: ignore[arg-type]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "name", help="a recipe: community-small, ego-small, grid, community-small-quick, ego-small-quick"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the run's folder is")
    parser.add_argument("--n", type=int, help="graphs to sample; the paper's number is that of the test set")
    args = parser.parse_args()
    began = time.perf_counter()
    found = row(args.name, args.runs / args.name, n=args.n)
    paper = dict(zip(("degree", "clustering", "orbit"), PAPER[args.name.removesuffix("-quick")], strict=True))
    for name, value in found.items():
        told = f"   paper {paper[name]:.3f}" if name in paper else ""
        sys.stdout.write(f"{name:<12}{value:8.4f}{told}\n")
    sys.stdout.write(f"{time.perf_counter() - began:.0f} s\n")


if __name__ == "__main__":
    main()
