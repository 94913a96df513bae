"""``python -m suffuse_gfn_diffusion.reproduce mixture``: train a recipe, or go on with it, and measure the result."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.train.experiment import load_experiment
from suffuse.train.trainer import Trainer
from suffuse_gfn_diffusion.off_policy import OffPolicy
from suffuse_gfn_diffusion.task import LogZ

__all__ = ["NAMES", "reproduce"]

NAMES = ("mixture", "funnel", "many-well")


def reproduce(name: str, folder: Path) -> dict[str, float]:
    """The metrics of ``gfn-diffusion/log-z`` after training; a run that was stopped goes on."""
    if name not in NAMES:
        raise InvalidInput(f"expected one of {', '.join(NAMES)}, got {name!r}")
    experiment = load_experiment(str(files("suffuse_gfn_diffusion") / "recipes" / f"{name}.toml"))
    objective = experiment.objective
    assert isinstance(objective, OffPolicy)
    system = Trainer(experiment, folder / name).run().system
    return dict(LogZ(target=objective.target).run(system, {}, Rng.of(0, 1)).metrics)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or NAMES:
        found = reproduce(chosen, Path("runs"))
        print(chosen, {k: round(v, 3) for k, v in found.items()})  # noqa: T201
