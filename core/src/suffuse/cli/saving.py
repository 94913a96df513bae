"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from suffuse.errors import InvalidInput

__all__ = ["prepare", "write_files"]


def prepare(path: Path) -> None:
    """Make the folder that ``path`` will lie in. Raises ``InvalidInput`` if nothing can be written there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".suffuse-"):
            pass
    except OSError as error:
        raise InvalidInput(f"cannot write to {path.parent}: {error.strerror or error}") from error


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write all of these files beside their places, then move them there: an interruption leaves no half of one."""
    fresh: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            prepare(path)
            number, name = tempfile.mkstemp(dir=path.parent, prefix=".suffuse-")
            fresh[path] = Path(name)
            with os.fdopen(number, "wb") as file:
                file.write(content)
            fresh[path].chmod(0o644)
        for path, temporary in fresh.items():
            os.replace(temporary, path)
    except OSError as error:
        raise InvalidInput(f"cannot write {error.filename2 or error.filename}: {error.strerror or error}") from error
    finally:
        for temporary in fresh.values():
            with contextlib.suppress(OSError):
                temporary.unlink()
