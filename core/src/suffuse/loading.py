"""Load the installed plugins' manifests, each on its own: whatever one does, the others and the host work."""

import os
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

import attrs
import pluggy
from pluggy import HookImpl

from suffuse import hooks
from suffuse.discovery import Switch, discover
from suffuse.hooks import KINDS
from suffuse.records import Component, Failure, Origin, Plugin


@attrs.frozen(kw_only=True)
class Loaded:
    """A plugin whose manifest was loaded: its origin, its record, and its components with their kinds set."""

    origin: Origin
    plugin: Plugin
    components: tuple[Component, ...]


@attrs.frozen(kw_only=True)
class Outcome:
    """What was loaded: plugins in order of key, faults, and (origin, variable) of those switched off."""

    plugins: tuple[Loaded, ...]
    failures: tuple[Failure, ...]
    blocked: tuple[tuple[Origin, str], ...]


def load(
    path: Sequence[str] | None = None,
    *,
    block: Collection[str] | None = None,
    allow: Collection[str] | None = None,
    strict: bool | None = None,
) -> Outcome:
    """Load every plugin that `path` has and that is not switched off. Imports manifests, and no target.

    Args:
        path: folders to scan; None is ``sys.path``.
        block: keys or distribution names never to import; None is the list in SUFFUSE_BLOCK.
        allow: the only ones to import (with the core); None is the list in SUFFUSE_PLUGINS, or all.
        strict: raise the first fault instead of recording it; None asks SUFFUSE_STRICT.

    Raises:
        IncompatibleApi, BrokenPlugin: only if `strict`.
    """
    if strict is None:
        strict = os.environ.get("SUFFUSE_STRICT", "") not in ("", "0")
    faults = _Faults(strict)
    discovery = discover(path, Switch.make(block, allow))
    for failure in discovery.failures:
        faults.add(failure)
    manager = _Manager()
    manifests: dict[str, tuple[Origin, Plugin]] = {}
    for found in discovery.found:
        plugin = _register(manager, found.origin, found.module, faults)
        if plugin is not None:
            manifests[found.origin.key] = found.origin, plugin
    components = _collect(manager, {key: origin for key, (origin, _) in manifests.items()}, faults)
    plugins = [
        Loaded(origin=origin, plugin=plugin, components=tuple(components[key].values()))
        for key, (origin, plugin) in manifests.items()
    ]
    return Outcome(plugins=tuple(plugins), failures=tuple(faults.kept), blocked=discovery.blocked)


class _Faults:
    """Keeps the faults, or raises the first."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.kept: list[Failure] = []

    def add(self, failure: Failure, cause: BaseException | None = None) -> None:
        if self.strict:
            raise failure.exception() from cause
        self.kept.append(failure)

    def raised(self, origin: Origin, stage: str, error: BaseException, prefix: str = "") -> None:
        """Add an exception that the plugin's own code raised."""
        self.add(failure_of(origin, stage, error, prefix), error)

    def found(self, origin: Origin, stage: str, error: str, place: str) -> None:
        """Add a fault that we see in what the plugin says."""
        cure = f"its author must correct it; until then set SUFFUSE_BLOCK={origin.key}"
        self.add(Failure(origin=origin, stage=stage, error=error, traceback=place, cure=cure))


def failure_of(origin: Origin, stage: str, error: BaseException, prefix: str = "") -> Failure:
    """The record of an exception that a plugin's code raised."""
    if isinstance(error, ModuleNotFoundError):
        cure = f"reinstall {origin.dist} with its dependencies, or set SUFFUSE_BLOCK={origin.key}"
    else:
        cure = f"upgrade {origin.dist} or tell its author, or set SUFFUSE_BLOCK={origin.key}"
    return Failure(
        origin=origin,
        stage=stage,
        error=f"{prefix}{type(error).__name__}: {error}".rstrip(": "),
        traceback="".join(traceback.format_exception(error)),
        cure=cure,
    )


class _Manager(pluggy.PluginManager):
    """Leaves a faulty hook out, where pluggy would refuse the whole plugin or not see the fault."""

    def __init__(self) -> None:
        super().__init__("suffuse")
        self.add_hookspecs(hooks)
        self.refused: list[tuple[str, str]] = []

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:  # noqa: ANN401  pluggy's own types are private
        value = vars(plugin).get(name)
        if name not in KINDS and not isinstance(value, FunctionType):
            return None
        options = super().parse_hookimpl_opts(plugin, name)
        fault = _misuse(name, value, options)
        if fault:
            place = _place(value) if isinstance(value, FunctionType) else _file(plugin)
            self.refused.append((fault, place))
            return None
        return options


def _misuse(name: str, value: object, options: Mapping[str, Any] | None) -> str:
    """What is wrong with an attribute of a manifest as a hook, or nothing."""
    if options is None:
        return f"{name} is not a function marked @hookimpl" if name in KINDS else ""
    hook = options.get("specname") or name
    if hook not in KINDS:
        close = get_close_matches(hook, KINDS, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        return "" if options.get("optionalhook") else f"unknown hook {hook}{hint}"
    if options.get("wrapper") or options.get("hookwrapper"):
        return f"{hook} is a hook wrapper; a plugin speaks for itself alone"
    if isinstance(value, FunctionType) and value.__code__.co_argcount + value.__code__.co_kwonlyargcount:
        return f"{hook} takes arguments; hooks have none"
    return ""


def _register(manager: _Manager, origin: Origin, name: str, faults: _Faults) -> Plugin | None:
    """Import a manifest and register its hooks; None if it is not to be used."""
    try:
        module = import_module(name)
    except (Exception, SystemExit) as error:
        faults.raised(origin, "import", error)
        return None
    place = _file(module)
    # Read statically, so that a lazy module attribute does not run.
    plugin = vars(module).get("plugin") if isinstance(module, ModuleType) else None
    if not isinstance(plugin, Plugin):
        fault = f"{name} must be a module with `plugin = Plugin(...)`, got {plugin!r}"
        faults.found(origin, "manifest", fault, place)
        return None
    if owner := manager.get_name(module):
        faults.found(origin, "manifest", f"{name} is already the manifest of the plugin {owner!r}", place)
        return None
    manager.refused.clear()
    try:
        manager.register(module, origin.key)
    except (Exception, SystemExit) as error:  # Such as from a __dir__ of the module's own.
        faults.raised(origin, "manifest", error)
        return None
    for fault, where in manager.refused:
        faults.found(origin, "hook", fault, where)
    return plugin


def _collect(
    manager: _Manager, origins: Mapping[str, Origin], faults: _Faults
) -> dict[str, dict[tuple[str, str], Component]]:
    """Every plugin's components by (kind, name)."""
    collected: dict[str, dict[tuple[str, str], Component]] = {key: {} for key in origins}
    for hook, kind in KINDS.items():
        impls: list[HookImpl] = getattr(manager.hook, hook).get_hookimpls()
        for impl in sorted(impls, key=lambda impl: impl.plugin_name):
            origin, taken = origins[impl.plugin_name], collected[impl.plugin_name]
            for item in _call(hook, impl, origin, faults):
                component, fault = _accept(item, kind)
                if component and (component.kind, component.name) in taken:
                    fault = f"two components of kind {component.kind!r} are named {component.name!r}"
                if fault or not component:
                    faults.found(origin, "hook", f"{hook}: {fault}", _place(impl.function))
                else:
                    taken[component.kind, component.name] = component
    return collected


def _call(hook: str, impl: HookImpl, origin: Origin, faults: _Faults) -> list[object]:
    """What one hook of one plugin returns, all or nothing."""
    try:
        returned: object = impl.function()
        if isinstance(returned, Iterable) and not isinstance(returned, str | bytes | Mapping):
            return list(returned)
    except (Exception, SystemExit) as error:
        faults.raised(origin, "hook", error, f"{hook}: ")
        return []
    error_text = f"{hook}: expected an iterable of Component, got {type(returned).__name__}"
    faults.found(origin, "hook", error_text, _place(impl.function))
    return []


def _accept(item: object, kind: str) -> tuple[Component | None, str]:
    """The component with its kind, or what is wrong with it."""
    if not isinstance(item, Component):
        return None, f"expected an iterable of Component, got one with {type(item).__name__}"
    if kind and item.kind not in ("", kind):
        return None, f"{item.name!r} says it is a {item.kind!r}, but this hook returns kind {kind!r}"
    if not kind and (not item.kind or item.kind in KINDS.values()):
        return None, f"{item.name!r} must name a kind that has no hook of its own, got {item.kind!r}"
    return (attrs.evolve(item, kind=kind) if kind else item), ""


def _file(module: object) -> str:
    return f'File "{getattr(module, "__file__", module)}"'


def _place(function: Any) -> str:  # noqa: ANN401  any callable
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{function!r}"
    return f'File "{code.co_filename}", line {code.co_firstlineno}, in {code.co_name}'
