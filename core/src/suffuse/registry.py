"""The registry: what the installed plugins offer, found by reference and imported on use."""

import functools
import sys
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import attrs

from suffuse import loading
from suffuse.catalogue import known
from suffuse.errors import AmbiguousName, MissingPlugin, SuffuseError, UnknownComponent
from suffuse.hooks import KINDS
from suffuse.records import Component, Failure, Origin, Paper

# Every other kind is an attrs class, whose fields are its settings.
FREE_KINDS = frozenset({"weights", "claim"})


@attrs.frozen(kw_only=True)
class Entry:
    """One part of one plugin; `ref` is ``plugin/name``."""

    ref: str
    component: Component
    origin: Origin
    paper: Paper | None

    @property
    def kind(self) -> str:
        """The component's kind."""
        return self.component.kind


class Registry:
    """The parts of all loaded plugins. Nothing that a target names is imported before `resolve`."""

    def __init__(self, outcome: loading.Outcome) -> None:
        self._plugins = {loaded.origin.key: loaded for loaded in outcome.plugins}
        self._failures = {(f.origin, f.stage, f.error): f for f in outcome.failures}
        self.blocked = outcome.blocked
        self._entries = [
            Entry(
                ref=f"{key}/{component.name}",
                component=component,
                origin=loaded.origin,
                paper=loaded.plugin.paper,
            )
            for key, loaded in self._plugins.items()
            for component in loaded.components
        ]
        # By reference and by short name: the two cannot collide, only a reference has a slash.
        self._by_name: dict[str, list[Entry]] = {}
        for entry in self._entries:
            self._by_name.setdefault(entry.ref, []).append(entry)
            self._by_name.setdefault(entry.component.name, []).append(entry)
        self._resolved: dict[tuple[str, str], Any] = {}

    @classmethod
    def load(
        cls,
        path: Sequence[str] | None = None,
        *,
        block: Collection[str] | None = None,
        allow: Collection[str] | None = None,
        strict: bool | None = None,
    ) -> "Registry":
        """A registry of the plugins installed on `path`; see `suffuse.loading.load`."""
        return cls(loading.load(path, block=block, allow=allow, strict=strict))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The faults so far: of loading, and of each target that did not resolve, each once."""
        return tuple(self._failures.values())

    def plugins(self) -> list[loading.Loaded]:
        """The loaded plugins, in order of key."""
        return list(self._plugins.values())

    def kinds(self) -> list[str]:
        """Every kind: those of the hooks, then the others that parts name."""
        fixed = [kind for kind in KINDS.values() if kind]
        return fixed + sorted({entry.kind for entry in self._entries} - set(fixed))

    def find(
        self, kind: str | None = None, *, gives: str | Iterable[str] | None = None, plugin: str | None = None
    ) -> list[Entry]:
        """The parts of a kind, with every capability in `gives`, of one plugin; in order of plugin."""
        wanted = {gives} if isinstance(gives, str) else set(gives or ())
        return [
            entry
            for entry in self._entries
            if kind in (None, entry.kind) and plugin in (None, entry.origin.key) and wanted <= entry.component.gives
        ]

    def get(self, ref: str, kind: str | None = None) -> Entry:
        """The part with this reference (``plugin/name``), or with this short name where it is unique.

        Raises:
            UnknownComponent: no such part.
            AmbiguousName: several plugins have this short name, or several kinds this reference.
            MissingPlugin: the plugin is not installed, or is switched off.
            BrokenPlugin, IncompatibleApi: the plugin is installed and failed to load.
        """
        if not isinstance(ref, str) or not ref:
            raise UnknownComponent(f"expected a reference like 'edm/heun', got {ref!r}")
        same_name = self._by_name.get(ref, [])
        entries = [entry for entry in same_name if kind in (None, entry.kind)]
        if len(entries) == 1:
            return entries[0]
        if entries:
            raise self._ambiguous(ref, entries)
        if "/" in ref and (error := self._unusable(ref)):
            raise error
        wanted = f"{kind} {ref!r}" if kind else repr(ref)
        text = f"unknown {wanted}"
        if same_name:
            text += f": {', '.join(f'{e.ref} is of kind {e.kind}' for e in same_name)}"
        elif close := self._close(ref, kind):
            text += f"; did you mean {' or '.join(close)}?"
        if self._failures:
            text += f" ({len(self._failures)} faults in installed plugins: see `suffuse doctor`)"
        raise UnknownComponent(text)

    def origin(self, ref: str, kind: str | None = None) -> Origin:
        """Where a part comes from; raises as `get` does. Parts of one reference and several kinds have one origin."""
        homes = {entry.origin for entry in self._by_name.get(ref, []) if kind in (None, entry.kind)}
        return homes.pop() if len(homes) == 1 else self.get(ref, kind).origin

    def resolve(self, ref: str, kind: str | None = None) -> Any:  # noqa: ANN401  whatever the target is
        """Import a part and return it: an attrs class, save for kinds in `FREE_KINDS`.

        Raises as `get` does, and BrokenPlugin if the target cannot be imported or is no attrs class.
        """
        entry = self.get(ref, kind)
        key = entry.kind, entry.ref
        if key not in self._resolved:
            self._resolved[key] = self._import(entry)
        return self._resolved[key]

    def ref_of(self, target: Any, kind: str | None = None) -> str:  # noqa: ANN401  whatever a target may be
        """The reference under which a class is registered. Imports nothing.

        Raises:
            UnknownComponent: no plugin registers it.
        """
        for entry in self.find(kind):
            if self._is(entry, target):
                return entry.ref
        name = f"{getattr(target, '__module__', '?')}:{getattr(target, '__qualname__', repr(target))}"
        raise UnknownComponent(f"{name} is registered by no plugin, so that no spec can name it")

    def _is(self, entry: Entry, target: object) -> bool:
        if (entry.kind, entry.ref) in self._resolved:
            return self._resolved[entry.kind, entry.ref] is target
        module, _, attribute = entry.component.target.partition(":")
        names = (getattr(target, "__module__", None), getattr(target, "__qualname__", None))
        if names == (module, attribute):
            return True
        # A target may re-export what another module defines; it shows where the module is imported already.
        names_there = getattr(sys.modules.get(module), "__dict__", {})
        return attribute in names_there and names_there[attribute] is target

    def _import(self, entry: Entry) -> Any:  # noqa: ANN401  whatever the target is
        module, _, attribute = entry.component.target.partition(":")
        prefix = f"{entry.ref} ({entry.component.target}): "
        try:
            target: Any = functools.reduce(getattr, attribute.split("."), import_module(module))
        except (Exception, SystemExit) as error:
            raise self._broken(loading.failure_of(entry.origin, "resolve", error, prefix)) from error
        # Only a class decorated itself has its own fields as settings; a subclass of one silently loses them.
        settings = isinstance(target, type) and "__attrs_attrs__" in vars(target)
        if entry.kind not in FREE_KINDS and not settings:
            fault = f"{prefix}expected an attrs class, whose fields are the settings, got {target!r}"
            raise self._broken(
                Failure(
                    origin=entry.origin,
                    stage="resolve",
                    error=fault,
                    traceback=f'File "{getattr(sys.modules[module], "__file__", module)}", {attribute}',
                    cure="its author must decorate it with @attrs.frozen; "
                    f"until then set SUFFUSE_BLOCK={entry.origin.key}",
                )
            )
        return target

    def _broken(self, failure: Failure) -> SuffuseError:
        self._failures.setdefault((failure.origin, failure.stage, failure.error), failure)
        return failure.exception()

    def _ambiguous(self, ref: str, entries: list[Entry]) -> AmbiguousName:
        refs = sorted({entry.ref for entry in entries})
        if len(refs) > 1:
            return AmbiguousName(f"{ref!r} is ambiguous: write one of {', '.join(refs)}")
        kinds = ", ".join(sorted(entry.kind for entry in entries))
        return AmbiguousName(f"{ref!r} is ambiguous: it is of several kinds ({kinds}), say which")

    def _unusable(self, ref: str) -> SuffuseError | None:
        """Why nothing of the reference's plugin can be had; None if the plugin is loaded and whole."""
        key = ref.partition("/")[0]
        for failure in self._failures.values():
            # A fault in a hook may be why a part is not there; one in another target is not.
            if failure.origin.key != key or not failure.origin.path:
                continue
            if failure.stage == "hook" or key not in self._plugins:
                error = failure.exception()
                error.args = (f"{ref!r} cannot be had: {error.message}",)
                return error
        if key in self._plugins:
            return None
        for origin, variable in self.blocked:
            if origin.key == key:
                return MissingPlugin(f"{ref!r} cannot be had: {variable} switches the plugin {key!r} off")
        if key in known():
            return MissingPlugin(f"{ref!r} needs a plugin: pip install suffuse-{key}")
        close = get_close_matches(key, self._plugins, 3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        return MissingPlugin(f"the plugin {key!r} of {ref!r} is neither installed nor known to suffuse{hint}")

    def _close(self, ref: str, kind: str | None) -> list[str]:
        """References like `ref`: by the whole where it has a slash, otherwise by the name."""
        names = {entry.ref if "/" in ref else entry.component.name: entry.ref for entry in self.find(kind)}
        return [names[name] for name in get_close_matches(ref.lower(), names, 3)]


@functools.cache
def registry() -> Registry:
    """The registry of this process, loaded on first use."""
    return Registry.load()
