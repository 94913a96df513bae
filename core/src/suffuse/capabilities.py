"""What parts need of each other, checked by name: before torch is imported, and again on the composed objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from suffuse.errors import IncompatibleComponents

__all__ = ["Given", "check"]


@attrs.frozen
class Given:
    """One part of a composition: where it stands, what it is, what it needs (``"a|b"``: either) and gives."""

    path: str
    name: str
    needs: frozenset[str]
    gives: frozenset[str]


def check(parts: Iterable[Given], who_gives: Callable[[str], Iterable[str]] = lambda _: ()) -> None:
    """Raise ``IncompatibleComponents`` for the first need that nothing in the composition meets.

    ``who_gives`` names known parts that give a capability, for the message.
    """
    parts = list(parts)
    given = frozenset[str]().union(*(p.gives for p in parts if not _within_a_process(p, parts)))
    for part in parts:
        for need in sorted(part.needs):
            if given.isdisjoint(need.split("|")):
                words = " or ".join(need.split("|"))
                others = sorted({ref for one in need.split("|") for ref in who_gives(one)})
                cure = f"; parts that give it: {', '.join(others[:5])}" if others else ""
                raise IncompatibleComponents(
                    f"{part.path}: {part.name} needs '{words}', which nothing here gives "
                    f"(given: {', '.join(sorted(given)) or 'nothing'}){cure}"
                )


def _within_a_process(part: Given, parts: list[Given]) -> bool:
    """What a process is made of speaks through it alone, and that of a model's training not beside the system's own."""
    steps = part.path.split(".")
    return (steps[0] == "process" and len(steps) > 1) or (
        "trained" in steps and any(p.path == "process" for p in parts)
    )
