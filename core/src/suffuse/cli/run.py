"""``suffuse run``: a task on a pipeline, or a file of commands whose results become one report."""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suffuse.cli import COMMANDS, Arguments, count, sample, tell_faults
from suffuse.cli.console import device_of, number, uses, value_of, versions
from suffuse.cli.opening import Shelf, locate
from suffuse.cli.saving import prepare, write_files
from suffuse.errors import InvalidInput, SpecError
from suffuse.registry import registry
from suffuse.spec.grammar import located, split

if TYPE_CHECKING:
    from suffuse.cli.report import Exhibit, Step, Story
    from suffuse.contracts.task import Result


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("what", metavar="TASK | FILE.toml", help="a task (digits/fill-in), or a file of commands")
    parser.add_argument("--on", metavar="PIPELINE", help="published weights, a saved pipeline's folder, or a spec file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="PATH=VALUE",
        help="change the pipeline, as in sample",
    )
    parser.add_argument("--input", action="append", default=[], metavar="KEY=VALUE", help="an input of the task")
    parser.add_argument("--seed", type=int, default=0, help="all of the task's randomness (default: 0)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps (default: a GPU where there is one)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the results' folder (default: out/ and the name)")
    parser.add_argument("--json", action="store_true", help="print the record as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def main(args: argparse.Namespace) -> int:
    """Run the task or the file; 1 if a command of the file says that something failed."""
    found = registry()
    if not args.quiet:
        tell_faults(found)
    shelf = Shelf(found)
    if args.what.endswith(".toml"):
        if args.on or args.sets or args.input:
            raise InvalidInput(f"{args.what} says itself what runs: it takes no --on, --set or --input")
        return _run_file(args, shelf)
    record = perform(args, shelf)
    if args.json:
        print(json.dumps(record, indent=2))
    elif not args.quiet:
        print(summary(record))
    return 0


def perform(args: argparse.Namespace, shelf: Shelf) -> dict[str, Any]:
    """Run a task, write what it found, and return the record that is also written as DIR/result.json."""
    known = shelf.registry
    spec = value_of(args.what)
    entry = known.get(split(spec)[0], "task")
    if not args.on:
        raise InvalidInput(f"--on says which pipeline {entry.ref} runs on, as in --on digits/ddpm")
    source, inputs = locate(args.on, known), _inputs(args.input)
    if not 0 <= args.seed < 2**64:
        raise InvalidInput(f"--seed must lie in 0 to 2**64 - 1, got {args.seed}")
    shelf.check(source, args.sets)
    folder = args.out or Path("out") / entry.component.name
    prepare(folder / "result.json")

    from suffuse.capabilities import Given, check
    from suffuse.contracts.task import Task
    from suffuse.rng import Rng
    from suffuse.spec import structure, unstructure
    from suffuse.system import parts_of

    device = device_of(args.device)
    task = structure(spec, Task, path="task", registry=known)
    system = shelf.system(source, args.sets, device=device)
    parts = [("task", task), *parts_of(system)]
    check(
        [Given(path, type(part).__name__, part.needs, part.gives) for path, part in parts],
        lambda word: (e.ref for e in known.find(gives=word)),
    )
    began = time.perf_counter()
    result = task.run(system, inputs, Rng.of(args.seed, 1))
    seconds = time.perf_counter() - began
    whole = unstructure(system, registry=known)
    record: dict[str, Any] = {
        "command": ["suffuse", *args.argv],
        "task": unstructure(task, registry=known),
        "pipeline": source.name,
        "spec": whole,
        "parts": sample.parts_in_words(whole, known),
        "inputs": inputs,
        "seed": args.seed,
        "device": device,
        "seconds": seconds,
        "metrics": {k: float(v) for k, v in result.metrics.items()},
        "tables": {k: [dict(row) for row in rows] for k, rows in result.tables.items()},
        "versions": versions([source.name, *uses(whole), entry.ref], known),
    }
    _write(folder, result, record)
    return record


def _inputs(items: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key or key in found:
            raise InvalidInput(f"--input takes KEY=VALUE, each key once; got {item!r}")
        found[key] = value_of(text)
    return found


def _write(folder: Path, result: Result, record: dict[str, Any]) -> None:
    from safetensors.torch import save

    from suffuse.cli.pictures import enlarged, png
    from suffuse.state import leaves

    contents: dict[Path, bytes] = {}
    for name, picture in result.pictures.items():
        contents[folder / f"{_slug(name)}.png"] = png(enlarged(picture))
    for name, rows in record["tables"].items():
        text = io.StringIO()
        table = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
        table.writeheader()
        table.writerows(rows)
        contents[folder / f"{_slug(name)}.csv"] = text.getvalue().encode()
    for name, state in result.states.items():
        tensors = {key or "state": v.detach().cpu().contiguous() for key, v in leaves(state)}
        contents[folder / f"{_slug(name)}.safetensors"] = save(tensors)
    record["files"] = sorted(str(path) for path in [*contents, folder / "result.json"])
    contents[folder / "result.json"] = (json.dumps(record, indent=2, default=str) + "\n").encode()
    write_files(contents)


def summary(record: Mapping[str, Any]) -> str:
    """A few lines for people, and the tables."""
    lines = [f"{record['task']['use']} on {record['pipeline']}: {record['seconds']:.2f} s on {record['device']}"]
    lines += [f"  {name:<10} {words}" for name, words in record["parts"].items()]
    lines += [f"  {name:<24} {number(value)}" for name, value in record["metrics"].items()]
    for name, rows in record["tables"].items():
        if not rows:
            continue
        heads = list(dict.fromkeys(key for row in rows for key in row))
        cells = [heads, *([_cell(row.get(head, "")) for head in heads] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines += ["", name]
        lines += ["  " + "  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([*lines, f"  {'files':<10} {'  '.join(record['files'])}"])


def _cell(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _run_file(args: argparse.Namespace, shelf: Shelf) -> int:
    from suffuse.cli import report
    from suffuse.spec import load_toml, structure

    path = Path(args.what)
    story: Story = structure(load_toml(path), report.Story, registry=shelf.registry)
    folder = args.out or Path("out") / path.stem
    steps = [(i, j, step) for i, section in enumerate(story.section) for j, step in enumerate(section.step)]
    parsed = {}
    for i, j, step in steps:  # all of them, before the first one runs
        with located(f"section.{i}.step.{j}.command"):
            parsed[i, j] = _parse(step.command)
    prepare(folder / "report.html")
    began, failed = time.perf_counter(), 0
    exhibits: dict[tuple[int, int], Exhibit] = {}
    for place, (i, j, step) in enumerate(steps, 1):
        if not args.quiet and not args.json:
            print(f"[{place}/{len(steps)}] suffuse {' '.join(step.command)}", flush=True)
        out = folder / f"{place:02d}-{_slug(step.title) or step.command[0]}"
        with located(f"section.{i}.step.{j}"):
            exhibits[i, j] = found = _perform(step, parsed[i, j], out, shelf, args)
        failed += found.status != 0
        if not args.quiet and not args.json:
            print("\n".join(f"      {line}" for line in _digest(found)), flush=True)
    seconds = time.perf_counter() - began
    records = [exhibit.record for exhibit in exhibits.values() if exhibit.record]
    page = report.page(story, exhibits, seconds=seconds)
    write_files(
        {
            folder / "report.html": page.encode(),
            folder / "report.json": (json.dumps(records, indent=2, default=str) + "\n").encode(),
        }
    )
    if args.json:
        print(json.dumps({"report": str(folder / "report.html"), "seconds": seconds, "records": records}, indent=2))
    elif not args.quiet:
        print(f"{count(len(steps), 'command')} in {seconds:.0f} s; report: {folder / 'report.html'}")
    return 1 if failed else 0


def _parse(command: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command of a file. Raises as the command line does."""
    if not command or command[0] not in COMMANDS:
        raise SpecError(f"expected one of the commands {', '.join(COMMANDS)}, got {command[:1]}")
    parser = Arguments(prog=f"suffuse {command[0]}", allow_abbrev=False, add_help=False)
    import_module(COMMANDS[command[0]][0]).configure(parser)
    args = parser.parse_args(command[1:], argparse.Namespace(argv=list(command), command=command[0]))
    if command[0] == "run" and args.what.endswith(".toml"):
        raise SpecError("a file of commands cannot run another one")
    return args


def _perform(
    step: Step,
    args: argparse.Namespace,
    out: Path,
    shelf: Shelf,
    whole: argparse.Namespace,
) -> Exhibit:
    from suffuse.cli.report import Exhibit

    args.quiet = whole.quiet or whole.json
    if args.command in ("sample", "run"):
        if "--out" not in step.command:
            args.out = str(out) if args.command == "sample" else out
        record = (sample.perform if args.command == "sample" else perform)(args, shelf)
        pictures = {Path(name).stem: Path(name).read_bytes() for name in record["files"] if name.endswith(".png")}
        return Exhibit(step=step, record=record, pictures=pictures)
    text = io.StringIO()
    with redirect_stdout(text):
        status = int(import_module(COMMANDS[args.command][0]).main(args))
    if status == 130:
        raise KeyboardInterrupt
    return Exhibit(step=step, text=text.getvalue(), status=status)


def _digest(exhibit: Exhibit) -> Iterator[str]:
    """What the terminal says of a step: its numbers, or that it is done."""
    record = exhibit.record
    if record is None:
        yield exhibit.text.rstrip().splitlines()[-1] if exhibit.text.strip() else "done"
        return
    told = [f"{record['seconds']:.2f} s"]
    if record.get("nfe"):
        told.append(f"{record['nfe']:g} evaluations")
    yield ", ".join(told + [f"{name} {number(value)}" for name, value in record["metrics"].items()])


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48]
