"""A virtual environment with the core and nothing else, and real distributions to install into it, offline.

It has no torch, only an empty module of that name, so that an import of torch is seen rather than failing.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

CORE = Path(__file__).parents[1] / "core"
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}") or "uv"

PYPROJECT = """
[project]
name = "{dist}"
version = "{version}"
requires-python = ">=3.11"
{entry_points}
[build-system]
requires = ["uv_build>=0.13,<0.14"]
build-backend = "uv_build"
[tool.uv.build-backend]
module-name = "{module}"
"""


def write_project(
    folder: Path,
    dist: str,
    files: dict[str, str],
    *,
    version: str = "0.1.0",
    entry_points: dict[str, dict[str, str]] | None = None,
) -> Path:
    """A source tree of the distribution `dist`; its own entry point, key and manifest are the default."""
    module = dist.replace("-", "_")
    if entry_points is None:
        entry_points = {"suffuse.v1": {dist.removeprefix("suffuse-"): f"{module}._plugin"}}
    table = "\n".join(
        f'entry-points."{group}".{name} = "{value}"'
        for group, entries in entry_points.items()
        for name, value in entries.items()
    )
    source = folder / "src" / module
    source.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        PYPROJECT.format(dist=dist, version=version, module=module, entry_points=table)
    )
    for name, text in {"__init__.py": "", **files}.items():
        (source / name).write_text(text)
    return folder


def build(folders: Iterable[Path], out: Path) -> list[Path]:
    """Wheels of the source trees."""
    for folder in folders:
        _uv("build", "--wheel", "--offline", "--out-dir", out, folder)
    return sorted(out.glob("*.whl"))


def build_workspace(folder: Path, out: Path) -> list[Path]:
    """Wheels of all source trees in `folder`, built at once."""
    (folder / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["*"]\n')
    _uv("build", "--wheel", "--offline", "--all-packages", "--out-dir", out, folder)
    return sorted(out.glob("*.whl"))


class Environment:
    """A virtual environment in `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        _uv("venv", "--offline", "--no-project", "--python", sys.executable, root)
        self.python_path = root / "bin" / "python"
        self.site = next(root.glob("lib/python*/site-packages"))
        (self.site / "torch.py").touch()
        for name in _closure("attrs", "pluggy", "importlib-metadata"):
            self._link(name)
        self.install(build([CORE], root / "core"))

    def install(self, wheels: list[Path], target: Path | None = None) -> None:
        """Install wheels here or, as further folders for PYTHONPATH, elsewhere."""
        where = ["--target", target] if target else []
        _uv(
            "pip",
            "install",
            "--offline",
            "--no-index",
            "--no-deps",
            "--compile-bytecode",
            "--python",
            self.python_path,
            *where,
            *wheels,
        )

    def suffuse(self, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self._run([self.root / "bin" / "suffuse", *args], variables)

    def python(self, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python code."""
        return self._run([self.python_path, "-c", code], variables)

    def _run(self, command: list[str | Path], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SUFFUSE_", "PYTHON", "COV_"))}
        return subprocess.run(command, env=kept | variables, capture_output=True, text=True, check=False)

    def _link(self, name: str) -> None:
        """Make one distribution of the running environment visible here."""
        dist = distribution(name)
        for top in {file.parts[0] for file in dist.files or ()} - {"..", "__pycache__"}:
            (self.site / top).symlink_to(Path(str(dist.locate_file(top))))


def _closure(*names: str) -> set[str]:
    """The distributions and what they require."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            requirements = map(Requirement, distribution(name).requires or ())
            todo += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def _uv(*args: str | Path) -> None:
    done = subprocess.run([UV, "--quiet", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(map(str, args))}: {done.stderr}")
