"""What any spec is made of: references, settings by name, and paths for messages."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from suffuse.errors import SpecError, SuffuseError
from suffuse.registry import Entry, Registry

__all__ = ["brief", "candidates", "check_keys", "choose", "got", "located", "split"]


@contextmanager
def located(path: str) -> Iterator[None]:
    """Put a path before that of any error raised inside; an error not of suffuse becomes a ``SpecError``."""
    try:
        yield
    except SuffuseError as error:
        error.path = ".".join(filter(None, (path, error.path)))
        raise
    except Exception as error:
        raise SpecError(" ".join(f"{type(error).__name__}: {error}".split()), path=path) from error


def split(value: object) -> tuple[str, Mapping[str, Any]]:
    """The reference and the settings of a part's spec."""
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, Mapping) or "use" not in value:
        raise SpecError(f"expected a part, such as 'plugin/name' or {{use = 'plugin/name'}}, got {got(value)}")
    if extra := [k for k in value if k not in ("use", "with")]:
        raise SpecError(f"unknown key {brief(extra[0])} beside 'use': settings go under 'with'")
    use, settings = value["use"], value.get("with", {})
    if not isinstance(use, str) or not isinstance(settings, Mapping):
        raise SpecError(f"expected a reference under 'use' and settings under 'with', got {got(value)}")
    return use, settings


def check_keys(given: Collection[Any], known: Collection[str], required: Collection[str], what: str) -> None:
    """Raise ``SpecError`` for a key that is not known, with the closest that are, or a required one that is missing."""
    for key in given:
        if key not in known:
            close = get_close_matches(str(key), known, 3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known) or 'none'}"
            raise SpecError(f"unknown {what} {brief(key)}; {hint}")
    for key in required:
        if key not in given:
            raise SpecError(f"this {what} is required", path=key)


def candidates(registry: Registry, ref: str, kinds: Collection[str]) -> list[Entry]:
    """What a reference or short name may stand for where these kinds fit (all, if none is given): one of a kind."""
    named = [e for e in registry.find() if ref in (e.ref, e.component.name) and (not kinds or e.kind in kinds)]
    return [e for e in named if sum(e.kind == other.kind for other in named) == 1]


def choose(registry: Registry, ref: str, kinds: Collection[str]) -> Entry:
    """The part that a reference stands for. Raises as ``Registry.get`` does, and ``SpecError`` for another kind."""
    if len(found := candidates(registry, ref, kinds)) == 1:
        return found[0]
    elsewhere = candidates(registry, ref, ())
    if elsewhere and kinds and not any(e.kind in kinds for e in elsewhere):
        others = " or ".join(f"the {e.kind} {e.ref}" for e in elsewhere)
        raise SpecError(f"expected {' or '.join(sorted(kinds))}, got {others}")
    return registry.get(ref, next(iter(kinds)) if len(kinds) == 1 else None)


def got(value: object) -> str:
    """A value and its type, for messages."""
    return "none" if value is None else f"{type(value).__name__} {brief(value)}"


def brief(value: object) -> str:
    """A value on one short line, whatever it holds."""
    return " ".join(reprlib.repr(value).split())
