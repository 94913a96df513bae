import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MANIFEST = """
import attrs
from suffuse import Component, Paper, Plugin, hookimpl

plugin = Plugin(paper=Paper(title="A paper", year=2022, kind="method", arxiv="2206.00364"))
"""


class Site:
    """Folders of distributions, written by hand as an installer would."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str = "site") -> str:
        """A folder for `sys.path`."""
        (self.root / name).mkdir(exist_ok=True)
        return str(self.root / name)

    def add(
        self,
        dist: str,
        manifest: str = "",
        *,
        entry_points: str | None = None,
        version: str = "0.1.0",
        folder: str = "site",
        metadata_folder: str | None = None,
    ) -> str:
        """Install one, and return its module; `manifest` is added to a good beginning."""
        module = dist.replace("-", "_").replace(".", "_").lower()
        root = Path(self.folder(folder))
        (root / module).mkdir(exist_ok=True)
        (root / module / "__init__.py").write_text(MANIFEST + manifest)
        info = root / (metadata_folder or f"{dist.replace('-', '_')}-{version}.dist-info")
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {dist}\nVersion: {version}\n")
        if entry_points is None:
            key = module.replace("_", "-").removeprefix("suffuse-")
            entry_points = f"[suffuse.v1]\n{key} = {module}\n"
        (info / "entry_points.txt").write_text(entry_points)
        return module

    def hook(self, name: str, *components: str) -> str:
        """A hook's source, whose components are given by their arguments."""
        items = ", ".join(f"Component({arguments})" for arguments in components)
        return f"\n@hookimpl\ndef {name}():\n    return [{items}]\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty site, on `sys.path` for this test."""
    for name in ("SUFFUSE_BLOCK", "SUFFUSE_PLUGINS", "SUFFUSE_STRICT"):
        monkeypatch.delenv(name, raising=False)
    for name in [n for n in sys.modules if n.startswith("suffuse_")]:  # the real ones, back after the test
        monkeypatch.delitem(sys.modules, name)
    modules = set(sys.modules)
    site = Site(tmp_path)
    for name in ("second", "site"):
        monkeypatch.syspath_prepend(site.folder(name))
    yield site
    for name in set(sys.modules) - modules:
        del sys.modules[name]
