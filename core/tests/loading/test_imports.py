"""What `import suffuse` costs, and what it offers."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import suffuse


def in_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_imports_little() -> None:
    code = "import sys; before = set(sys.modules); import suffuse; print(*(set(sys.modules) - before))"
    assert not {"torch", "attrs", "pluggy", "numpy", "importlib_metadata"} & set(in_new_process(code).split())


def test_a_manifest_and_the_registry_import_no_torch() -> None:
    code = "import sys; from suffuse import Component, Paper, Plugin, hookimpl;"
    code += "from suffuse.registry import registry; registry(); print('torch' in sys.modules)"
    assert in_new_process(code) == "False"


def test_names_are_fetched_once_and_listed() -> None:
    assert set(suffuse._EXPORTS) | {"__version__"} <= set(dir(suffuse))
    for name, module in suffuse._EXPORTS.items():
        assert getattr(suffuse, name) is getattr(import_module(f"suffuse.{module}"), name)
    assert "Component" in vars(suffuse)
    assert suffuse.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="module 'suffuse' has no attribute 'Componet'"):
        suffuse.Componet  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(suffuse.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname: node.module.removeprefix("suffuse.") for node in block.body for alias in node.names}
    assert seen == suffuse._EXPORTS


def test_no_name_hides_a_module() -> None:
    folder = Path(suffuse.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {p.name for p in folder.iterdir() if p.is_dir()}
    assert not modules & set(suffuse._EXPORTS)
