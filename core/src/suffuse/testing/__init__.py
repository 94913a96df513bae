"""Ground truth and the conformance kit. Nothing here is imported by `import suffuse`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suffuse.testing.conformance import Result, check, contract_suite
    from suffuse.testing.exact import ExactDenoiser, mixture_system
    from suffuse.testing.mixture import GaussianMixture

__all__ = ["ExactDenoiser", "GaussianMixture", "Result", "check", "contract_suite", "mixture_system"]

_HOMES = {
    "ExactDenoiser": "exact",
    "GaussianMixture": "mixture",
    "Result": "conformance",
    "check": "conformance",
    "contract_suite": "conformance",
    "mixture_system": "exact",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
