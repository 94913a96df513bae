"""``suffuse list``: the installed plugins and their parts."""

import argparse
from difflib import get_close_matches

from suffuse.cli import count, tell_faults
from suffuse.errors import UnknownComponent
from suffuse.loading import Loaded
from suffuse.registry import Entry, Registry, registry


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--kind", help="only parts of this kind, as in sampler")
    parser.add_argument("--plugin", help="only this plugin, as in edm")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Print the plugins and parts on stdout, and the faults on stderr."""
    found = registry()
    tell_faults(found)
    _check(found, args.kind, args.plugin)
    parts: dict[str, list[Entry]] = {}
    for entry in found.find(args.kind):
        parts.setdefault(entry.origin.key, []).append(entry)
    chosen = [loaded for loaded in found.plugins() if args.plugin in (None, loaded.origin.key)]
    groups = [(loaded, parts.get(loaded.origin.key, [])) for loaded in chosen]
    if args.kind:
        groups = [(loaded, entries) for loaded, entries in groups if entries]
    if args.json:
        import json

        print(json.dumps([_row(loaded, entries) for loaded, entries in groups], indent=2))
        return 0
    lines = []
    for loaded, entries in groups:
        about = f"  {loaded.plugin.paper.citation}" if loaded.plugin.paper else ""
        lines.append(f"{loaded.origin.key} {loaded.origin.version}{about}")
        lines += [f"  {entry.kind:<10} {entry.ref:<32} {entry.component.summary}".rstrip() for entry in entries]
    total = sum(len(entries) for _, entries in groups)
    print("\n".join([*lines, f"{count(len(groups), 'plugin')}, {count(total, 'part')}"]))
    return 0


def _check(found: Registry, kind: str | None, plugin: str | None) -> None:
    """Refuse a kind that does not exist and a plugin that is not loaded."""
    if kind is not None and kind not in found.kinds():
        raise UnknownComponent(f"unknown kind {kind!r}; the kinds are {', '.join(found.kinds())}")
    keys = [loaded.origin.key for loaded in found.plugins()]
    if plugin is not None and plugin not in keys:
        close = get_close_matches(plugin, keys, 3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UnknownComponent(f"no plugin {plugin!r} is loaded{hint}")


def _row(loaded: Loaded, entries: list[Entry]) -> dict[str, object]:
    import attrs

    origin, paper = loaded.origin, loaded.plugin.paper
    return {
        "key": origin.key,
        "dist": origin.dist,
        "version": origin.version,
        "paper": attrs.asdict(paper) if paper else None,
        "parts": [
            {
                "ref": entry.ref,
                "kind": entry.kind,
                "summary": entry.component.summary,
                "target": entry.component.target,
                "needs": sorted(entry.component.needs),
                "gives": sorted(entry.component.gives),
                "extras": list(entry.component.extras),
            }
            for entry in entries
        ],
    }
