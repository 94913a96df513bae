"""The core stays small: lines of code, without blanks, comments and docstrings."""

import ast
import io
import tokenize
from pathlib import Path

CORE = Path(__file__).parents[1] / "core" / "src" / "suffuse"
SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def lines_of_code(file: Path) -> int:
    text = file.read_text()
    told = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                told |= set(range(first.lineno, first.end_lineno + 1))
    spoken = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            spoken |= set(range(token.start[0], token.end[0] + 1))
    return len(spoken - told)


def test_the_contracts_are_read_in_an_hour():
    assert sum(map(lines_of_code, CORE.glob("contracts/*.py"))) < 1500


def test_the_core_without_kit_and_command_line_is_small():
    own = [f for f in CORE.rglob("*.py") if f.relative_to(CORE).parts[0] not in ("testing", "cli")]
    assert sum(map(lines_of_code, own)) < 4000


def test_what_is_counted(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        '"""Told.\n\nMore.\n"""\n\n# aside\nx = (\n    1,\n)\n\n\ndef f():\n    """Told."""\n    return x\n'
    )
    assert lines_of_code(file) == 5
