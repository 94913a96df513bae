"""From a spec to a system, refused before torch is imported where the parts do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from suffuse.capabilities import Given, check
from suffuse.errors import MissingPlugin, SpecError, SuffuseError
from suffuse.registry import Entry, Registry
from suffuse.registry import registry as installed
from suffuse.spec.files import check_depth
from suffuse.spec.grammar import candidates, check_keys, choose, got, located, split
from suffuse.spec.reading import structure

if TYPE_CHECKING:
    from suffuse.system import System

__all__ = ["check_spec", "compose"]

# The fields of `suffuse.system.System`, whose import would bring torch, with the kinds that stand there.
POSITIONS: Mapping[str, tuple[str, ...]] = {
    "model": ("denoiser", "generator"),
    "space": ("space",),
    "process": ("process",),
    "sampler": ("sampler",),
    "guidance": ("guidance",),
    "codec": ("codec",),
}
REQUIRED = ("model", "space")


def compose(spec: Mapping[str, Any], *, registry: Registry | None = None, seed: int = 0) -> System:
    """The system of a spec; its layers are initialised from ``seed``. Raises as ``check_spec`` and ``structure`` do."""
    registry = registry or installed()
    check_spec(spec, registry)
    from suffuse.system import System

    return cast("System", structure(spec, System, registry=registry, seed=seed))


def check_spec(spec: Mapping[str, Any], registry: Registry | None = None) -> dict[str, Entry]:
    """Check all that the plugins' manifests can tell of a system's spec, or of one part's; import no torch.

    Every reference must be known, all plugins that are missing are named together, the parts of a system must be of
    the kinds that stand there, and their needs be met. Types of settings are not known here, so that a bare string
    further in is taken for a part only if it names one, and then only for what it gives.

    Returns the parts by path, as far as they are written as ``{use = ...}`` or stand at the top.

    Raises ``MissingPlugin``, ``UnknownComponent``, ``AmbiguousName``, ``SpecError`` or ``IncompatibleComponents``.
    """
    registry = registry or installed()
    if not isinstance(spec, Mapping):
        raise SpecError(f"expected a spec's table, got {got(spec)}")
    check_depth(spec)
    system = "use" not in spec
    if system:
        check_keys(spec, POSITIONS, REQUIRED, "part")
        tops = [(path, spec[path], kinds) for path, kinds in POSITIONS.items() if path in spec]
        tops = [top for top in tops if top[1] is not None or top[0] in REQUIRED]
    else:
        tops = [("", spec, ())]
    found: dict[str, Entry] = {}
    given: list[Given] = []
    errors: list[SuffuseError] = []
    processes: list[str] = []
    for path, ref, kinds, sure in (mention for top in tops for mention in _mentions(*top)):
        entries = candidates(registry, ref, kinds)
        if sure:
            try:
                with located(path):
                    entries = entries or [choose(registry, ref, kinds)]
                found[path] = entries[0]
            except SuffuseError as error:
                errors.append(error)
        if entries:
            # Of several kinds with one name, the setting's type will choose: refuse only what none of them allows.
            needs = frozenset.intersection(*(e.component.needs for e in entries)) if sure else frozenset[str]()
            gives = frozenset[str]().union(*(e.component.gives for e in entries))
            given.append(Given(path, entries[0].ref, needs, gives))
            processes += [path for e in entries if e.kind == "process"]
    if missing := [e for e in errors if isinstance(e, MissingPlugin)]:
        raise missing[0] if len(missing) == 1 else MissingPlugin("; ".join(map(str, missing)))
    if errors:
        raise errors[0]
    if system:
        if found["model"].kind == "denoiser" and not any(p.startswith(("process", "model.")) for p in processes):
            # The model's own process stands in for the system's, and its default is not for us to know.
            gives = frozenset[str]().union(*(e.component.gives for e in registry.find("process")))
            given.append(Given("process", "the model's own", frozenset(), gives))
        check(given, lambda word: (e.ref for e in registry.find(gives=word)))
    return found


def _mentions(path: str, value: object, kinds: tuple[str, ...]) -> Iterator[tuple[str, str, tuple[str, ...], bool]]:
    """Each part that a spec names: path, reference, kinds that fit there, and whether it is surely a part."""
    inner: Mapping[Any, object] = {}
    if kinds or (isinstance(value, Mapping) and "use" in value):
        with located(path):
            ref, inner = split(value)
        yield path, ref, kinds, True
    elif isinstance(value, str):
        yield path, value, (), False
    elif isinstance(value, Mapping):
        inner = value
    elif isinstance(value, list | tuple):
        inner = dict(enumerate(value))
    for key, item in inner.items():
        yield from _mentions(f"{path}.{key}".lstrip("."), item, ())
