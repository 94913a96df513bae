"""From parts to specs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import attrs

from suffuse.contracts.part import Part
from suffuse.errors import SpecError, UnknownComponent
from suffuse.registry import Registry
from suffuse.registry import registry as installed
from suffuse.spec.grammar import got, located

__all__ = ["unstructure"]


def unstructure(whole: object, *, registry: Registry | None = None) -> Any:  # noqa: ANN401
    """The spec of a part (or a system), with full references and all settings, so that defaults may change later.

    Left out are settings that are None by default and those that follow from others, as a system's process that is its
    model's own. Infinities are written as ``"inf"``.

    Raises ``SpecError`` for a part that no plugin registered or a value that no spec can hold.
    """
    return _plain(whole, registry or installed())


def _plain(value: Any, registry: Registry) -> Any:  # noqa: ANN401
    if isinstance(value, Part):
        try:
            ref = registry.ref_of(type(value), value.kind)
        except UnknownComponent as error:
            raise SpecError(error.message) from error
        return {"use": ref, "with": _settings(value, registry)}
    if isinstance(value, Mapping):
        return _items(value, registry)
    if isinstance(value, list | tuple | frozenset):
        ordered = sorted(value) if isinstance(value, frozenset) else value
        return list(_items(dict(enumerate(ordered)), registry).values())
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, float) and math.isinf(value):
        return str(float(value))  # JSON has no infinities; float settings take these strings
    for primitive in (bool, int, float, str):
        if isinstance(value, primitive) and value == value:  # NaN is no setting
            return primitive(value)
    if attrs.has(type(value)):
        return _settings(value, registry)
    raise SpecError(f"expected what a spec can hold, got {got(value)}")


def _settings(whole: Any, registry: Registry) -> dict[str, Any]:  # noqa: ANN401
    values = {}
    for a in attrs.fields(type(whole)):
        value, default = getattr(whole, a.name), a.default
        derived = getattr(default, "takes_self", False)
        if derived:
            default = default.factory(whole)
        if a.init and not (value is default and (derived or value is None)):
            values[a.alias or a.name] = value
    return _items(values, registry)


def _items(values: Mapping[Any, Any], registry: Registry) -> dict[Any, Any]:
    written = {}
    for key, value in values.items():
        with located(str(key)):
            written[key] = _plain(value, registry)
    return written
