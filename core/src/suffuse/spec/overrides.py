"""Changes to a spec by dotted path, as in ``--set sampler.steps=18``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from suffuse.errors import SpecError
from suffuse.spec.files import check_depth

__all__ = ["override"]


def override(spec: Mapping[str, Any], *assignments: str) -> dict[str, Any]:
    """The spec with each ``path=value`` applied in order; the spec itself stays as it is.

    A path goes through settings (the ``with`` of each part is not written) and list items by number:
    ``guidance.parts.0.scale=2``. The value is TOML where it parses as such (``18``, ``true``, ``[1, 8, 8]``), else a
    string; ``sampler=edm/heun`` puts a part with its own defaults in place of another. Whether a setting exists is
    known when the spec is structured.

    Raises ``SpecError`` for a malformed assignment, or a path through what the spec does not name.
    """
    changed: Any = spec
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            raise SpecError(f"expected an assignment such as sampler.steps=18, got {assignment!r}")
        changed = _set(changed, keys, 0, _value(text.strip()))
        check_depth(changed)
    return dict(changed)


def _value(text: str) -> Any:  # noqa: ANN401
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    # Text with line breaks could hold more than one value; dates are no setting's type.
    plain = len(parsed) == 1 and isinstance(parsed["value"], bool | int | float | str | list | dict)
    return parsed["value"] if plain else text


def _set(node: Any, keys: list[str], i: int, value: Any) -> Any:  # noqa: ANN401
    """The node with what ``keys[i:]`` point at replaced."""
    if i == len(keys):
        return value
    here, key = ".".join(keys[:i]), keys[i]
    if isinstance(node, str):
        node = {"use": node}
    if isinstance(node, Mapping) and "use" in node:
        return {**node, "with": _set_key(node.get("with", {}), keys, i, value)}
    if isinstance(node, list | tuple):
        if key not in map(str, range(len(node))):
            raise SpecError(f"expected the number of one of {len(node)} items, from 0, got {key!r}", path=here)
        return [_set(item, keys, i + 1, value) if str(j) == key else item for j, item in enumerate(node)]
    return _set_key(node, keys, i, value)


def _set_key(node: Any, keys: list[str], i: int, value: Any) -> dict[str, Any]:  # noqa: ANN401
    here, key = ".".join(keys[:i]), keys[i]
    if not isinstance(node, Mapping):
        raise SpecError(f"{type(node).__name__} {node!r} has no settings such as {key!r}", path=here)
    if key not in node and i + 1 < len(keys):
        path = ".".join(keys[: i + 1])
        raise SpecError(
            f"the spec leaves {key!r} to its default: name a part first, as in {path}=plugin/name", path=here
        )
    return {**node, key: _set(node.get(key), keys, i + 1, value)}
