"""The records in which plugins describe themselves. This module imports no torch."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from suffuse.errors import BrokenPlugin, IncompatibleApi, InvalidInput, SuffuseError

PAPER_KINDS = ("method", "study", "survey", "library")


def _matches(pattern: str, expected: str) -> Callable[[Any, "attrs.Attribute[str]", str], None]:
    compiled = re.compile(pattern)

    def validate(record: object, field: "attrs.Attribute[str]", value: str) -> None:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            name = f"{type(record).__name__}.{field.name}"
            raise InvalidInput(f"{name}: expected {expected}, got {value!r}")

    return validate


def _strings(value: object) -> list[str]:
    # A bare string is an iterable of its letters: refuse it before a set hides that.
    if isinstance(value, Iterable) and not isinstance(value, str):
        items = list(value)
        if all(isinstance(item, str) for item in items):
            return items
    raise InvalidInput(f"expected a collection of strings, got {value!r}")


def _string_set(value: Iterable[str]) -> frozenset[str]:
    return frozenset(_strings(value))


def _string_tuple(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(_strings(value))


def _one_line(record: object, field: "attrs.Attribute[str]", value: str) -> None:
    if not isinstance(value, str) or "\n" in value:
        name = f"{type(record).__name__}.{field.name}"
        raise InvalidInput(f"{name}: expected one line of text, got {value!r}")


@attrs.frozen(kw_only=True)
class Component:
    """One part that a plugin offers.

    Args:
        name: lower-case letters, digits, ``.`` and ``-``; unique within its plugin and kind.
        target: ``module:attribute``, imported only when the part is used.
        summary: one line.
        kind: set by the hook that returns the record; given only by what `suffuse_parts` returns.
        needs: capabilities that the parts composed with this one must give.
        gives: capabilities that this part has.
        extras: the distribution's optional dependencies that it needs, by extra name.
        example: settings, as in a spec, under which the contract suite checks the part and `suffuse show`
            shows it; only what has no default, or is too large to check.
        off: settings under which a guidance changes nothing, for the contract suite and the composition matrix.
        beside: parts of a system, as in a spec, that the suite composes with it instead of its own.
        shape: one input's shape for networks and codecs, without the batch.
    """

    name: str = attrs.field(validator=_matches(r"[a-z0-9][a-z0-9.-]*", "lower-case letters, digits, '.' and '-'"))
    target: str = attrs.field(validator=_matches(r"[\w.]+:[\w.]+", "'module:attribute'"))
    summary: str = attrs.field(default="", validator=_one_line)
    kind: str = attrs.field(
        default="", validator=_matches(r"([a-z][a-z-]*)?", "lower-case letters and '-', or nothing")
    )
    needs: frozenset[str] = attrs.field(default=(), converter=_string_set)
    gives: frozenset[str] = attrs.field(default=(), converter=_string_set)
    extras: tuple[str, ...] = attrs.field(default=(), converter=_string_tuple)
    example: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    off: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    beside: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    shape: tuple[int, ...] = attrs.field(default=(), converter=tuple)


@attrs.frozen(kw_only=True)
class Paper:
    """The paper behind a plugin. `kind` is one of `PAPER_KINDS`; `arxiv` is like ``2206.00364``."""

    title: str = attrs.field(validator=[_one_line, _matches(r"(?s).*\S.*", "a title")])
    year: int = attrs.field()
    kind: str = attrs.field(validator=_matches("|".join(PAPER_KINDS), f"one of {', '.join(PAPER_KINDS)}"))
    arxiv: str = attrs.field(
        default="",
        validator=_matches(r"|\d{4}\.\d{4,5}(v\d+)?|[a-z-]+(\.[A-Z]{2})?/\d{7}(v\d+)?", "an arXiv identifier"),
    )
    authors: str = attrs.field(default="", validator=_one_line)
    url: str = attrs.field(default="", validator=_matches(r"|https?://\S+", "an http(s) address"))

    @year.validator
    def _check_year(self, _: "attrs.Attribute[int]", year: int) -> None:
        if type(year) is not int or not 1600 <= year <= 2200:
            raise InvalidInput(f"Paper.year: expected a year, got {year!r}")

    @property
    def citation(self) -> str:
        """Title, year and arXiv identifier, on one line."""
        return f"{self.title} ({self.year}{', arXiv:' + self.arxiv if self.arxiv else ''})"


@attrs.frozen(kw_only=True)
class Plugin:
    """What a manifest module holds under the name ``plugin``; `paper` is None where there is none."""

    paper: Paper | None = attrs.field(validator=attrs.validators.optional(attrs.validators.instance_of(Paper)))


@attrs.frozen(kw_only=True)
class Origin:
    """Where a plugin comes from: its distribution, version, key, and metadata directory."""

    dist: str
    version: str
    key: str
    path: str

    @property
    def editable(self) -> bool:
        """Whether the distribution is an editable install (read from its direct_url.json)."""
        import json

        try:
            data = json.loads(Path(self.path, "direct_url.json").read_text(encoding="utf-8"))
            return bool(data["dir_info"]["editable"])
        except (OSError, ValueError, KeyError, TypeError):
            return False


@attrs.frozen(kw_only=True)
class Failure:
    """One fault of one plugin: the stage it happened at, what happened, where, and what to do about it.

    `stage` is one of discovery, api, key, import, manifest, hook, resolve. `traceback` is the original one
    or, where no code of the plugin failed, the place in its files.
    """

    origin: Origin
    stage: str
    error: str
    traceback: str
    cure: str

    @property
    def line(self) -> str:
        """The fault in one line."""
        text = f"{self.origin.dist} {self.origin.version}: {self.stage} failed: {self.error}. Cure: {self.cure}"
        return " ".join(text.split())

    def exception(self) -> SuffuseError:
        """The fault as an error to raise."""
        if self.stage == "api":
            return IncompatibleApi(self.line)
        return BrokenPlugin(self.line, traceback=self.traceback)
