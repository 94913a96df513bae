"""``suffuse train``: train what an experiment file says; the same command goes on with a run that was stopped."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from suffuse.cli import tell_faults
from suffuse.cli.console import number, progress
from suffuse.cli.saving import prepare
from suffuse.registry import registry
from suffuse.spec import load_toml, override


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", type=Path, help="the experiment: tables system, objective, data and train, in TOML")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run's folder (default: runs/ and the file's name)")
    parser.add_argument(
        "--set", action="append", default=[], dest="sets", metavar="PATH=VALUE", help="change it: train.steps=100"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def main(args: argparse.Namespace) -> int:
    """Train; 1 if the loss was not finite, 130 if stopped, with everything saved."""
    found = registry()
    if not args.quiet:
        tell_faults(found)
    spec = override(load_toml(args.file), *args.sets)

    from suffuse.train.experiment import make_experiment

    experiment = make_experiment(spec, registry=found)

    from suffuse.train.settings import default_folder
    from suffuse.train.trainer import Diverged, Interrupted, Trainer

    folder = args.out or default_folder(args.file)
    prepare(folder / "log.jsonl")
    steps, last = experiment.train.steps, dict[str, float]()
    began = time.perf_counter()
    try:
        with progress(steps, args.file.stem, quiet=args.quiet) as tell:

            def on_log(step: int, logs: Mapping[str, float]) -> None:
                last.update(logs)
                losses = [f"{k.removesuffix('/loss')} {number(v)}" for k, v in logs.items() if k.endswith("/loss")]
                tell(step, f"loss {', '.join(losses)}; {number(logs['samples_per_second'])} samples/s")

            Trainer(experiment, folder).run(on_log)
    except Interrupted as error:
        print(f"suffuse: {error}", file=sys.stderr)
        return 130
    except Diverged as error:
        print(f"suffuse: error: {error}", file=sys.stderr)
        return 1
    result = {
        "command": ["suffuse", *args.argv],
        "pipeline": str(folder / "pipeline"),
        "log": str(folder / "log.jsonl"),
        "steps": steps,
        "seconds": time.perf_counter() - began,
        "logs": last,
    }
    if args.json:
        print(json.dumps(result, indent=2))
    elif not args.quiet:
        print(f"{args.file.stem}: at step {steps}, {result['seconds']:.1f} s")
        print("\n".join(f"  {name:<20} {number(value)}" for name, value in last.items()))
        print(f"  {'log':<20} {result['log']}\n  {'pipeline':<20} {result['pipeline']}")
    return 0
