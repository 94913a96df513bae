"""Measure a finished run and put its weights among those of this package.

``python -m suffuse_digits.publish runs/edm-dit edm`` after ``suffuse train edm-dit.toml``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import attrs
from suffuse_cfg.guidance import Cfg

from suffuse.contracts.guidance import Guidance
from suffuse.parts import Chain
from suffuse.pipeline import Pipeline
from suffuse.rng import Rng
from suffuse_digits.quality import Quality

__all__ = ["figures", "publish"]


def figures(pipeline: Pipeline) -> dict[str, Any]:
    """What ``digits/quality`` finds for the saved sampler, with classifier-free guidance as saved and off; seed 0."""
    found: dict[str, Any] = {}
    off = attrs.evolve(pipeline.system, guidance=_off(pipeline.system.guidance))
    for name, system in (("guided", pipeline.system), ("unguided", off)):
        began = time.perf_counter()
        metrics = Quality().run(system, {}, Rng.of(0, 1)).metrics
        found[name] = {k: round(v, 4) for k, v in metrics.items()}
        found[name]["seconds"] = round(time.perf_counter() - began, 1)
    return found


def _off(guidance: Guidance | None) -> Guidance | None:
    """The same guidance with classifier-free guidance at scale 1."""
    if isinstance(guidance, Chain):
        return Chain(parts=tuple(part for g in guidance.parts if (part := _off(g)) is not None))
    return attrs.evolve(guidance, scale=1.0) if isinstance(guidance, Cfg) else guidance


def publish(run: Path, folder: Path) -> dict[str, Any]:
    """Save the run's pipeline in ``folder`` with its figures on the card."""
    pipeline = Pipeline.load(run / "pipeline")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    card = {**pipeline.card, "trained": {"steps": lines[-1]["step"]}, "figures": figures(pipeline)}
    Pipeline(system=pipeline.system, card=card).save(folder)
    return card


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("name", help="the name of the weights: ddpm or edm")
    args = parser.parse_args()
    card = publish(args.run, Path(__file__).parent / "weights" / args.name)
    print(json.dumps(card, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
