"""Measuring evidence: the contract suite, and each claim over its seeds with its sabotaged variant."""

from __future__ import annotations

import datetime
import math
import platform
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import torch

from suffuse.contracts.task import Claim, Measure, NotHere
from suffuse.registry import Registry, registry
from suffuse.testing import evidence

__all__ = ["Job", "collect", "jobs_of", "run_job"]

_PROVES_NOTHING = "the sabotaged variant passes: the check proves nothing"


@attrs.frozen(kw_only=True)
class Job:
    """One unit of work: the contract of a part, or one claim. Picklable, so that it can run in another process."""

    plugin: str
    tier: str
    kind: str
    ref: str


def jobs_of(known: Registry, plugin: str) -> list[Job]:
    """What there is to measure of a plugin: every part's contract, then its claims."""
    entries = known.find(plugin=plugin)
    contracts = [Job(plugin=plugin, tier="contract", kind=e.kind, ref=e.ref) for e in entries]
    claims = [e for e in entries if e.kind == "claim"]
    return contracts + [Job(plugin=plugin, tier="claim", kind="claim", ref=e.ref) for e in claims]


def run_job(job: Job, *, known: Registry | None = None) -> dict[str, Any]:
    """Measure one unit; whatever goes wrong is its result. Single-threaded, so that jobs run side by side."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    known = known or registry()
    if job.tier == "contract":
        from suffuse.testing.conformance import check

        results = check(job.ref, kind=job.kind, known=known)
        told: dict[str, Any] = {
            r.check: r.status if r.status == "passed" else f"{r.status}: {r.reason}" for r in results
        }
        bad = any(r.status == "failed" for r in results)
        found = {"status": "failed" if bad else "passed", "checks": told}
    else:
        try:
            found = _judge(known.resolve(job.ref, "claim")())
        except NotHere as reason:
            found = {"status": "not run", "reason": str(reason)}
        except (Exception, SystemExit) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            found = {"status": "failed", "reason": f"{type(error).__name__}: {error} ({where})"}
    return {**found, "seconds": round(time.perf_counter() - began, 2)}


def _judge(claim: Claim) -> dict[str, Any]:
    """An exact claim must hold for every seed, a paper's claim on average, by an interval; neither when sabotaged."""
    from suffuse.testing.statistics import t_interval

    seeds = list(range(claim.seeds))
    said = {"tier": claim.tier, "statement": claim.statement, "margin": claim.margin, "seeds": seeds}
    honest = [_finite(claim.measure(seed)) for seed in seeds]
    effects = [m.effect for m in honest]
    numbers = {k: [m.numbers.get(k) for m in honest] for k in honest[0].numbers}
    said |= {"effects": effects, "numbers": numbers}
    if claim.tier == "parity":
        return {**said, "status": "passed" if min(effects) >= claim.margin else "failed"}
    if claim.tier == "exact":
        # A formula that is wrong is wrong for any seed: one suffices to show that the check can fail.
        broken = _finite(claim.measure(seeds[0], sabotage=True)).effect
        said |= {"sabotaged": broken}
        if broken >= claim.margin:
            return {**said, "status": "failed", "reason": _PROVES_NOTHING}
        if min(effects) >= claim.margin:
            return {**said, "status": "passed"}
        return {**said, "status": "failed", "reason": f"{min(effects):.3g} lies below {claim.margin:g}"}
    interval = t_interval(effects)
    said |= {"effect": interval.estimate, "interval": [interval.low, interval.high]}
    sabotaged = t_interval([_finite(claim.measure(seed, sabotage=True)).effect for seed in seeds])
    said |= {"sabotaged": sabotaged.estimate, "sabotaged_interval": [sabotaged.low, sabotaged.high]}
    holds, survives = interval.low > claim.margin, sabotaged.low > claim.margin
    if survives:
        return {**said, "status": "failed", "reason": _PROVES_NOTHING}
    if holds:
        return {**said, "status": "passed"}
    if claim.does_not_hold:
        return {**said, "status": "does not hold here", "reason": claim.does_not_hold}
    return {**said, "status": "failed", "reason": f"the interval does not lie above {claim.margin:g}"}


def _finite(measure: Measure) -> Measure:
    if not math.isfinite(measure.effect):
        raise ArithmeticError(f"the effect is {measure.effect}")
    return measure


def collect(known: Registry, plugin: str, results: Sequence[tuple[Job, Mapping[str, Any]]]) -> dict[str, Any]:
    """The evidence of a plugin from the results of its jobs; what no job measured is not run."""
    tiers: dict[str, dict[str, Any]] = {tier: {"rules": {}} for tier in evidence.TIERS}
    for job, result in results:
        tier = "contract" if job.tier == "contract" else str(result.get("tier", _tier(known, job)))
        name = f"{job.kind} {job.ref.partition('/')[2]}" if tier == "contract" else job.ref.partition("/")[2]
        tiers[tier]["rules"][name] = dict(result)
    for told in tiers.values():
        told["status"] = _worst([rule["status"] for rule in told["rules"].values()])
        told["seconds"] = round(sum(rule.get("seconds", 0.0) for rule in told["rules"].values()), 2)
    package = evidence.package_of(known, plugin)
    versions = {p.origin.dist: p.origin.version for p in known.plugins() if p.origin.key in (plugin, "suffuse")}
    return {
        "plugin": plugin,
        "source": evidence.source_hash(package),
        "measured": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {**versions, "torch": torch.__version__, "python": platform.python_version()},
        "tiers": tiers,
    }


def _tier(known: Registry, job: Job) -> str:
    try:
        return str(cast(Any, known.resolve(job.ref, "claim")).tier)
    except (Exception, SystemExit):  # a claim that does not resolve was reported by its own job
        return "claim"


def _worst(statuses: Sequence[str]) -> str:
    """A tier is what its worst rule is; one without rules is exempt from nothing and was not run."""
    for status in ("failed", "not run", "does not hold here"):
        if status in statuses:
            return status
    return "passed" if statuses else "not run"
