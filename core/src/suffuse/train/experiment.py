"""Experiment files: TOML with what is trained, on what, and how."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from suffuse.errors import MissingPlugin, SpecError
from suffuse.registry import Registry
from suffuse.registry import registry as installed
from suffuse.spec import check_spec, load_toml, structure
from suffuse.spec.grammar import located

if TYPE_CHECKING:
    from suffuse.train.settings import Experiment

__all__ = ["load_experiment", "make_experiment"]


def load_experiment(path: str | os.PathLike[str], *, registry: Registry | None = None) -> Experiment:
    """The experiment of a TOML file: tables ``system``, ``objective``, ``data`` and ``train``, and if wished ``seed``
    and a ``card`` of plain values for whoever gets the weights.

    Raises as ``make_experiment``, and ``SpecError`` with the line for what is no TOML.
    """
    return make_experiment(load_toml(path), registry=registry)


def make_experiment(spec: Mapping[str, Any], *, registry: Registry | None = None) -> Experiment:
    """The experiment of a spec; its weights are initialised from its own seed.

    Plugins that are missing anywhere in it are named together, before torch is imported. Raises ``MissingPlugin``,
    ``SpecError`` with the path of what is wrong, and ``IncompatibleComponents`` for parts that do not fit.
    """
    registry = registry or installed()
    missing = []
    for key in ("system", "objective", "data"):
        if key in spec:
            try:
                with located(key):
                    value = spec[key]
                    check_spec({"use": value} if isinstance(value, str) else value, registry)
            except MissingPlugin as error:
                missing.append(error)
    if missing:
        raise missing[0] if len(missing) == 1 else MissingPlugin("; ".join(map(str, missing)))
    seed = spec.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**64:
        raise SpecError(f"expected an integer from 0 to 2**64 - 1, got {seed!r}", path="seed")
    from suffuse.train.settings import Experiment

    return cast("Experiment", structure(spec, Experiment, registry=registry, seed=seed))
