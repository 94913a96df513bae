"""suffuse: a plugin-based framework for diffusion and related generative methods.

Importing this package imports no torch: every name below is fetched from its module on first use (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suffuse.hooks import hookimpl as hookimpl
    from suffuse.records import Component as Component
    from suffuse.records import Paper as Paper
    from suffuse.records import Plugin as Plugin

# Public name -> module. No name may be a module's of this package: importing the module would hide it.
_EXPORTS = {
    "Component": "records",
    "Paper": "records",
    "Plugin": "records",
    "hookimpl": "hooks",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  the type depends on the name
    if name == "__version__":
        from importlib.metadata import version

        return version("suffuse")
    if name not in _EXPORTS:
        raise AttributeError(f"module 'suffuse' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"suffuse.{_EXPORTS[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS, "__version__"])
