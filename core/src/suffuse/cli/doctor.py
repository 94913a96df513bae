"""``suffuse doctor``: the environment, every plugin, every part, and every fault with its traceback.

It imports nothing at its top that could be broken, so that it runs where suffuse itself does not.
"""

import argparse
import json
import platform
import sys
import traceback
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING, Any

from suffuse.cli import count

if TYPE_CHECKING:
    from suffuse.registry import Registry

DISTRIBUTIONS = (
    "suffuse",
    "torch",
    "accelerate",
    "attrs",
    "cattrs",
    "huggingface-hub",
    "importlib-metadata",
    "numpy",
    "pluggy",
    "safetensors",
    "scipy",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Print the report; 1 if there is any fault."""
    report: dict[str, Any] = {"environment": _environment(), "plugins": [], "blocked": [], "faults": []}
    try:
        from suffuse.registry import Registry

        # Not the process's registry: SUFFUSE_STRICT must not stop the examination.
        _examine(Registry.load(strict=False), report)
    except (Exception, SystemExit) as error:
        text = "".join(traceback.format_exception(error))
        report["faults"].append({"line": f"suffuse itself: {type(error).__name__}: {error}", "traceback": text})
    print(json.dumps(report, indent=2) if args.json else _text(report))
    return 1 if report["faults"] else 0


def _environment() -> dict[str, str]:
    versions = {"python": f"{platform.python_version()} ({sys.executable})", "platform": platform.platform()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _examine(registry: "Registry", report: dict[str, Any]) -> None:
    from suffuse.errors import SuffuseError

    for entry in registry.find():
        with suppress(SuffuseError):  # The registry keeps it among its failures.
            registry.resolve(entry.ref, entry.kind)
    faulty: dict[str, int] = {}
    for failure in registry.failures:
        faulty[failure.origin.path] = faulty.get(failure.origin.path, 0) + 1
        report["faults"].append(
            {"line": failure.line, "stage": failure.stage, "dist": failure.origin.dist}
            | {"error": failure.error, "traceback": failure.traceback}
        )
    loaded = {plugin.origin: len(plugin.components) for plugin in registry.plugins()}
    origins = {origin.path: origin for origin in [*loaded, *(f.origin for f in registry.failures)]}
    for origin in sorted(origins.values(), key=lambda origin: (origin.key, origin.path)):
        number = faulty.get(origin.path, 0)
        status = count(number, "fault") if number else "ok"
        report["plugins"].append(
            {"key": origin.key, "dist": origin.dist, "version": origin.version, "path": origin.path}
            | {"editable": origin.editable, "loaded": origin in loaded, "parts": loaded.get(origin, 0)}
            | {"status": status}
        )
    report["blocked"] = [{"dist": origin.dist, "version": origin.version, "by": by} for origin, by in registry.blocked]


def _text(report: dict[str, Any]) -> str:
    lines = [f"{name:<20} {version}" for name, version in report["environment"].items()]
    lines += ["", count(len(report["plugins"]), "plugin")]
    for plugin in report["plugins"]:
        where = " (editable)" if plugin["editable"] else ""
        state = count(plugin["parts"], "part") if plugin["loaded"] else "not loaded"
        lines.append(f"  {plugin['dist']} {plugin['version']}{where}: {state}, {plugin['status']}")
    lines += [f"  {blocked['dist']} {blocked['version']}: off by {blocked['by']}" for blocked in report["blocked"]]
    seen: set[str] = set()
    for fault in report["faults"]:
        lines += ["", fault["line"]]
        # One broken dependency can fail every part in the same words.
        if fault["traceback"] not in seen:
            lines += [f"    {line}" for line in fault["traceback"].rstrip().splitlines()]
        seen.add(fault["traceback"])
    return "\n".join([*lines, "", count(len(report["faults"]), "fault")])
