"""Rules for every part."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, cast

import attrs
from torch import Tensor, nn

from suffuse.contracts.part import Part
from suffuse.errors import SuffuseError
from suffuse.system import parts_of
from suffuse.testing.conformance import Check, Exempt, Subject, demand, refused

# Not parts with settings: a path, and a claim, which has rules of its own.
_PLAIN = frozenset({"weights"})


def resolves(subject: Subject) -> None:
    """The target is there, is what its kind asks for, and can be made under its example settings."""
    if subject.kind in _PLAIN:
        raise Exempt("checked by loading")
    from suffuse.contracts import kinds

    cls = _class(subject)
    contract = kinds.contract_of(subject.kind, cls)
    demand(issubclass(cls, contract), f"{cls.__name__} is no {contract.__name__}")
    demand(subject.kind == "claim" or subject.part is not None, "it cannot be made")


def declares(subject: Subject) -> None:
    """The torch-free manifest says what the class says."""
    if subject.component is None or subject.kind in _PLAIN:
        raise Exempt("not in a manifest")
    cls = _class(subject)
    gives = frozenset[str]().union(*(vars(c).get("provides", ()) for c in cls.__mro__))
    record = subject.component
    demand(record.needs == cls.needs, f"needs: the manifest says {sorted(record.needs)}, the class {sorted(cls.needs)}")
    demand(record.gives == gives, f"gives: the manifest says {sorted(record.gives)}, the class {sorted(gives)}")
    demand(subject.part.gives <= gives, "an instance gives more than its class provides")


def documented(subject: Subject) -> None:
    """The class and each of its settings say what they mean."""
    if subject.kind in _PLAIN:
        raise Exempt("no settings")
    cls = _class(subject)
    demand((cls.__doc__ or "").strip(), f"{cls.__name__} has no docstring")
    dumb = [a.name for a in attrs.fields(cls) if a.init and not a.metadata.get("doc")]
    demand(not dumb, f"settings without a meaning: {dumb}")
    demand(subject.component is None or subject.component.summary, "the manifest's record has no summary")


def registered(subject: Subject) -> None:
    """A part with weights holds its sub-modules, parameters and other tensors where torch finds them."""
    if subject.kind in _PLAIN or not isinstance(subject.part, nn.Module):
        raise Exempt("has no weights")
    part = subject.part
    fields = [getattr(part, a.name) for a in attrs.fields(cast(Any, type(part)))]
    lost = [type(v).__name__ for v in fields if isinstance(v, nn.Module) and v not in list(part.children())]
    demand(not lost, f"{lost} are no sub-modules: decorate the class with suffuse.contracts.part.module")
    plain = [
        f"{n}.{k}".strip(".") for n, m in part.named_modules() for k, v in vars(m).items() if isinstance(v, Tensor)
    ]
    demand(not plain, f"tensors that are neither moved nor saved: {plain}; use register_buffer or nn.Parameter")


def round_trip(subject: Subject) -> None:
    """Written as a spec and read back, through JSON, the part is the same."""
    if subject.ref is None or subject.kind in _PLAIN:
        raise Exempt("registered by no plugin")
    from suffuse.spec import structure, unstructure

    spec = unstructure(subject.part, registry=subject.known)
    again = structure(json.loads(json.dumps(spec)), type(subject.part), registry=subject.known)
    demand(unstructure(again, registry=subject.known) == spec, f"the spec changed: {spec}")
    if _comparable(subject.part):
        demand(again == subject.part, "the part read back is not equal")


def refuses(subject: Subject) -> None:
    """A setting that does not exist, and one of a wrong type, are answered by one line that names them."""
    if subject.ref is None or subject.kind in _PLAIN:
        raise Exempt("registered by no plugin")
    from suffuse.contracts import kinds
    from suffuse.spec import structure

    assert subject.component is not None
    good = dict(subject.component.example)
    names = [a.name for a in attrs.fields(_class(subject)) if a.init]
    wrong = {"no_such_setting": 1, **{n: {"neither": "nor"} for n in names}}
    for name, value in wrong.items():
        # A mapping of settings may rightly take any mapping.
        kind = str(attrs.fields_dict(_class(subject))[name].type) if name in names else ""
        if "Mapping" not in kind and "dict" not in kind:
            spec = {"use": subject.ref, "with": {**good, name: value}}
            contract = kinds.contract_of(subject.kind, _class(subject))
            make = partial(structure, spec, contract, registry=subject.known)
            refused(make, f"a wrong {name!r}", name, error=SuffuseError)


def _class(subject: Subject) -> Any:  # noqa: ANN401
    if subject.ref is None:
        return type(subject.part)
    assert subject.known is not None
    return subject.known.resolve(subject.ref, subject.kind)


def _comparable(part: Part) -> bool:
    """Modules are equal to themselves only."""
    parts = [part, *(p for _, p in parts_of(part))]
    return not any(isinstance(p, nn.Module) or type(p).__eq__ is object.__eq__ for p in parts)


CHECKS: dict[str, Check] = {
    "resolves": resolves,
    "declares": declares,
    "documented": documented,
    "registered": registered,
    "round-trip": round_trip,
    "refuses": refuses,
}
