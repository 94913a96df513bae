"""``suffuse verify``: measure plugins and write their evidence."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Any

from suffuse.cli import tell_faults
from suffuse.cli.console import progress
from suffuse.errors import InvalidInput
from suffuse.registry import Registry, registry
from suffuse.testing import evidence

_BUDGET = "not run: the time budget was used up"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("plugins", nargs="*", metavar="PLUGIN", help="plugins to measure")
    parser.add_argument("--all", action="store_true", help="every installed plugin")
    parser.add_argument("--changed", action="store_true", help="plugins whose evidence is missing or stale")
    parser.add_argument("--tier", choices=evidence.TIERS, action="append", help="only these tiers; writes nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes side by side")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="start nothing new after this time")
    parser.add_argument("--show", action="store_true", help="show the evidence there is, measure nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def main(args: argparse.Namespace) -> int:
    """Measure, write, print; 1 if anything failed."""
    known = registry()
    tell_faults(known)
    if args.jobs < 1:
        raise InvalidInput(f"--jobs must be at least 1, got {args.jobs}")
    chosen = _chosen(args, known)
    if args.show:
        found = {key: evidence.read(evidence.package_of(known, key)) for key in chosen}
    else:
        found = {**_measure(args, known, chosen)}
    statuses = {key: _now(known, key, told, measured=not args.show) for key, told in found.items()}
    print(json.dumps(found, indent=1, allow_nan=False) if args.json else _text(found, statuses))
    return int(any("failed" in tiers.values() for tiers in statuses.values()))


def _chosen(args: argparse.Namespace, known: Registry) -> list[str]:
    with_parts = [p.origin.key for p in known.plugins() if p.components]
    if sum(map(bool, (args.plugins, args.all, args.changed))) != 1:
        raise InvalidInput(f"name plugins ({', '.join(with_parts)}), or --all, or --changed")
    for key in args.plugins:
        evidence.package_of(known, key)  # an unknown one is refused before anything is measured
    if not args.changed:
        return args.plugins or with_parts
    return [k for k in with_parts if _needs_measuring(evidence.status_of(evidence.package_of(known, k)))]


def _needs_measuring(tiers: Mapping[str, str]) -> bool:
    return tiers["contract"] in ("stale", "not run")


def _measure(args: argparse.Namespace, known: Registry, chosen: Sequence[str]) -> dict[str, Any]:
    from suffuse.testing.verify import Job, collect, jobs_of

    jobs = [job for key in chosen for job in jobs_of(known, key)]
    if args.tier:
        jobs = [
            job for job in jobs if job.tier in args.tier or (job.tier == "claim" and set(args.tier) & _of(known, job))
        ]
    results: dict[Job, Mapping[str, Any]] = {}
    with progress(len(jobs), "verify", quiet=args.quiet) as tell:
        for job, result in _run(jobs, args.jobs, args.budget):
            results[job] = result
            tell(len(results), job.ref)
    found = {}
    for key in chosen:
        found[key] = collect(known, key, [(job, results[job]) for job in jobs if job.plugin == key])
        if not args.tier:
            evidence.write(evidence.package_of(known, key), found[key])
    return found


def _of(known: Registry, job: Any) -> set[str]:  # noqa: ANN401 - a Job, whose module imports torch
    return {str(getattr(known.resolve(job.ref, "claim"), "tier", "claim"))}


def _run(jobs: Sequence[Any], processes: int, budget: float | None) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Results as they come. Fresh processes, one thread each; Ctrl-C ends them and writes nothing."""
    from suffuse.testing.verify import run_job

    end = time.monotonic() + budget if budget is not None else float("inf")
    waiting = list(reversed(jobs))
    with ProcessPoolExecutor(min(processes, max(1, len(jobs))), mp_context=get_context("spawn")) as pool:
        running: dict[Any, Any] = {}
        try:
            while waiting or running:
                while waiting and len(running) < processes and time.monotonic() < end:
                    job = waiting.pop()
                    running[pool.submit(run_job, job)] = job
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in (pool._processes or {}).values():
                process.terminate()
            raise
    for job in reversed(waiting):
        yield job, {"status": "not run", "reason": _BUDGET, "seconds": 0.0}


def _now(known: Registry, key: str, told: Mapping[str, Any] | None, *, measured: bool) -> Mapping[str, str]:
    if not measured:
        return evidence.status_of(evidence.package_of(known, key))
    return {tier: (told or {}).get("tiers", {}).get(tier, {}).get("status", "not run") for tier in evidence.TIERS}


def _text(found: Mapping[str, Any], statuses: Mapping[str, Mapping[str, str]]) -> str:
    """A table of tier by plugin, then each claim with its numbers against its bar, then what failed."""
    if not found:
        return "nothing to verify: all evidence is fresh"
    width = max(len("plugin"), *(len(key) for key in found)) + 2
    head = "plugin".ljust(width) + "".join(tier.ljust(20) for tier in evidence.TIERS) + "seconds"
    lines = [head.rstrip()]
    for key, told in found.items():
        tiers = (told or {}).get("tiers", {})
        seconds = sum(t.get("seconds", 0.0) for t in tiers.values())
        cells = "".join(_cell(tiers.get(tier, {}), statuses[key][tier]).ljust(20) for tier in evidence.TIERS)
        lines.append(f"{key.ljust(width)}{cells}{seconds:.0f}")
    for key, told in found.items():
        tiers = (told or {}).get("tiers", {})
        for tier in evidence.TIERS[1:]:
            lines += [_claim(key, name, rule) for name, rule in tiers.get(tier, {}).get("rules", {}).items()]
        for name, rule in tiers.get("contract", {}).get("rules", {}).items():
            bad = {k: v for k, v in rule.get("checks", {}).items() if v.startswith("failed")}
            lines += [f"{key}: {name}: {check} {reason}" for check, reason in bad.items()]
    return "\n".join(lines)


def _cell(tier: Mapping[str, Any], status: str) -> str:
    rules = tier.get("rules", {})
    if not rules or status == "stale":
        return status
    good = sum(rule["status"] == "passed" for rule in rules.values())
    return f"{status} {good}/{len(rules)}"


def _claim(key: str, name: str, rule: Mapping[str, Any]) -> str:
    text = f"{key}/{name}: {rule['status']}"
    if "interval" in rule:
        low, high = rule["interval"]
        text += f": effect {rule['effect']:.3g} [{low:.3g}, {high:.3g}] against {rule['margin']:g}"
        text += f", sabotaged {rule['sabotaged']:.3g} [{rule['sabotaged_interval'][0]:.3g}, "
        text += f"{rule['sabotaged_interval'][1]:.3g}], {len(rule['seeds'])} seeds"
    elif "effects" in rule:
        text += f": least margin {min(rule['effects']):.3g} over {len(rule['seeds'])} seeds"
    if rule.get("reason"):
        text += f" ({rule['reason']})"
    return f"{text}, {rule.get('seconds', 0):.0f} s"
