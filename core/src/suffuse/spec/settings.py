"""The settings of a part: names, types and what people should know of them."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from suffuse.contracts.part import Part
from suffuse.errors import SpecError
from suffuse.registry import Registry
from suffuse.registry import registry as installed
from suffuse.spec.files import dump_json
from suffuse.spec.writing import unstructure

__all__ = ["MAPPINGS", "SEQUENCES", "UNIONS", "SettingInfo", "building", "describe", "hints", "words"]

# What a list makes for each type, and the origins of the others.
SEQUENCES: Mapping[Any, Any] = {tuple: tuple, list: list, frozenset: frozenset, collections.abc.Sequence: tuple}
MAPPINGS: tuple[Any, ...] = (dict, Mapping)
UNIONS: tuple[Any, ...] = (Union, types.UnionType)


@attrs.frozen(kw_only=True)
class SettingInfo:
    """A setting for people: ``default`` is None where it must be given, else JSON, a reference or a phrase."""

    name: str
    type: str
    default: str | None
    doc: str
    range: str


def describe(ref: str, kind: str | None = None, *, registry: Registry | None = None) -> list[SettingInfo]:
    """What can be set in a part. Imports the part."""
    registry = registry or installed()
    return [
        SettingInfo(
            name=a.alias or a.name,
            type=a.type if isinstance(a.type, str) else words(a.type),
            default=_default(a, registry),
            doc=a.metadata.get("doc", ""),
            range=_range(a.metadata),
        )
        for a in attrs.fields(registry.resolve(ref, kind))
        if a.init
    ]


@functools.cache
def hints(cls: type) -> Mapping[str, Any]:
    """The types of the settings by name, evaluated where each was written down.

    Raises ``SpecError`` for a type that its module imports for type checkers only.
    """
    found = {}
    for a in attrs.fields(cls):
        owner = next((c for c in cls.__mro__ if a.name in inspect.get_annotations(c)), cls)
        holder = types.SimpleNamespace(__annotations__={"type": a.type})
        try:
            found[a.alias or a.name] = typing.get_type_hints(holder, vars(sys.modules[owner.__module__]))["type"]
        except NameError as error:
            where = f"{owner.__module__}.{owner.__qualname__}.{a.name}"
            raise SpecError(f"{where}: its type '{a.type}' needs {error.name} at run time: import it there") from error
    return found


@contextmanager
def building(seed: int) -> Iterator[None]:
    """Layers made inside depend on the seed alone, and torch's global random state stays as it was.

    They are made on the CPU, or on the meta device where the caller chose it.
    """
    import torch

    # The one place that seeds a global generator: torch's layers initialise themselves from nothing else. It is the
    # CPU's alone (torch.manual_seed would reseed every GPU too), and it is put back.
    device = "meta" if torch.get_default_device().type == "meta" else "cpu"
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.default_generator.manual_seed(seed)
        yield


def words(t: Any) -> str:  # noqa: ANN401
    """A type for people; a contract by its kind."""
    origin, args = get_origin(t) or t, get_args(t)
    if origin in UNIONS:
        return " or ".join(map(words, args))
    if origin is Literal:
        return f"one of {', '.join(map(repr, args))}"
    if origin in SEQUENCES:
        return f"list of {' and '.join(words(a) for a in args if a is not ...) or 'anything'}"
    if origin in MAPPINGS:
        return f"table of {words(args[1]) if args else 'anything'}"
    return "none" if t is types.NoneType else str(getattr(t, "kind", None) or getattr(t, "__name__", t))


def _default(a: attrs.Attribute[Any], registry: Registry) -> str | None:
    default: Any = a.default
    if default is attrs.NOTHING:
        return None
    if getattr(default, "takes_self", False):
        return "follows from the other settings"
    if hasattr(default, "factory"):
        with building(0):
            default = default.factory()
    if default is None:
        return "none"
    plain = unstructure(default, registry=registry)
    return str(plain["use"]) if isinstance(default, Part) else " ".join(dump_json(plain).split())


def _range(metadata: Mapping[Any, Any]) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    limits = [f"{sign} {metadata[name]:g}" for name, sign in signs.items() if name in metadata]
    return ", ".join(limits + [f"one of {', '.join(map(repr, v))}" for k, v in metadata.items() if k == "choices"])
