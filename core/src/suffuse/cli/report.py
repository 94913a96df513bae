"""A report of several commands: one HTML file, pictures inside, for light and dark screens, without scripts."""

from __future__ import annotations

import base64
import math
import platform
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, Literal

import attrs

from suffuse.cli.chart import Point, chart
from suffuse.errors import SpecError

__all__ = ["Column", "Exhibit", "Section", "Step", "Story", "page"]


@attrs.frozen(kw_only=True)
class Step:
    """One command, as written after ``suffuse``, and what a reader should know of it.

    ``row`` puts a scored sample into the table of all combinations; ``wide`` gives it the page's whole width.
    """

    title: str
    command: tuple[str, ...]
    text: str = ""
    row: bool = True
    wide: bool = False


@attrs.frozen(kw_only=True)
class Section:
    """Commands that belong together."""

    title: str
    text: str = ""
    step: tuple[Step, ...] = ()


@attrs.frozen(kw_only=True)
class Column:
    """A metric in the table: its name in the records, its heading, which direction is better, and its unit."""

    metric: str
    title: str
    better: Literal["lower", "higher"]
    percent: bool = False


@attrs.frozen(kw_only=True)
class Story:
    """A file of commands: what it is about, its sections, and the metrics that are compared."""

    title: str
    text: tuple[str, ...] = ()
    table: str = ""
    column: tuple[Column, ...] = ()
    section: tuple[Section, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not any(section.step for section in self.section):
            raise SpecError("expected at least one section with at least one step, got none")


@attrs.frozen(eq=False, kw_only=True)
class Exhibit:
    """What a step gave: a record and pictures (PNG) by name, or the text that it printed."""

    step: Step
    record: Mapping[str, Any] | None = None
    pictures: Mapping[str, bytes] = attrs.field(factory=dict)
    text: str = ""
    status: int = 0

    @property
    def floor(self) -> bool:
        """Whether these are real data: no sampler was at work."""
        return self.record is not None and self.record.get("nfe") == 0


def page(story: Story, exhibits: Mapping[tuple[int, int], Exhibit], *, seconds: float) -> str:
    """The HTML. ``exhibits`` has one for each (section, step); ``seconds`` is what everything took."""
    rows = _rows(story, exhibits)
    numbers = {id(exhibit): i for i, exhibit in enumerate(rows, 1)}
    sections = [_section(i, section, story, exhibits, numbers) for i, section in enumerate(story.section)]
    template = Template(files("suffuse.cli").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(story.title),
        lead="\n".join(f"<p>{_prose(text)}</p>" for text in story.text),
        facts=_facts(exhibits.values(), seconds),
        table=_table(story, rows) if rows else "",
        sections="\n".join(sections),
    )


def _rows(story: Story, exhibits: Mapping[tuple[int, int], Exhibit]) -> list[Exhibit]:
    """The scored samples in order, real data last."""
    wanted = {column.metric for column in story.column}
    scored = [
        e for _, e in sorted(exhibits.items(), key=lambda item: item[0])
        if e.step.row and e.record is not None and "nfe" in e.record and wanted & set(e.record["metrics"])
    ]  # fmt: skip
    return sorted(scored, key=lambda e: e.floor)


def _facts(exhibits: Iterable[Exhibit], seconds: float) -> str:
    """What was at work, in one line."""
    versions: dict[str, str] = {}
    for exhibit in exhibits:
        versions |= (exhibit.record or {}).get("versions", {})
    first = [f"{name} {versions.pop(name)}" for name in ("suffuse", "torch", "python") if name in versions]
    devices = sorted({str(e.record["device"]) for e in exhibits if e.record and "device" in e.record})
    where = f"{', '.join(devices) or 'cpu'} ({platform.machine()})"
    others = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    items = [("Time", f"{seconds:.0f} s in all, on {where}"), ("Versions", ", ".join(first)), ("Plugins", others)]
    return "\n".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in items if text)


def _section(
    i: int,
    section: Section,
    story: Story,
    exhibits: Mapping[tuple[int, int], Exhibit],
    numbers: Mapping[int, int],
) -> str:
    shown = [_exhibit(exhibits[i, j], story, numbers) for j in range(len(section.step))]
    text = f'<p class="prose">{_prose(section.text)}</p>' if section.text else ""
    return f'<section><h2>{_prose(section.title)}</h2>{text}\n<div class="exhibits">{"".join(shown)}</div></section>'


def _exhibit(exhibit: Exhibit, story: Story, numbers: Mapping[int, int]) -> str:
    step, record = exhibit.step, exhibit.record
    number = f'<span class="number">{numbers[id(exhibit)]}</span> ' if id(exhibit) in numbers else ""
    parts = [
        f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}" alt="{escape(step.title)}: {escape(name)}">'
        for name, png in exhibit.pictures.items()
    ]
    if exhibit.text:
        parts.append(f'<pre class="output" tabindex="0">{escape(exhibit.text.rstrip())}</pre>')
    caption = [f"<h3>{number}{_prose(step.title)}</h3>"]
    if step.text:
        caption.append(f"<p>{_prose(step.text)}</p>")
    if record is not None:
        caption.append(_measured(record, story))
    caption.append(f'<pre class="command" tabindex="0">{escape(command_lines(step.command))}</pre>')
    wide = ' class="wide"' if step.wide or exhibit.text or len(exhibit.pictures) > 1 else ""
    tables = "".join(_plain_table(name, rows) for name, rows in (record or {}).get("tables", {}).items() if rows)
    return f"<figure{wide}>{''.join(parts)}<figcaption>{''.join(caption)}{tables}</figcaption></figure>\n"


def _measured(record: Mapping[str, Any], story: Story) -> str:
    """The step's numbers in one row."""
    columns = {column.metric: column for column in story.column}
    items = []
    if record.get("nfe"):
        items += [("NFE", f"{record['nfe']:g}")]
    items += [
        (columns[k].title if k in columns else k.replace("_", " "), _shown(v, columns.get(k)))
        for k, v in record["metrics"].items()
    ]
    if record.get("nfe") != 0:
        items.append(("seconds", _seconds(record["seconds"])))
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in items)
    return f'<dl class="measured">{cells}</dl>' if cells else ""


@attrs.frozen(kw_only=True)
class _Number:
    """A column of numbers: how to get one from a record, how to write it, and which is best."""

    title: str
    get: Callable[[Mapping[str, Any]], float | None]
    show: Callable[[float], str]
    higher: bool = False

    def best(self, rivals: Iterable[Mapping[str, Any]]) -> str | None:
        """The best value as it is written, so that what looks equal is marked alike; None without competition."""
        found = [v for v in map(self.get, rivals) if v is not None and math.isfinite(v)]
        return self.show((max if self.higher else min)(found)) if len(found) > 1 else None


def _metric(column: Column) -> _Number:
    return _Number(
        title=f"{column.title} {'↓' if column.better == 'lower' else '↑'}",
        get=lambda r: r["metrics"].get(column.metric),
        show=lambda v: _shown(v, column),
        higher=column.better == "higher",
    )


def _table(story: Story, rows: Sequence[Exhibit]) -> str:
    """Every combination against every metric, the best of each column emphasised; real data are out of competition."""
    records = [e.record or {} for e in rows]
    rivals = [record for record, e in zip(records, rows, strict=True) if not e.floor]
    numeric = [
        _Number(title="NFE", get=lambda r: r["nfe"], show=lambda v: f"{v:g}"),
        _Number(title="Seconds", get=lambda r: r["seconds"], show=_seconds),
        *map(_metric, story.column),
    ]
    best = [number.best(rivals) for number in numeric]
    words = ("pipeline", "sampler", "grid", "guidance", "steps")
    heads = [("", ""), *((w.capitalize(), w) for w in words), *((number.title, "num") for number in numeric)]
    lines = []
    for i, (record, e) in enumerate(zip(records, rows, strict=True), 1):
        named = {"pipeline": record["pipeline"], **record["parts"]}
        if e.floor:
            cells = [f'<td colspan="5">{escape(e.step.title)} <code>{escape(record["pipeline"])}</code></td>']
        else:
            cells = [f'<td class="{w}">{_code(named.get(w))}</td>' for w in words]
        for k, (number, top) in enumerate(zip(numeric, best, strict=True)):
            value = number.get(record)
            text = "–" if value is None or (e.floor and k < 2) else number.show(value)
            mark = " best" if not e.floor and text == top else ""
            cells.append(f'<td class="num{mark}">{escape(text)}</td>')
        kind = ' class="floor"' if e.floor else ""
        lines.append(f'<tr{kind}><th scope="row"><span class="number">{i}</span></th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col" class="{kind}">{escape(h)}</th>' for h, kind in heads)
    drawing = _chart(story, rows)
    count = {record["n"] for record in records}
    note = f"{_prose(story.table)} " if story.table else ""
    note += f"Each row has {min(count):,} samples. " if len(count) == 1 else ""
    note += "The best of each column is marked; NFE counts the network's evaluations for one sample."
    return (
        f'<section class="comparison"><h2>All combinations</h2><p class="prose">{note}</p>'
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>\n<tbody>{"".join(lines)}</tbody>'
        f"</table></div>{drawing}</section>"
    )


def _chart(story: Story, rows: Sequence[Exhibit]) -> str:
    """The first metric against the evaluations it took, where there is something to compare."""
    metric = story.column[0].metric
    points, floor = [], None
    for i, e in enumerate(rows, 1):
        record = e.record or {}
        value = record["metrics"].get(metric)
        if value is None or not 0 < value < math.inf:
            continue
        if e.floor:
            floor = e.step.title, value
        else:
            points.append(Point(number=i, series=record["pipeline"], x=record["nfe"], y=value))
    if len(points) < 3:
        return ""
    better = story.column[0].better
    drawn = chart(points, x="NFE", y=f"{story.column[0].title} ({better} is better)", floor=floor)
    return f'<div class="scroll drawing" tabindex="0">{drawn}</div>'


def _plain_table(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    heads = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f'<th scope="col">{escape(str(h))}</th>' for h in heads)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(row.get(h))}</td>' for h in heads)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table class="plain"><caption>{escape(name)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: object) -> str:
    return escape(f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value))


def _code(value: object) -> str:
    """A part in a table's cell: its settings on a line of their own."""
    if value is None:
        return '<span class="none">–</span>'
    if isinstance(value, int):
        return str(value)
    ref, _, settings = str(value).partition(" ")
    return f"<code>{escape(ref)}</code>" + (f"<small>{escape(settings.strip('()'))}</small>" if settings else "")


def _shown(value: float, column: Column | None) -> str:
    """Three digits that count; more would be noise at any sample size that one draws here."""
    if not math.isfinite(value):
        return str(value)
    if column is not None and column.percent:
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _prose(text: str) -> str:
    """Escaped text in which ``code`` may be written between backquotes."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))


def command_lines(command: Sequence[str], *, width: int = 55) -> str:
    """The command for a shell, broken before options where it is long."""
    options: list[str] = ["suffuse"]
    for word in command:
        if word.startswith("--"):
            options.append(word)
        else:
            options[-1] += f" {shlex.quote(word)}"
    lines = options[:1]
    for option in options[1:]:
        if len(lines[-1]) + 1 + len(option) > width:
            lines.append(f"  {option}")
        else:
            lines[-1] += f" {option}"
    return " \\\n".join(lines)
