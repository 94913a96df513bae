"""From what a user names to a system: published weights, a saved pipeline's folder, or a spec file.

Finding and checking import no torch, so that a mistake is answered at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from suffuse.errors import MissingPlugin, SuffuseError, UnknownComponent, WeightsError
from suffuse.registry import Registry
from suffuse.spec import check_spec, compose, load_json, load_toml, override
from suffuse.spec.grammar import choose

if TYPE_CHECKING:
    from suffuse.pipeline import Pipeline
    from suffuse.system import System

__all__ = ["Shelf", "Source", "edit", "locate"]

# The fields of a system that can be taken away with ``name=none``.
_OPTIONAL = ("guidance", "sampler")


@attrs.frozen(kw_only=True)
class Source:
    """Where a system comes from. A data set can stand in its place: its rows are what samples are compared with."""

    name: str
    kind: Literal["folder", "file", "dataset"]
    path: Path = Path()

    def spec(self) -> dict[str, Any]:
        """The spec as it is written there."""
        if self.kind == "folder":
            found = load_json(self.path / "suffuse.json").get("pipeline")
            if not isinstance(found, Mapping):
                raise WeightsError(f"{self.path / 'suffuse.json'}: pipeline is malformed")
            return dict(found)
        return load_toml(self.path) if self.path.suffix == ".toml" else load_json(self.path)


def locate(name: str, registry: Registry, *, datasets: bool = False) -> Source:
    """Find published weights (``digits/ddpm``), a saved pipeline's folder, or a TOML or JSON spec file, by name.

    Raises as ``Registry.get`` does, and ``WeightsError`` for a path with nothing of use.
    """
    path = Path(name).expanduser()
    if not (name.startswith((".", "/", "~")) or name.count("/") > 1 or path.suffix in (".toml", ".json")):
        try:
            entry = choose(registry, name, ("weights", "dataset") if datasets else ("weights",))
        except (UnknownComponent, MissingPlugin):
            if not path.exists():
                registry.get(name, "weights")  # raises, and suggests weights rather than anything
                raise
        else:
            if entry.kind == "dataset":
                return Source(name=entry.ref, kind="dataset")
            folder = registry.resolve(entry.ref, "weights")
            if not isinstance(folder, Path):
                raise WeightsError(f"{entry.ref}: expected the path of a saved pipeline, got {folder!r}")
            return Source(name=entry.ref, kind="folder", path=folder)
    if not path.exists():
        raise WeightsError(f"{name}: no such folder or file")
    if path.is_dir():
        if not (path / "suffuse.json").is_file():
            raise WeightsError(f"{name} is no saved pipeline: it has no suffuse.json")
        return Source(name=name, kind="folder", path=path)
    if path.suffix not in (".toml", ".json"):
        raise WeightsError(f"{name}: expected a saved pipeline's folder, or a spec in a .toml or .json file")
    return Source(name=name, kind="file", path=path)


def edit(spec: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """A system's spec with each ``path=value`` applied; ``guidance=none`` takes the guidance away."""
    changed = dict(spec)
    for assignment in assignments:
        path, _, value = (word.strip() for word in assignment.partition("="))
        changed = {**changed, path: None} if path in _OPTIONAL and value == "none" else override(changed, assignment)
    return changed


class Shelf:
    """The pipelines opened so far, so that several commands of one process share their weights."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._opened: dict[tuple[Path, str], Pipeline] = {}

    def check(self, source: Source, assignments: Sequence[str] = ()) -> None:
        """Raise for whatever is wrong with the composition, as far as that shows without importing torch."""
        check_spec(edit(source.spec(), assignments), self.registry)

    def system(self, source: Source, assignments: Sequence[str] = (), *, device: str = "cpu") -> System:
        """The system, with settings changed and parts replaced.

        Weights are loaded once; they are frozen and in evaluation mode. Raises ``WeightsError`` for a change to a
        part that has weights, since they fit its own settings only.
        """
        from suffuse.cli.swapping import swap
        from suffuse.pipeline import Pipeline

        self.check(source, assignments)
        if source.kind == "file":
            system = compose(edit(source.spec(), assignments), registry=self.registry)
            for module in system.modules().values():
                module.to(device).requires_grad_(False).eval()
            return system
        key = source.path.resolve(), device
        if key not in self._opened:
            try:
                self._opened[key] = Pipeline.load(source.path, device=device, registry=self.registry)
            except OSError as error:
                raise WeightsError(f"cannot read {source.path}: {error.strerror or error}") from error
        try:
            return swap(self._opened[key].system, assignments, registry=self.registry)
        except SuffuseError as error:
            error.path = error.path.removeprefix("pipeline.")
            raise
