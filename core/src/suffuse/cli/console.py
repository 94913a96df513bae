"""What the commands share: progress on the terminal, devices, versions, and values written as text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suffuse.errors import InvalidInput
from suffuse.registry import Registry
from suffuse.spec import override

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["device_of", "drawn", "number", "progress", "uses", "value_of", "versions"]


@contextmanager
def progress(total: int, text: str, *, quiet: bool, start: int = 0) -> Iterator[Callable[[int, str], None]]:
    """A bar on stderr where that is a terminal, else nothing; call it with the steps done and a word on them."""
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _words: None
        return
    bar = drawn()
    with bar:
        task = bar.add_task(text, total=total, completed=start, words="")
        yield lambda done, words: bar.update(task, completed=done, words=words)


def drawn() -> Progress:
    """The bar: what, how far, the time left, and a word from the caller."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[words]}", style="dim"),
        console=Console(stderr=True),
        transient=True,
    )


def device_of(name: str) -> str:
    """The device to work on; ``auto`` is a GPU where there is one. Raises ``InvalidInput`` for one that is not here."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise InvalidInput(f"no device {name!r} here: {reason}") from error
    return name


def value_of(text: str) -> Any:  # noqa: ANN401
    """A value as ``--set`` reads it: TOML where it is such, else a string."""
    return override({}, f"value={text}")["value"]


def number(value: float) -> str:
    """Four digits that count."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def uses(spec: object) -> Iterator[str]:
    """Every reference in a spec."""
    if isinstance(spec, Mapping):
        if isinstance(spec.get("use"), str):
            yield spec["use"]
        spec = list(spec.values())
    if isinstance(spec, list | tuple):
        for value in spec:
            yield from uses(value)


def versions(refs: Sequence[str], registry: Registry) -> dict[str, str]:
    """The versions of Python, torch, suffuse and the plugins that these parts come from."""
    import platform

    import torch

    origins = [loaded.origin for loaded in registry.plugins()]
    wanted = {"suffuse", *(ref.partition("/")[0] for ref in refs)}
    found = {origin.dist: origin.version for origin in origins if origin.key in wanted}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **found}


def stem(path: str) -> Path:
    """A path without the endings that the files written there get."""
    plain = Path(path).expanduser()
    return plain.with_suffix("") if plain.suffix in (".png", ".json", ".safetensors") else plain
