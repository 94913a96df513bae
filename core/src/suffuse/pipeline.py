"""A pipeline: a system with its weights and its card, on disk as ``suffuse.json`` and safetensors."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from torch import Tensor, nn

from suffuse.errors import IncompatibleApi, MissingPlugin, SuffuseError, WeightsError
from suffuse.registry import Registry, registry
from suffuse.spec import check_spec, structure, unstructure
from suffuse.system import System

__all__ = ["FORMAT", "Pipeline"]

FORMAT = 1
CONFIG = "suffuse.json"
_CONFIG_LIMIT = 4 << 20  # bytes: a config is small, and this one may come from anywhere
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.safetensors")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+!-]*")
_KEYS = {"format", "suffuse", "requires", "pipeline", "weights", "card"}


@attrs.frozen(eq=False, kw_only=True)
class Pipeline:
    """A system with what is known about it. ``card`` holds plain JSON values: training data, recipe, figures."""

    system: System
    card: Mapping[str, Any] = attrs.field(factory=dict)

    def save(self, folder: str | Path, *, registry: Registry | None = None) -> Path:
        """Write ``suffuse.json`` and one safetensors file for each module; the folder appears whole or not at all.

        An existing pipeline in the folder is replaced; a folder with anything else raises ``WeightsError``, and so
        does a card with what JSON has not.
        """
        folder = Path(folder).absolute()
        if folder.exists() and not (folder.is_dir() and ((folder / CONFIG).exists() or not any(folder.iterdir()))):
            raise WeightsError(f"{folder} holds something that is no pipeline: choose another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        old = fresh.with_name(fresh.name + "-old")
        try:
            self._write(fresh, _the(registry))
            fresh.chmod(0o755)
            if folder.exists():
                os.replace(folder, old)
            os.replace(fresh, folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            if old.exists():
                os.replace(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return folder

    def _write(self, folder: Path, known: Registry) -> None:
        from safetensors.torch import save_file

        spec = unstructure(self.system, registry=known)
        weights = {}
        for path, module in self.system.modules().items():
            if not (tensors := _tensors(module)):
                continue
            name = f"{path}.safetensors"
            own = {k: tensors[k].detach().cpu().contiguous().clone() for k in set(_first(tensors).values())}
            save_file(own, str(folder / name))
            weights[path] = {"file": name, "sha256": _sha256(folder / name)}
        config = {
            "format": FORMAT,
            "suffuse": f">={_version(known)},<1",
            "requires": [
                {"plugin": o.key, "dist": o.dist, "version": o.version, "api": 1}
                for o in sorted({known.origin(ref) for ref in _uses(spec)}, key=lambda o: o.key)
            ],
            "pipeline": spec,
            "weights": weights,
            "card": dict(self.card),
        }
        try:
            text = json.dumps(config, indent=2, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise WeightsError(f"the card must hold plain, finite JSON values: {error}") from error
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(
        cls, folder: str | Path, *, device: torch.device | str = "cpu", registry: Registry | None = None
    ) -> Pipeline:
        """Read a saved pipeline. Weights are frozen and in evaluation mode; nothing of the folder is executed.

        Missing plugins are reported together before any weight is read. Raises ``WeightsError`` for a missing,
        truncated or altered file, ``IncompatibleApi`` for a pipeline of another suffuse, and what ``structure`` raises
        for a spec that does not fit the installed parts.
        """
        folder = Path(folder)
        config = _read(folder)
        known = _the(registry)
        if not SpecifierSet(config["suffuse"]).contains(_version(known), prereleases=True):
            raise IncompatibleApi(f"{folder} needs suffuse {config['suffuse']}, this is {_version(known)}")
        absent = [r for r in config["requires"] if not _installed(r, known)]
        if absent:
            lines = ", ".join(f"{r['dist']} ({r['version']})" for r in absent)
            raise MissingPlugin(f"{folder} needs plugins that are not installed: {lines}")
        check_spec(config["pipeline"], registry=known)
        with torch.device("meta"):  # shapes only: the weights come from the files, and only once
            system = structure(config["pipeline"], System, path="pipeline", registry=known)
        modules = system.modules()
        wanted = {path for path, module in modules.items() if _tensors(module)}
        if wanted != set(config["weights"]):
            raise WeightsError(
                f"{folder / CONFIG}: weights for {sorted(config['weights'])}, but the spec has {sorted(wanted)}"
            )
        for path in sorted(wanted):
            _load_module(modules[path], folder, config["weights"][path], torch.device(device))
        for module in modules.values():
            module.requires_grad_(False).eval()
        return cls(system=system, card=config["card"])


def _load_module(module: nn.Module, folder: Path, entry: Mapping[str, str], device: torch.device) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / entry["file"]
    if not file.is_file():
        raise WeightsError(f"{file} is missing")
    if (found := _sha256(file)) != entry["sha256"]:
        raise WeightsError(
            f"{file} is truncated or altered: expected sha256 {entry['sha256'][:12]}..., got {found[:12]}..."
        )
    try:
        tensors = load_file(str(file), device=str(device))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} is no safetensors file: {error}") from error
    expected = _first(_tensors(module))
    if set(tensors) != set(expected.values()):
        odd = sorted(set(tensors) ^ set(expected.values()))
        raise WeightsError(f"{file} does not fit {type(module).__name__}: {', '.join(odd[:3])} on one side only")
    parameters = {id(v) for v in module.parameters()}
    for name, like in _tensors(module).items():  # one object for all names of tied weights, so that they stay tied
        if id(like) in parameters and expected[name] == name:
            tensors[name] = nn.Parameter(tensors[name], requires_grad=False)
    try:
        module.load_state_dict({k: tensors[first] for k, first in expected.items()}, strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{file} does not fit {type(module).__name__}: {reason}") from error
    everything = [v for m in module.modules() for v in (*m.buffers(recurse=False), *vars(m).values())]
    if any(isinstance(v, Tensor) and v.is_meta for v in everything):
        raise WeightsError(
            f"{type(module).__name__} keeps tensors that are no persistent buffers, so they are not saved"
        )


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, themselves, by name."""
    return dict(module.state_dict(keep_vars=True))


def _first(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The name under which each is stored: tied weights are stored once, under the first."""
    names: dict[int, str] = {}
    return {name: names.setdefault(id(v), name) for name, v in tensors.items()}


def _read(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    if not file.is_file():
        raise WeightsError(f"{folder} is no saved pipeline: it has no {CONFIG}")
    if (size := file.stat().st_size) > _CONFIG_LIMIT:
        raise WeightsError(f"{file} has {size} bytes; a config has at most {_CONFIG_LIMIT}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file} is no valid JSON: {error}") from error
    if not isinstance(config, dict) or set(config) != _KEYS:
        got = sorted(config) if isinstance(config, dict) else type(config).__name__
        raise WeightsError(f"{file}: expected the keys {sorted(_KEYS)}, got {got}")
    if config["format"] != FORMAT:
        raise WeightsError(f"{file}: format {config['format']!r}; this version of suffuse reads format {FORMAT}")
    _check(isinstance(config["pipeline"], dict) and isinstance(config["card"], dict), file, "pipeline and card")
    _check(_is_range(config["suffuse"]), file, "the range of versions of suffuse")
    requires, weights = config["requires"], config["weights"]
    names = ("plugin", "dist", "version")
    _check(
        isinstance(requires, list)
        and all(isinstance(r, dict) and all(_is_name(r.get(k)) for k in names) for r in requires),
        file,
        "requires",
    )
    _check(
        isinstance(weights, dict)
        and all(
            isinstance(w, dict) and isinstance(w.get("sha256"), str) and _FILE.fullmatch(str(w.get("file")))
            for w in weights.values()
        ),
        file,
        "weights (a plain file name ending in .safetensors and a sha256 for each)",
    )
    return config


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


def _is_range(value: object) -> bool:
    try:
        SpecifierSet(str(value))
    except InvalidSpecifier:
        return False
    return isinstance(value, str)


def _check(right: object, file: Path, what: str) -> None:
    if not right:
        raise WeightsError(f"{file}: {what} is malformed")


def _installed(requirement: Mapping[str, str], known: Registry) -> bool:
    return any(loaded.origin.key == requirement["plugin"] for loaded in known.plugins())


def _uses(spec: object) -> Iterator[str]:
    """Every reference in a spec."""
    if isinstance(spec, Mapping):
        if isinstance(spec.get("use"), str):
            yield spec["use"]
        for value in spec.values():
            yield from _uses(value)
    elif isinstance(spec, list | tuple):
        for value in spec:
            yield from _uses(value)


def _sha256(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _version(known: Registry) -> str:
    for loaded in known.plugins():
        if loaded.origin.key == "suffuse":
            return loaded.origin.version
    raise SuffuseError("the core's own parts did not load: see `suffuse doctor`")


def _the(given: Registry | None) -> Registry:
    return registry() if given is None else given
