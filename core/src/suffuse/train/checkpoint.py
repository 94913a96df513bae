"""Checkpoints: everything a run needs to go on to the same bits, written atomically, read without pickle."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from suffuse.errors import WeightsError

__all__ = ["flatten", "latest", "read", "unflatten", "write"]

_TENSORS, _PLAIN = "state.safetensors", "state.json"


def write(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> Path:
    """Write ``step-N`` under ``folder`` and remove all but the newest ``keep``.

    ``state`` is a tree of mappings and lists of tensors and JSON values. The checkpoint appears by one rename.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    tensors: dict[str, Tensor] = {}
    plain = flatten(state, tensors)
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, str(fresh / _TENSORS))
    (fresh / _PLAIN).write_text(json.dumps({"step": step, "state": plain}), encoding="utf-8")
    for file in fresh.iterdir():
        with file.open("rb") as f:
            os.fsync(f.fileno())
    final = folder / f"step-{step:09d}"
    shutil.rmtree(final, ignore_errors=True)
    os.replace(fresh, final)
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    for rest in folder.glob(".writing-*"):  # left by a run that was killed while it wrote
        shutil.rmtree(rest, ignore_errors=True)
    return final


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint."""
    found = sorted(folder.glob("step-*"))
    return found[-1] if found else None


def read(checkpoint: Path) -> tuple[int, Any]:
    """The step and the state. Raises ``WeightsError`` for a damaged checkpoint, with the way out."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        plain = json.loads((checkpoint / _PLAIN).read_text(encoding="utf-8"))
        tensors = load_file(str(checkpoint / _TENSORS))
        return plain["step"], unflatten(plain["state"], tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise WeightsError(f"{checkpoint} is damaged ({error}): remove it to resume from the one before") from error


def flatten(tree: Any, into: dict[str, Tensor], path: str = "") -> Any:  # noqa: ANN401
    """Move tensors to ``into`` by path, leaving ``{"tensor": path}``; mappings become lists of pairs."""
    if isinstance(tree, Tensor):
        path = f"{len(into)}:{path}"  # paths alone may coincide: a name may hold a slash
        into[path] = tree
        return {"tensor": path}
    if isinstance(tree, Mapping):
        return {"map": [[k, flatten(v, into, f"{path}/{k}")] for k, v in tree.items()]}
    if isinstance(tree, list | tuple):
        return {"list": [flatten(v, into, f"{path}/{i}") for i, v in enumerate(tree)]}
    return {"value": tree}


def unflatten(plain: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
    """The inverse of ``flatten``; tuples come back as lists."""
    (form, value), *_ = plain.items()
    if form == "tensor":
        return tensors[value]
    if form == "map":
        return {k: unflatten(v, tensors) for k, v in value}
    if form == "list":
        return [unflatten(v, tensors) for v in value]
    return value
