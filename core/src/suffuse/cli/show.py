"""``suffuse show``: a part with its paper, settings and partners, a plugin, or a saved pipeline."""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from suffuse.cli import count, tell_faults
from suffuse.cli.opening import Source, locate
from suffuse.errors import SuffuseError, WeightsError
from suffuse.registry import FREE_KINDS, Entry, Registry, registry
from suffuse.spec import describe, dump_toml, load_json
from suffuse.testing import evidence

_LEFT = 12  # where the second column begins


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("ref", help="a part (edm/heun), a plugin (edm), weights, or a saved pipeline's folder")
    parser.add_argument("--kind", help="the part's kind, where parts of several kinds have its name")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Print it."""
    found = registry()
    tell_faults(found)
    about = _about(args.ref, args.kind, found)
    print(json.dumps(about, indent=2) if args.json else _text(about))
    return 0


def _about(ref: str, kind: str | None, known: Registry) -> dict[str, Any]:
    if kind is None and any(loaded.origin.key == ref for loaded in known.plugins()):
        return _plugin(ref, known)
    if ref.startswith((".", "/", "~")) or Path(ref, "suffuse.json").is_file():
        return _pipeline(locate(ref, known))
    entry = known.get(ref, kind)
    if entry.kind == "weights":
        return {**_head(entry), **_pipeline(locate(entry.ref, known))}
    return _part(entry, known)


def _head(entry: Entry) -> dict[str, Any]:
    return {
        "ref": entry.ref,
        "kind": entry.kind,
        "summary": entry.component.summary,
        "plugin": f"{entry.origin.dist} {entry.origin.version}",
        "paper": None if entry.paper is None else {**attrs.asdict(entry.paper), "citation": entry.paper.citation},
    }


def _part(entry: Entry, known: Registry) -> dict[str, Any]:
    needs, gives = entry.component.needs, entry.component.gives
    target = known.resolve(entry.ref, entry.kind)
    settings = [] if entry.kind in FREE_KINDS else describe(entry.ref, entry.kind, registry=known)
    return {
        **_head(entry),
        "doc": inspect.getdoc(target) or "",
        "needs": {
            need: sorted({e.ref for word in need.split("|") for e in known.find(gives=word)}) for need in sorted(needs)
        },
        "gives": {
            word: sorted({e.ref for e in known.find() if any(word in need.split("|") for need in e.component.needs)})
            for word in sorted(gives)
        },
        "settings": [attrs.asdict(s) for s in settings],
        "evidence": evidence_of(entry.origin.key, known),
    }


def _plugin(key: str, known: Registry) -> dict[str, Any]:
    loaded = next(p for p in known.plugins() if p.origin.key == key)
    paper = loaded.plugin.paper
    return {
        "ref": key,
        "kind": "plugin",
        "plugin": f"{loaded.origin.dist} {loaded.origin.version}",
        "paper": None if paper is None else {**attrs.asdict(paper), "citation": paper.citation},
        "parts": [{"ref": e.ref, "kind": e.kind, "summary": e.component.summary} for e in known.find(plugin=key)],
        "evidence": evidence_of(key, known),
    }


def _pipeline(source: Source) -> dict[str, Any]:
    if source.kind != "folder":
        raise WeightsError(f"{source.name}: expected a saved pipeline's folder")
    config = load_json(source.path / "suffuse.json")
    try:
        files = {
            entry["file"]: {"bytes": (source.path / entry["file"]).stat().st_size, "sha256": entry["sha256"]}
            for entry in config["weights"].values()
        }
        requires = [f"{r['dist']} {r['version']}" for r in config["requires"]]
        found = {"folder": str(source.path), "requires": requires, "files": files}
        return {"ref": source.name, "kind": "weights", **found, "card": config["card"], "spec": config["pipeline"]}
    except (KeyError, TypeError, AttributeError, OSError) as error:
        raise WeightsError(f"{source.path / 'suffuse.json'} is malformed: {type(error).__name__}: {error}") from error


def evidence_of(plugin: str, known: Registry) -> dict[str, Any]:
    """Each tier's status now, with what was measured; raises nothing, since a part can be shown without."""
    try:
        package = evidence.package_of(known, plugin)
        told, now = evidence.read(package), evidence.status_of(package)
    except SuffuseError as error:
        return {"fault": str(error), "tiers": {}}
    measured = {} if told is None else told["tiers"]
    tiers = {tier: {**measured.get(tier, {}), "now": status} for tier, status in now.items()}
    return {"measured": (told or {}).get("measured"), "tiers": tiers}


def _text(about: Mapping[str, Any]) -> str:
    lines = [f"{about['ref']}  {about['kind']}"]
    if about.get("summary"):
        lines += [about["summary"]]
    if about.get("doc"):
        lines += ["", *(f"  {line}".rstrip() for line in about["doc"].splitlines())]
    lines.append("")
    if paper := about.get("paper"):
        lines += _row("paper", paper["citation"]) + (_row("", paper["authors"]) if paper["authors"] else [])
    if "plugin" in about:
        lines += _row("plugin", about["plugin"])
    for word, heading in (("needs", "given by"), ("gives", "needed by")):
        for i, (capability, refs) in enumerate(about.get(word, {}).items()):
            lines += _row("" if i else word, f"{capability}, {heading} {', '.join(refs) or 'nothing installed'}")
    if settings := about.get("settings"):
        lines += ["", "settings", *_table(settings)]
    for part in about.get("parts", ()):
        lines.append(f"  {part['kind']:<16} {part['ref']:<30} {part['summary']}".rstrip())
    if "folder" in about:
        lines += _row("folder", about["folder"])
        for name, file in about["files"].items():
            lines += _row("file", f"{name}  {file['bytes'] / 1e6:.2f} MB  sha256 {file['sha256'][:12]}")
        lines += _row("requires", ", ".join(about["requires"]))
        for key, value in about["card"].items():
            lines += _row(key, value if isinstance(value, str) else json.dumps(value))
        lines += ["", dump_toml(about["spec"]).rstrip()]
    if "evidence" in about:
        lines += ["", *_evidence(about["evidence"])]
    return "\n".join(lines)


def _row(name: str, value: str) -> list[str]:
    width = max(48, shutil.get_terminal_size((100, 24)).columns) - _LEFT
    first, *others = textwrap.wrap(value, width, break_on_hyphens=False) or [""]
    lead = f"{name} " if len(name) >= _LEFT else f"{name:<{_LEFT}}"
    return [f"{lead}{first}", *(f"{'':<{_LEFT}}{line}" for line in others)]


def _table(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Name, type, default and range in columns, the meaning last and wrapped."""
    rows = [
        [s["name"], s["type"], "(required)" if s["default"] is None else s["default"], s["range"], s["doc"]]
        for s in settings
    ]
    widths = [min(30, max(len(row[i]) for row in rows)) for i in range(4)]
    left = 2 + sum(w + 2 for w in widths)
    room = max(30, shutil.get_terminal_size((120, 24)).columns - left)
    lines = []
    for *cells, doc in rows:
        first, *others = textwrap.wrap(doc, room) or [""]
        head = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"  {head}  {first}".rstrip())
        lines += [f"{'':<{left}}{line}" for line in others]
    return lines


def _evidence(told: Mapping[str, Any]) -> list[str]:
    if "fault" in told:
        return _row("evidence", told["fault"])
    if told["measured"] is None:
        return _row("evidence", "nothing measured yet: suffuse verify measures it")
    lines = _row("evidence", f"measured on {told['measured']}")
    for tier, found in told["tiers"].items():
        rules = found.get("rules", {})
        was = f", was {found['status']}" if found["now"] == "stale" else ""
        lines.append(f"  {tier:<9} {found['now']}{was}; {count(len(rules), 'rule')}, {found.get('seconds', 0):.1f} s")
        for name, rule in rules.items():
            if tier != "contract" or rule["status"] != "passed":
                lines.append(f"    {name:<28} {rule['status']:<8} {_effect(rule)}".rstrip())
    return lines


def _effect(rule: Mapping[str, Any]) -> str:
    """A rule's number: its effect with the interval, or the smallest of an exact claim; or why there is none."""
    if "interval" in rule:
        low, high = rule["interval"]
        return f"effect {rule['effect']:.3g} [{low:.3g}, {high:.3g}], must lie above {rule['margin']:.3g}"
    if rule.get("effects"):
        return f"smallest margin {min(rule['effects']):.3g} over {count(len(rule['effects']), 'seed')}"
    return str(rule.get("reason", ""))
