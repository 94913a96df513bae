"""From specs to parts.

Numbers, strings and lists are taken strictly: 7 is a float, 7.0 is no int, True is no number. The first fault found is
reported, with its path: ``expected float, got str 'x' @ sampler.grid.rho``.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs
import cattrs

from suffuse.contracts.part import Part
from suffuse.errors import SpecError, SuffuseError
from suffuse.registry import Registry
from suffuse.registry import registry as installed
from suffuse.spec.files import check_depth
from suffuse.spec.grammar import brief, check_keys, choose, got, located, split
from suffuse.spec.settings import MAPPINGS, SEQUENCES, UNIONS, building, hints, words

__all__ = ["structure"]


def structure(
    value: object,
    cls: Any,  # noqa: ANN401 - a class, a union or a generic alias
    *,
    path: str = "",
    registry: Registry | None = None,
    seed: int = 0,
) -> Any:  # noqa: ANN401
    """Make what a spec says: a part for a contract, or any attrs class (``System``) from a mapping of its fields.

    Layers are initialised from ``seed`` alone; torch's global random state stays as it was. ``path`` is where the spec
    stands in a larger one, for messages.

    Raises ``SpecError`` for a wrong setting, and what ``Registry.get`` and ``resolve`` raise for a wrong reference;
    whatever a part's own constructor raises becomes a ``SpecError``.
    """
    with located(path):
        check_depth(value)
        with building(seed):
            return _Reader(registry or installed()).read(value, cls)


class _Reader:
    """Reads values by type: cattrs finds the rule, each rule takes the value and the type."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.converter = cattrs.Converter(detailed_validation=False)
        for primitive in (bool, int, float, str):
            self.converter.register_structure_hook(primitive, _primitive)
        self.converter.register_structure_hook(Path, lambda v, _: Path(_primitive(v, str)))
        # Later rules come first.
        rule = self.converter.register_structure_hook_func
        rule(lambda t: isinstance(t, type) and t is not Any, lambda v, t: self.part(v, (t,)))
        rule(lambda t: attrs.has(t) and not _is_part(t), self.record)
        rule(lambda t: _origin(t) in SEQUENCES, self.sequence)
        rule(lambda t: _origin(t) in MAPPINGS, self.mapping)
        rule(lambda t: _origin(t) is Literal, _literal)
        rule(lambda t: _origin(t) in UNIONS, self.union)

    def read(self, value: object, t: Any) -> Any:  # noqa: ANN401
        return self.converter.structure(value, t)

    def part(self, value: object, classes: tuple[type, ...]) -> Any:  # noqa: ANN401
        use, settings = split(value)
        kinds = [getattr(c, "kind", "") for c in classes]
        entry = choose(self.registry, use, kinds if all(kinds) else ())
        cls = self.registry.resolve(entry.ref, entry.kind)
        if not attrs.has(cls) or not issubclass(cls, classes):
            expected = " or ".join(c.__name__ for c in classes)
            raise SpecError(f"expected {expected}, got the {entry.kind} {entry.ref}, which is none")
        return self.record(settings, cls)

    def record(self, value: object, cls: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, Mapping):
            raise SpecError(f"expected the settings of {cls.__name__} by name, got {got(value)}")
        fields = {a.alias: a for a in attrs.fields(cls) if a.init}
        check_keys(value, fields, [k for k, a in fields.items() if a.default is attrs.NOTHING], "setting")
        kinds, read = hints(cls), {}
        for name in filter(value.__contains__, fields):
            with located(name):
                read[name] = self.read(value[name], kinds[name])
        with located(""):
            return cls(**read)

    def sequence(self, value: object, t: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, list | tuple):
            raise _unexpected(t, value)
        args = get_args(t) or (Any, ...)
        if _origin(t) is not tuple or args[1:] == (...,):
            args = (args[0],) * len(value)
        if len(value) != len(args):
            raise SpecError(f"expected a list of {len(args)}, got {len(value)} items")
        read = []
        for i, (item, of) in enumerate(zip(value, args, strict=True)):
            with located(str(i)):
                read.append(self.read(item, of))
        return SEQUENCES[_origin(t)](read)

    def mapping(self, value: object, t: Any) -> dict[str, Any]:  # noqa: ANN401
        if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
            raise _unexpected(t, value)
        of, read = (get_args(t) or (str, Any))[1], {}
        for key, item in value.items():
            with located(key if key.isidentifier() else brief(key)):
                read[key] = self.read(item, of)
        return read

    def union(self, value: object, t: Any) -> Any:  # noqa: ANN401
        members = get_args(t)
        if value is None and types.NoneType in members:
            return None
        parts = tuple(m for m in members if _is_part(m))
        plain = [m for m in members if m is not types.NoneType and m not in parts]
        if parts and (not plain or (isinstance(value, Mapping) and "use" in value)):
            return self.part(value, parts)
        # Its own type first, so that 7 stays an int where ints and floats may stand.
        for member in sorted(plain, key=lambda m: m is not type(value)):
            try:
                return self.read(value, member)
            except SuffuseError:
                if len(plain) == 1 and not parts:
                    raise
        if parts and isinstance(value, str):
            return self.part(value, parts)
        raise _unexpected(t, value)


def _origin(t: Any) -> Any:  # noqa: ANN401
    return get_origin(t) or t


def _is_part(t: object) -> bool:
    """Contracts and the capabilities beside them (``Jump``, ``Bridge``), which are no parts themselves."""
    return isinstance(t, type) and (issubclass(t, Part) or hasattr(t, "provides"))


def _primitive(value: object, t: type) -> Any:  # noqa: ANN401
    if t is float and (value in ("inf", "-inf") or isinstance(value, int)) and not isinstance(value, bool):
        value = float(value)  # the strings are what specs have for infinities, as JSON has none
    if not isinstance(value, t) or (t is not bool and isinstance(value, bool)):
        raise _unexpected(t, value)
    if isinstance(value, float) and math.isnan(value):
        raise SpecError("expected float, got NaN")
    return t(value)


def _literal(value: object, t: Any) -> Any:  # noqa: ANN401
    for choice in get_args(t):
        if value == choice and type(value) is type(choice):
            return choice
    raise _unexpected(t, value)


def _unexpected(t: object, value: object) -> SpecError:
    return SpecError(f"expected {words(t)}, got {got(value)}")
