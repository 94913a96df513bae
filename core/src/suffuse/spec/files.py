"""Spec files: TOML and JSON to plain data and back."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from suffuse.errors import SpecError

__all__ = ["MAX_DEPTH", "check_depth", "dump_json", "dump_toml", "load_json", "load_toml"]

# A part within a part takes two levels. Far below where Python's stack ends, far above what anyone writes.
MAX_DEPTH = 64


def check_depth(value: object) -> None:
    """Raise ``SpecError`` for more than ``MAX_DEPTH`` tables and lists within one another, or for a cycle."""
    level, depth = [value], 0
    while level := [v for v in level if isinstance(v, Mapping | list | tuple)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise SpecError(f"a spec is at most {MAX_DEPTH} levels deep")
        level = [item for v in level for item in (v.values() if isinstance(v, Mapping) else v)]


def load_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file. Raises ``SpecError`` with the line if it is not one."""
    return _load(path, "TOML", tomllib.loads)


def load_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON file. Raises ``SpecError`` with the line if it is not one."""
    return _load(path, "JSON", json.loads)


def dump_toml(spec: Mapping[str, Any]) -> str:
    """A spec as TOML. Raises ``SpecError`` for a value that TOML does not have, such as None."""
    return _dump(spec, "TOML", tomli_w.dumps)


def dump_json(spec: Mapping[str, Any]) -> str:
    """A spec as strict JSON. Raises ``SpecError`` for a value that JSON does not have, such as a bare infinity."""
    return _dump(spec, "JSON", lambda v: json.dumps(v, indent=2, allow_nan=False) + "\n")


def _load(path: str | os.PathLike[str], name: str, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        found = parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
    except ValueError as error:  # the parsers' own errors, bad UTF-8 and integers beyond Python's limit
        raise SpecError(f"{os.fspath(path)} is not valid {name}: {error}") from error
    except RecursionError as error:
        raise SpecError(f"{os.fspath(path)}: a spec is at most {MAX_DEPTH} levels deep") from error
    if not isinstance(found, dict):
        raise SpecError(f"{os.fspath(path)}: expected a table, got {type(found).__name__}")
    check_depth(found)
    return found


def _dump(spec: Mapping[str, Any], name: str, write: Callable[[Any], str]) -> str:
    check_depth(spec)
    try:
        return write(spec)
    except (TypeError, ValueError) as error:
        raise SpecError(f"this spec cannot be written as {name}: {error}") from error
