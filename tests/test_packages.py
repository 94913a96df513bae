"""Every package of the workspace keeps to the house: metadata, files, declared imports."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    p.parent for pattern in ("core", "plugins/*/*", "contrib/*") for p in ROOT.glob(f"{pattern}/pyproject.toml")
)
PLUGINS = [p for p in PACKAGES if p.parts[-3:-2] == ("plugins",)]
FAMILIES = {
    *("processes", "discrete", "backbones", "training", "distillation", "alignment", "guidance", "samplers"),
    *("inverse", "editing", "bridges", "recognition", "forensics", "graphs", "science", "threed", "gans", "theory"),
}


def project(package: Path) -> dict:
    return tomllib.loads((package / "pyproject.toml").read_text())


def module(package: Path) -> Path:
    (found,) = (p for p in (package / "src").iterdir() if (p / "__init__.py").is_file())
    return found


def named(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement)[0]).lower()


def imports(source: Path) -> set[str]:
    """Top-level names that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_it_declares_what_it_imports(package):
    """In the workspace every import works; alone, only the declared ones do."""
    told = project(package)["project"]
    declared = {named(r) for r in told["dependencies"]} | {named(told["name"])}
    declared |= {named(r) for extra in told.get("optional-dependencies", {}).values() for r in extra}
    homes = packages_distributions()
    undeclared = {}
    for source in (package / "src").rglob("*.py"):
        for name in imports(source) - set(sys.stdlib_module_names):
            if not declared & {named(d) for d in homes.get(name, [name])}:
                undeclared.setdefault(name, str(source.relative_to(package)))
    assert not undeclared


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_it_has_the_files_of_a_package(package):
    told = project(package)
    assert told["project"]["license"] == "Apache-2.0"
    assert told["project"]["readme"] == "README.md"
    assert told["build-system"]["build-backend"] == "uv_build"
    assert (module(package) / "py.typed").is_file()
    assert len((package / "README.md").read_text()) > 100
    assert any((package / "tests").glob("**/test_*.py"))


@pytest.mark.parametrize("package", PLUGINS, ids=lambda p: p.name)
def test_a_plugin_is_named_after_its_folder(package):
    told = project(package)["project"]
    assert package.parent.name in FAMILIES
    assert told["name"] == f"suffuse-{package.name}"
    assert told["entry-points"]["suffuse.v1"] == {package.name: f"{module(package).name}._plugin"}
    assert module(package).name == f"suffuse_{package.name.replace('-', '_')}"
    assert package.name in (files("suffuse") / "catalogue.txt").read_text().split()


@pytest.mark.parametrize("package", PLUGINS, ids=lambda p: p.name)
def test_a_plugin_s_readme_has_an_example_and_says_what_is_not_faithful(package):
    text = (package / "README.md").read_text()
    assert "Not faithful" in text
    assert re.search(r"```(python|sh|console|bash)\n", text)


@pytest.mark.parametrize("package", PLUGINS, ids=lambda p: p.name)
def test_a_plugin_inherits_the_contract_suite(package):
    assert f'contract_suite("{package.name}"' in "".join(f.read_text() for f in (package / "tests").glob("*.py"))


def test_no_test_reads_the_machine_s_paths():
    """The project speaks of itself alone: no path of a machine in any tracked text."""
    bad = []
    for pattern in ("core", "plugins", "contrib", "templates", "docs", "Makefile", "README.md", "pyproject.toml"):
        for file in [ROOT / pattern] if (ROOT / pattern).is_file() else (ROOT / pattern).rglob("*"):
            if file.suffix in {".py", ".md", ".toml", ".json", ""} and file.is_file():
                text = file.read_text(errors="ignore")
                bad += [
                    f"{file.relative_to(ROOT)}: {m}" for m in re.findall(r"(?<![\w.])/(?:work|opt|root|farm)/\S*", text)
                ]
    assert not bad
