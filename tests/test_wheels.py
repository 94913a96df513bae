"""The other way to install: wheels of the core and of one plugin, alone in a fresh environment."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from environment import UV
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]

USE = """
import pkgutil, importlib, sys
import suffuse
assert "torch" not in sys.modules
import suffuse_edm
for package in (suffuse, suffuse_edm):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith("suffuse.testing"):
            importlib.import_module(module.name)

import torch
from suffuse.spec import compose
from suffuse.testing import GaussianMixture, mixture_system
from suffuse_edm.process import Edm
from suffuse_edm.deterministic import Heun
x = mixture_system(GaussianMixture.ring(), Edm(), sampler=Heun()).sample(64, seed=0)
assert abs(float(x.norm(dim=1).mean()) - 1) < 0.1, x
"""


def run(*command, **settings):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **settings)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def closure(name: str) -> set[str]:
    """A distribution with all that it requires here."""
    todo, found = [name], set()
    while todo:
        one = todo.pop()
        if one in found:
            continue
        found.add(one)
        for text in distribution(one).requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return found


def link(source, target):
    """A hard link: no copy of a large file, and nothing that happens to the target reaches the source."""
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """An environment with this one's torch linked in (it is large), and the two wheels with all they declare."""
    root = tmp_path_factory.mktemp("wheels")
    run(UV, "venv", "--no-project", "--python", sys.executable, root / "venv")
    (site,) = (root / "venv" / "lib").glob("python*/site-packages")
    for name in closure("torch"):
        for top in {
            Path(f.parts[0]) for f in distribution(name).files or () if f.parts[0] not in ("..", "__pycache__")
        }:
            home = Path(distribution(name).locate_file(top))
            if home.is_dir():
                shutil.copytree(home, site / top, copy_function=link, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                link(home, site / top)
    run(UV, "build", "--wheel", "--out-dir", root / "dist", ROOT / "core")
    run(UV, "build", "--wheel", "--out-dir", root / "dist", ROOT / "plugins/processes/edm")
    wheels = sorted((root / "dist").glob("*.whl"))
    assert len(wheels) == 2
    # Pinned to the build that is there: a resolver that does not see it must fail, not fetch gigabytes.
    pin = f"torch=={distribution('torch').version}"
    run(UV, "pip", "install", "--python", root / "venv/bin/python", pin, *wheels)
    return root


def test_wheels_alone_are_enough(fresh):
    run(fresh / "venv/bin/python", "-I", "-c", USE, cwd=fresh)


def test_only_what_was_installed_is_listed(fresh):
    told = run(fresh / "venv/bin/suffuse", "list", cwd=fresh)
    assert "edm/heun" in told or "heun" in told
    assert "ddpm" not in told
    done = subprocess.run(
        [fresh / "venv/bin/suffuse", "show", "ddim/ddim"], capture_output=True, text=True, cwd=fresh, check=False
    )
    assert done.returncode == 2
    assert "pip install suffuse-ddim" in done.stderr


def test_types_and_evidence_travel(fresh):
    (site,) = (fresh / "venv" / "lib").glob("python*/site-packages")
    assert (site / "suffuse" / "py.typed").is_file()
    assert (site / "suffuse_edm" / "py.typed").is_file()
    assert (site / "suffuse_edm" / "evidence.json").is_file()
