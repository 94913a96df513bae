"""An installed toy plugin with published weights, for this process and for new ones."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

from suffuse import cli
from suffuse.registry import Registry, registry


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for ``sys.path`` with the toy plugin in it."""
    root = tmp_path_factory.mktemp("site")
    (root / "suffuse_toy").mkdir()
    shutil.copy(Path(__file__).with_name("toy.py"), root / "suffuse_toy" / "__init__.py")
    info = root / "suffuse_toy-1.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: suffuse-toy\nVersion: 1.2.0\n")
    (info / "entry_points.txt").write_text("[suffuse.v1]\ntoy = suffuse_toy\n")
    sys.path.insert(0, str(root))
    invalidate_caches()
    toy = import_module("suffuse_toy")
    toy.make(toy.weights, Registry.load(allow={"toy"}))
    sys.path.remove(str(root))
    return root


@pytest.fixture
def toy(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy plugin, installed for this test, which runs in an empty folder; gives that folder."""
    for name in ("SUFFUSE_BLOCK", "SUFFUSE_PLUGINS", "SUFFUSE_STRICT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SUFFUSE_PLUGINS", "toy")
    monkeypatch.syspath_prepend(str(site))
    registry.cache_clear()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    registry.cache_clear()


@pytest.fixture
def suffuse(toy: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line: exit status, stdout, stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        status = cli.main(argv)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def start(site: Path, toy: Path) -> Callable[..., subprocess.Popen[str]]:
    """The command line in a new process."""

    def run(*argv: str) -> subprocess.Popen[str]:
        code = "import sys; from suffuse.cli import main; sys.exit(main())"
        variables = {**os.environ, "PYTHONPATH": str(site), "SUFFUSE_PLUGINS": "toy", "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        command = [sys.executable, "-c", code, *argv]
        return subprocess.Popen(command, env=variables, cwd=toy, preexec_fn=heard, **pipes)

    return run
