"""Find the installed plugins by their entry points, without importing any of them."""

import os
import re
import traceback
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Protocol

import attrs
import importlib_metadata as metadata

from suffuse.records import Failure, Origin

API = 1
GROUP = f"suffuse.v{API}"
CORE = "suffuse"


class _Distribution(Protocol):
    """What we use of importlib-metadata's distributions, whose own types differ between its versions."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def entry_points(self) -> Iterable[metadata.EntryPoint]: ...

    def read_text(self, filename: str, /) -> str | None: ...


@attrs.frozen(kw_only=True)
class Found:
    """A plugin to load: where it comes from, and its manifest module."""

    origin: Origin
    module: str


@attrs.frozen(kw_only=True)
class Switch:
    """Which plugins may load, by key or distribution name: `allow` None is all, the core is always allowed."""

    block: frozenset[str]
    allow: frozenset[str] | None

    @classmethod
    def make(cls, block: Collection[str] | None, allow: Collection[str] | None) -> "Switch":
        """The given names; where None, those of SUFFUSE_BLOCK and SUFFUSE_PLUGINS."""
        if block is None:
            block = _names("SUFFUSE_BLOCK") or ()
        if allow is None:
            allow = _names("SUFFUSE_PLUGINS")
        return cls(block=frozenset(block), allow=None if allow is None else frozenset(allow))

    def off(self, origin: Origin) -> str:
        """The variable that switches this plugin off, or nothing."""
        names = {origin.key, origin.dist}
        if names & self.block:
            return "SUFFUSE_BLOCK"
        if self.allow is None or origin.dist == CORE or names & self.allow:
            return ""
        return "SUFFUSE_PLUGINS"


@attrs.frozen(kw_only=True)
class Discovery:
    """What is installed: plugins in order of key, faults, and (origin, variable) of those switched off."""

    found: tuple[Found, ...]
    failures: tuple[Failure, ...]
    blocked: tuple[tuple[Origin, str], ...]


def discover(path: Sequence[str] | None, switch: Switch) -> Discovery:
    """Scan `path` (None: ``sys.path``); of two distributions with one name or key, the first on it wins."""
    found: dict[str, Found] = {}
    names: dict[str, Origin] = {}
    failures: list[Failure] = []
    blocked: list[tuple[Origin, str]] = []
    for origin, dist in _ordered(path):
        if variable := switch.off(origin):
            blocked.append((origin, variable))
            continue
        first = names.setdefault(origin.dist, origin)
        if first is not origin:
            if not _same(first, origin):
                failures.append(_shadowed(origin, first, f"two distributions are named {origin.dist!r}"))
            continue
        try:
            module, faults = _claims(origin, list(dist.entry_points))
        except Exception as error:
            module, faults = "", [_unreadable(origin, error)]
        failures += faults
        if module and origin.key in found:
            reason = f"two plugins have the key {origin.key!r}"
            failures.append(_shadowed(origin, found[origin.key].origin, reason))
        elif module:
            found[origin.key] = Found(origin=origin, module=module)
    if switch.allow is not None:
        present = {name for origin in names.values() for name in (origin.dist, origin.key)}
        present |= {name for origin, _ in blocked for name in (origin.dist, origin.key)}
        failures += [_absent(name) for name in sorted(switch.allow - present)]
    return Discovery(
        found=tuple(found[key] for key in sorted(found)),
        failures=tuple(failures),
        blocked=tuple(sorted(blocked, key=lambda pair: pair[0].dist)),
    )


def key_of(dist: str) -> str:
    """The one key that a distribution may use: its normalised name, without ``suffuse-`` if it begins so."""
    key = dist.removeprefix("suffuse-")
    return dist if key in ("", CORE) else key


def _names(variable: str) -> list[str] | None:
    text = os.environ.get(variable)
    return None if text is None else [name for part in text.split(",") if (name := part.strip())]


def _ordered(path: Sequence[str] | None) -> list[tuple[Origin, _Distribution]]:
    """The distributions with our entry points, in order of path; within a folder ours first, then by name."""
    ranks: dict[str, int] = {}
    rows = []
    for origin, dist in _ours(path):
        rank = ranks.setdefault(os.path.dirname(origin.path), len(ranks))
        own = origin.dist == CORE or origin.dist.startswith("suffuse-")
        rows.append(((rank, not own, origin.dist, origin.version), origin, dist))
    rows.sort(key=lambda row: row[0])
    return [(origin, dist) for _, origin, dist in rows]


def _ours(path: Sequence[str] | None) -> Iterator[tuple[Origin, _Distribution]]:
    for dist in metadata.distributions() if path is None else metadata.distributions(path=list(path)):
        try:
            # A look at the text spares parsing the entry points of every other distribution.
            if "suffuse.v" not in (dist.read_text("entry_points.txt") or ""):
                continue
            origin = _origin(dist)
        except Exception:  # Metadata too broken to say whose it is is no plugin's fault.
            continue
        yield origin, dist


def _origin(dist: _Distribution) -> Origin:
    # The folder's name has both name and version; parsing METADATA for them costs 0.1 ms a plugin.
    path = str(getattr(dist, "_path", ""))
    match = re.fullmatch(r"([^-]+)-([^-]+)\.dist-info", os.path.basename(path))
    name, version = match.groups() if match else (dist.name, dist.version)
    name = re.sub(r"[-_.]+", "-", name).lower()
    return Origin(dist=name, version=version, key=key_of(name), path=path)


def _claims(origin: Origin, entries: list[metadata.EntryPoint]) -> tuple[str, list[Failure]]:
    """The manifest module of a distribution (or nothing), and the faults in what it claims."""
    here = [entry for entry in entries if entry.group == GROUP]
    others = sorted({e.group for e in entries if re.fullmatch(r"suffuse\.v\d+", e.group)} - {GROUP})
    if others and not here:
        error = f"it was made for {', '.join(others)}, this suffuse loads {GROUP}"
        newer = max(int(group.removeprefix("suffuse.v")) for group in others) > API
        cure = f"upgrade {'suffuse' if newer else origin.dist}, or set SUFFUSE_BLOCK={origin.key}"
        return "", [_failure(origin, "api", error, cure)]
    rename = f"its author must name the entry point {origin.key!r}; until then set SUFFUSE_BLOCK={origin.key}"
    faults = [
        _failure(
            origin,
            "key",
            f"it claims the key {name!r}, but {origin.dist} may only use {origin.key!r}",
            rename,
        )
        for name in sorted({entry.name for entry in here} - {origin.key})
    ]
    values = sorted({entry.value for entry in here if entry.name == origin.key})
    if len(values) > 1 or any(not re.fullmatch(r"[\w.]+", value) for value in values):
        error = f"its entry point must name one module, got {', '.join(map(repr, values))}"
        cure = f"its author must correct it; until then set SUFFUSE_BLOCK={origin.key}"
        return "", [*faults, _failure(origin, "key", error, cure)]
    return (values[0] if values else ""), faults


def _same(first: Origin, second: Origin) -> bool:
    """Whether two finds are one installation: a linked folder, or an editable install's egg-info twin."""
    if os.path.realpath(first.path) == os.path.realpath(second.path):
        return True
    twin = any(origin.path.endswith(".egg-info") for origin in (first, second))
    return twin and first.version == second.version


def _shadowed(origin: Origin, first: Origin, reason: str) -> Failure:
    error = f"{reason}: {first.dist} {first.version} in {os.path.dirname(first.path)} is used, this one is not"
    return _failure(origin, "discovery", error, f"uninstall one of them, or set SUFFUSE_BLOCK={origin.dist}")


def _absent(name: str) -> Failure:
    origin = Origin(dist=name, version="(not installed)", key=name, path="")
    error = "SUFFUSE_PLUGINS names it, but no such plugin is installed"
    return _failure(origin, "discovery", error, "install it, or correct SUFFUSE_PLUGINS", "SUFFUSE_PLUGINS")


def _unreadable(origin: Origin, error: Exception) -> Failure:
    return Failure(
        origin=origin,
        stage="discovery",
        error=f"its entry points cannot be read: {type(error).__name__}: {error}",
        traceback="".join(traceback.format_exception(error)),
        cure=f"reinstall {origin.dist}",
    )


def _failure(origin: Origin, stage: str, error: str, cure: str, place: str = "") -> Failure:
    place = place or f'File "{os.path.join(origin.path, "entry_points.txt")}"'
    return Failure(origin=origin, stage=stage, error=error, traceback=place, cure=cure)
