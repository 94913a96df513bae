import json
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from suffuse import cli
from suffuse.cli import COMMANDS, main
from suffuse.cli import list as list_command
from suffuse.errors import SpecError
from suffuse.registry import Registry


@pytest.fixture
def listed(site, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """What `suffuse list` sees: a plugin of two parts, and a broken one."""
    parts = site.hook("suffuse_samplers", "name='heun', target='a:b', summary='Second order', needs=['score']")
    site.add("suffuse-a", parts + site.hook("suffuse_parts", "name='linear', target='a:b', kind='grid'"))
    site.add("suffuse-b", "raise ValueError('no')")
    site.add("suffuse-c")
    registry = Registry.load([site.folder()])
    monkeypatch.setattr(list_command, "registry", lambda: registry)
    return registry


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A command `try`, whose `main` a test sets."""
    module = ModuleType("suffuse_try_command")
    module.configure = lambda parser: parser.add_argument("--steps", type=int)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(COMMANDS, "try", (module.__name__, "a trial"))
    return module


def raising(error: BaseException):
    def run(args):
        raise error

    return run


def test_list_groups_by_plugin_and_tells_faults_once(listed: Registry, capsys) -> None:
    assert main(["list"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "a 0.1.0  A paper (2022, arXiv:2206.00364)",
        "  sampler    a/heun                           Second order",
        "  grid       a/linear",
        "c 0.1.0  A paper (2022, arXiv:2206.00364)",
        "2 plugins, 2 parts",
    ]
    (line,) = err.splitlines()
    assert line.startswith("suffuse: warning: suffuse-b 0.1.0: import failed: ValueError: no. Cure: ")


def test_list_filters(listed: Registry, capsys) -> None:
    assert main(["list", "--kind", "grid"]) == 0
    assert capsys.readouterr().out.endswith("  grid       a/linear\n1 plugin, 1 part\n")
    assert main(["list", "--plugin", "c"]) == 0
    assert capsys.readouterr().out.endswith("1 plugin, 0 parts\n")
    assert main(["list", "--kind", "codec", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_list_json(listed: Registry, capsys) -> None:
    assert main(["list", "--json", "--kind", "sampler"]) == 0
    (plugin,) = json.loads(capsys.readouterr().out)
    assert plugin["paper"]["arxiv"] == "2206.00364"
    assert plugin["parts"] == [
        {
            "ref": "a/heun",
            "kind": "sampler",
            "summary": "Second order",
            "target": "a:b",
            "needs": ["score"],
            "gives": [],
            "extras": [],
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "samplr"], "unknown kind 'samplr'; the kinds are process, "),
        (["--plugin", "cc"], "no plugin 'cc' is loaded; did you mean c?"),
        (["--plugin", "b"], "no plugin 'b' is loaded"),
    ],
)
def test_list_refuses(listed: Registry, capsys, arguments: list, message: str) -> None:
    assert main(["list", *arguments]) == 2
    assert f"suffuse: error: {message}" in capsys.readouterr().err


def test_errors_become_exit_statuses(command: ModuleType, capsys) -> None:
    command.main = lambda args: args.steps
    assert main(["try", "--steps", "5"]) == 5
    command.main = raising(SpecError("expected int, got float", path="sampler.steps"))
    assert main(["try"]) == 2
    assert capsys.readouterr().err == "suffuse: error: expected int, got float @ sampler.steps\n"
    command.main = raising(KeyboardInterrupt())
    assert main(["try"]) == 130
    assert capsys.readouterr().err == "suffuse: interrupted\n"
    command.main = raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["try"])


def test_help_and_version_import_no_command(capsys) -> None:
    code = "import sys; from suffuse.cli import main; main([]); main(['--version'])\n"
    code += "print([m for m in sys.modules if m.startswith('suffuse.cli.') or m in ('attrs', 'torch')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name, (_, summary) in COMMANDS.items():
        assert f"{name} " in done.stdout
        assert summary in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-2].startswith("suffuse 0.")
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_has_its_two_functions() -> None:
    import importlib

    for module, summary in COMMANDS.values():
        command = importlib.import_module(module)
        assert callable(command.configure)
        assert callable(command.main)
        assert summary
        assert "\n" not in summary


def test_unknown_commands_are_refused(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["lst"])
    assert caught.value.code == 2
    assert "invalid choice: 'lst'" in capsys.readouterr().err


@pytest.mark.parametrize("lines", [1, 99999])
def test_a_closed_pipe_is_quiet(lines: int) -> None:
    # The reader goes before the first byte; one line still waits in the buffer when the command ends.
    code = "import sys; from suffuse import cli; from types import ModuleType\n"
    code += "m = ModuleType('m'); sys.modules['m'] = m; cli.COMMANDS['try'] = ('m', 'a trial')\n"
    code += f"m.configure = lambda p: None; m.main = lambda a: [sys.stdin.read(), *map(print, range({lines}))] and 0\n"
    code += "sys.exit(cli.main(['try']))"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.wait() == 141
        assert process.stderr.read() == b""


def test_count() -> None:
    assert [cli.count(n, "part") for n in (0, 1, 2)] == ["0 parts", "1 part", "2 parts"]
