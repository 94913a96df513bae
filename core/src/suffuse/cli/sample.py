"""``suffuse sample``: draw samples, with the sampler, grid and guidance swapped by name, and score them."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from suffuse.cli import tell_faults
from suffuse.cli.console import device_of, number, progress, stem, uses, value_of, versions
from suffuse.cli.opening import Shelf, Source, locate
from suffuse.cli.saving import prepare, write_files
from suffuse.errors import InvalidInput
from suffuse.registry import Registry, registry
from suffuse.spec import override
from suffuse.spec.grammar import split

if TYPE_CHECKING:
    from suffuse.contracts.sampler import StepInfo
    from suffuse.contracts.task import Example
    from suffuse.state import State
    from suffuse.system import System


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "pipeline", help="published weights (digits/ddpm), a saved pipeline's folder, a spec file, or a data set"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="PATH=VALUE",
        help="change a part or a setting: sampler=edm/heun, sampler.steps=18, guidance=none",
    )
    parser.add_argument("--n", type=int, help="how many (default: one for each label, else 16)")
    parser.add_argument("--label", metavar="LABELS", help="classes, in turn: 3, 0-9 or 1,4,7")
    parser.add_argument(
        "--cond", action="append", default=[], metavar="KEY=VALUES", help="a condition, in turn: label=0,1 or c=[[1,2]]"
    )
    parser.add_argument("--seed", type=int, default=0, help="sample i depends on (seed, i) alone (default: 0)")
    parser.add_argument("--batch", type=int, default=250, help="samples at a time; changes no sample (default: 250)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps (default: a GPU where there is one)")
    parser.add_argument("--score", action="append", default=[], metavar="METRIC", help="measure: digits/frechet")
    parser.add_argument("--reference", metavar="DATASET", help="the data set that metrics compare with")
    parser.add_argument("--show", type=int, default=100, help="how many samples the picture shows (default: 100)")
    parser.add_argument("--out", default="samples", metavar="PATH", help="writes PATH.png, .safetensors and .json")
    parser.add_argument("--json", action="store_true", help="print the record as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def main(args: argparse.Namespace) -> int:
    """Sample once."""
    found = registry()
    if not args.quiet:
        tell_faults(found)
    record = perform(args, Shelf(found))
    if args.json:
        print(json.dumps(record, indent=2))
    elif not args.quiet:
        print(summary(record))
    return 0


def perform(args: argparse.Namespace, shelf: Shelf) -> dict[str, Any]:
    """Draw, measure, write, and return the record that is also written as OUT.json."""
    known = shelf.registry
    source = locate(args.pipeline, known, datasets=True)
    check(args, shelf, source)
    drawn = _rows(args, source, known) if source.kind == "dataset" else _samples(args, source, shelf)
    record: dict[str, Any] = {"command": ["suffuse", *args.argv], "pipeline": source.name, **drawn.about}
    record["metrics"] = measure(args, drawn.example, known)
    parts = [source.name, *uses(record["spec"]), *args.score, *uses(value_of(args.reference or '""'))]
    record["versions"] = versions(parts, known)
    _write(stem(args.out), drawn, record, args.show)
    return record


def check(args: argparse.Namespace, shelf: Shelf, source: Source) -> None:
    """Refuse what can be refused before torch is imported."""
    for name in ("n", "batch", "show"):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            raise InvalidInput(f"--{name} must be at least 1, got {value}")
    if not 0 <= args.seed < 2**64:
        raise InvalidInput(f"--seed must lie in 0 to 2**64 - 1, got {args.seed}")
    conditions(args)
    if bool(args.score) != bool(args.reference):
        raise InvalidInput("--score and --reference go together: a metric compares samples with a data set")
    for ref in args.score:
        shelf.registry.get(ref, "metric")
    if args.reference:
        shelf.registry.get(split(value_of(args.reference))[0], "dataset")
    if source.kind != "dataset":
        shelf.check(source, args.sets)
    elif args.label or args.cond:
        raise InvalidInput(f"{source.name} is a data set: its rows have labels and take no --label or --cond")
    prepare(stem(args.out))


def conditions(args: argparse.Namespace) -> dict[str, list[Any]]:
    """The conditions as lists, each to be used in turn. Raises ``InvalidInput`` for what cannot be read."""
    found: dict[str, list[Any]] = {}
    if args.label is not None:
        found["label"] = []
        for word in args.label.split(","):
            ends = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", word)
            low, high = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
            if not low <= high < low + 100_000:
                raise InvalidInput(f"--label takes classes such as 3, 0-9 or 1,4,7; got {args.label!r}")
            found["label"] += range(low, high + 1)
    for item in args.cond:
        key, equals, text = item.partition("=")
        value = value_of(text if text.strip().startswith("[") else f"[{text}]") if equals else None
        if not key or key in found or not isinstance(value, list) or not value:
            raise InvalidInput(f"--cond takes KEY=VALUES, each key once, such as label=0,1,2; got {item!r}")
        found[key] = value
    return found


@attrs.frozen(eq=False, kw_only=True)
class _Drawn:
    example: Example
    about: dict[str, Any]
    low: float
    high: float
    labels: list[int] | None


def _samples(args: argparse.Namespace, source: Source, shelf: Shelf) -> _Drawn:
    import torch

    from suffuse.contracts.condition import Condition
    from suffuse.contracts.task import Example
    from suffuse.spec import unstructure
    from suffuse.state import tree_map

    device = device_of(args.device)
    system = shelf.system(source, args.sets, device=device)
    given = conditions(args)
    n = args.n or max((len(v) for v in given.values()), default=16)
    try:
        tensors = {k: torch.tensor((v * -(-n // len(v)))[:n]) for k, v in given.items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"--cond takes numbers, in lists of one shape: {error}") from error
    cond = Condition(tensors)
    began = time.perf_counter()
    x, nfe, steps = _draw(system, n, cond, args)
    seconds = time.perf_counter() - began
    spec = unstructure(system, registry=shelf.registry)
    about = {
        "spec": spec,
        "parts": parts_in_words(spec, shelf.registry) | {"steps": steps},
        "n": n,
        "cond": {k: v.tolist() for k, v in tensors.items()},
        "seed": args.seed,
        "batch": args.batch,
        "device": device,
        "nfe": nfe,
        "seconds": seconds,
    }
    labels = given["label"] if all(isinstance(v, int) for v in given.get("label", [None])) else None
    return _Drawn(
        example=Example(x=tree_map(lambda v: v.detach().cpu(), x), cond=cond),
        about=about,
        low=system.codec.low,
        high=system.codec.high,
        labels=None if labels is None else (labels * -(-n // len(labels)))[:n],
    )


def _draw(system: System, n: int, cond: Mapping[str, Any], args: argparse.Namespace) -> tuple[State, float, int]:
    """Samples, evaluations of the network for each, and steps."""
    if system.sampler is None or system.process is None:
        return system.sample(n, cond=cond, seed=args.seed, batch=args.batch), 1.0, 1
    steps = len(list(pairwise(system.sampler.times(system.process))))
    batches = -(-n // args.batch)
    evaluations: list[float] = []

    with progress(steps * batches, args.pipeline, quiet=args.quiet) as tell:

        def on_step(i: int, info: StepInfo) -> None:
            if i == 0:
                evaluations.append(0.0)
            evaluations[-1] += info.nfe
            tell((len(evaluations) - 1) * steps + i + 1, f"{evaluations[-1]:g} evaluations")

        x = system.sample(n, cond=cond, seed=args.seed, batch=args.batch, on_step=on_step)
    sizes = [min(args.batch, n - i * args.batch) for i in range(batches)]
    return x, sum(e * s for e, s in zip(evaluations, sizes, strict=True)) / n, steps


def _rows(args: argparse.Namespace, source: Source, known: Registry) -> _Drawn:
    """Rows of a data set without replacement, in an order that the seed decides."""
    from suffuse.contracts.task import Dataset
    from suffuse.rng import Rng
    from suffuse.spec import structure, unstructure

    data = structure(override({"use": source.name}, *args.sets), Dataset, registry=known)
    n = args.n or 16
    if n > len(data):
        raise InvalidInput(f"{source.name} has {len(data)} rows, {n} were asked for")
    began = time.perf_counter()
    rng = Rng.of(args.seed, n)
    example = data.rows(rng.pool().at("rows").permutation(len(data))[0, :n], rng.at("data"))
    about = {
        "spec": unstructure(data, registry=known),
        "parts": {},
        "n": n,
        "cond": {k: v.tolist() for k, v in example.cond.items()},
        "seed": args.seed,
        "nfe": 0.0,
        "seconds": time.perf_counter() - began,
    }
    return _Drawn(example=example, about=about, low=float("-inf"), high=float("inf"), labels=None)


def measure(args: argparse.Namespace, samples: Example, known: Registry) -> dict[str, float]:
    """Every number of every metric, by its name; by metric and name where two metrics share one."""
    if not args.score:
        return {}
    import torch

    from suffuse.contracts.task import Dataset, Metric
    from suffuse.rng import Rng
    from suffuse.spec import structure

    data = structure(value_of(args.reference), Dataset, path="reference", registry=known)
    reference = data.rows(torch.arange(len(data)), Rng.of(args.seed, len(data)).at("reference"))
    numbers: dict[str, float] = {}
    for ref in args.score:
        found = structure(ref, Metric, path="score", registry=known).measure(samples, reference)
        name = known.get(ref, "metric").ref
        numbers |= {f"{name}.{k}" if k in numbers else k: float(v) for k, v in found.items()}
    return numbers


def parts_in_words(spec: Mapping[str, Any], known: Registry) -> dict[str, str]:
    """The parts that one swaps, in a few words each: for people and for tables."""
    found = {}
    if sampler := spec.get("sampler"):
        found["sampler"] = _words(sampler, known, but=("steps", "grid"))
        if grid := split(sampler)[1].get("grid"):
            found["grid"] = _words(grid, known)
    if guidance := spec.get("guidance"):
        found["guidance"] = _words(guidance, known)
    return found


def _words(part: object, known: Registry, but: Sequence[str] = ()) -> str:
    """A reference with the settings that are not at their defaults, and a guidance's scale in any case."""
    from suffuse.spec import unstructure

    ref, settings = split(part)
    told = []
    for a in attrs.fields(known.resolve(ref)):
        name, default = a.alias or a.name, a.default
        if name in but or name not in settings or getattr(default, "takes_self", False):
            continue
        plain = default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]
        if plain is not attrs.NOTHING and plain is not None:
            plain = unstructure(plain, registry=known)
        if settings[name] != plain or name == "scale":
            told.append(f"{name}={_brief(settings[name], known)}")
    return f"{ref} ({', '.join(told)})" if told else ref


def _brief(value: object, known: Registry) -> str:
    if isinstance(value, Mapping) and "use" in value:
        return _words(value, known)
    if isinstance(value, list):
        return f"[{', '.join(_brief(v, known) for v in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _write(out: Path, drawn: _Drawn, record: dict[str, Any], show: int) -> None:
    from safetensors.torch import save

    from suffuse.cli import pictures
    from suffuse.state import leaves, rows

    x = drawn.example.x
    tensors = {f"samples.{k}" if k else "samples": v.contiguous() for k, v in leaves(x)}
    tensors |= {f"cond.{k}": v.contiguous() for k, v in drawn.example.cond.items()}
    at = {ending: out.with_name(out.name + ending) for ending in (".png", ".safetensors", ".json")}
    contents = {at[".safetensors"]: save(tensors)}
    if pictures.drawable(x):
        few = rows(x, slice(show))
        assert not isinstance(few, Mapping)
        ends = float(few.min()), float(few.max())
        low, high = (given if abs(given) != float("inf") else seen for given, seen in
                     zip((drawn.low, drawn.high), ends, strict=True))  # fmt: skip
        columns = pictures.columns_for(len(few), drawn.labels and drawn.labels[:show])
        labels = drawn.labels if drawn.labels else None
        contents[at[".png"]] = pictures.png(pictures.picture(few, low=low, high=high, columns=columns, labels=labels))
    record["files"] = sorted(str(path) for path in [*contents, at[".json"]])
    contents[at[".json"]] = (json.dumps(record, indent=2) + "\n").encode()
    write_files(contents)


def summary(record: Mapping[str, Any]) -> str:
    """A few lines for people."""
    n, seconds = record["n"], record["seconds"]
    what = f"{record['pipeline']}: {n} {'sample' if n == 1 else 'samples'}"
    if record["parts"]:
        what += f" in {seconds:.2f} s on {record['device']}, {record['nfe']:g} evaluations each"
    lines = [what]
    lines += [f"  {name:<10} {words}" for name, words in record["parts"].items()]
    lines += [f"  {name:<10} {number(value)}" for name, value in record["metrics"].items()]
    return "\n".join([*lines, f"  {'files':<10} {'  '.join(record['files'])}"])
