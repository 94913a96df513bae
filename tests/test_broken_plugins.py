"""Real distributions, each broken in one way, beside a healthy one: the host works and tells the fault once."""

import json
from pathlib import Path

import attrs
import pytest
from environment import Environment, build, write_project

MANIFEST = """
import os
from suffuse import Component, Paper, Plugin, hookimpl

open(os.path.join(os.environ["MARKS"], __name__), "w").close()
plugin = Plugin(paper=None)
"""
SAMPLERS = """
@hookimpl
def suffuse_samplers():
    return [Component(name="heun", target="{module}.parts:Heun", summary="a sampler")]
"""
METRICS = """
@hookimpl
def suffuse_metrics():
    {body}
"""
PARTS = """
import attrs

@attrs.frozen
class Heun:
    steps: int = 18
"""


@attrs.frozen(kw_only=True)
class Broken:
    """One way to be broken; `dists` are (name, version, manifest), and the first one's fault is looked for."""

    dists: tuple[tuple[str, str, str], ...]
    stage: str
    error: str
    cure: str = "SUFFUSE_BLOCK=bad"
    trace: str  # what doctor shows of where it happened
    imported: bool = True
    parts: str = PARTS
    entry_points: dict[str, dict[str, str]] | None = None
    keeps: bool = False  # the plugin's other hook still gives bad/heun


def bad(manifest: str) -> tuple[tuple[str, str, str], ...]:
    return (("suffuse-bad", "3.1.4", manifest),)


WHOLE = MANIFEST + SAMPLERS.format(module="suffuse_bad")

CASES = {
    "import error": Broken(
        dists=bad(MANIFEST + "raise RuntimeError('it\\nbroke')"),
        stage="import",
        error="RuntimeError: it broke",
        trace="raise RuntimeError('it",
    ),
    "syntax error": Broken(dists=bad("def ("), stage="import", error="SyntaxError: ", trace="def (", imported=False),
    "missing dependency": Broken(
        dists=bad(MANIFEST + "import not_there"),
        stage="import",
        error="ModuleNotFoundError: No module named 'not_there'",
        cure="reinstall suffuse-bad with its dependencies, or set SUFFUSE_BLOCK=bad",
        trace="import not_there",
    ),
    "exit on import": Broken(
        dists=bad(MANIFEST + "raise SystemExit(7)"),
        stage="import",
        error="SystemExit: 7",
        trace="raise SystemExit(7)",
    ),
    "other api": Broken(
        dists=bad(WHOLE),
        entry_points={"suffuse.v2": {"bad": "suffuse_bad._plugin"}},
        stage="api",
        error="it was made for suffuse.v2, this suffuse loads suffuse.v1",
        cure="upgrade suffuse, or set SUFFUSE_BLOCK=bad",
        trace="entry_points.txt",
        imported=False,
    ),
    "another's key": Broken(
        dists=bad(WHOLE),
        entry_points={"suffuse.v1": {"good": "suffuse_bad._plugin"}},
        stage="key",
        error="it claims the key 'good', but suffuse-bad may only use 'bad'",
        trace="entry_points.txt",
        imported=False,
    ),
    "one key twice": Broken(
        dists=(("bad", "3.1.4", MANIFEST), ("suffuse-bad", "1.0.0", WHOLE)),
        stage="discovery",
        error="two plugins have the key 'bad': suffuse-bad 1.0.0 in",
        cure="uninstall one of them, or set SUFFUSE_BLOCK=bad",
        trace="entry_points.txt",
        imported=False,
        keeps=True,
    ),
    "no manifest": Broken(
        dists=bad(MANIFEST.replace("plugin =", "plugins =")),
        stage="manifest",
        error="suffuse_bad._plugin must be a module with `plugin = Plugin(...)`, got None",
        trace="_plugin.py",
    ),
    "hook raises": Broken(
        dists=bad(WHOLE + METRICS.format(body="return [Component(name='Bad Name', target='a:b')]")),
        stage="hook",
        error="suffuse_metrics: InvalidInput: Component.name: expected lower-case letters",
        trace="return [Component(name='Bad Name'",
        keeps=True,
    ),
    "hook exits": Broken(
        dists=bad(WHOLE + METRICS.format(body="raise SystemExit")),
        stage="hook",
        error="suffuse_metrics: SystemExit",
        trace="raise SystemExit",
        keeps=True,
    ),
    "hook returns nothing": Broken(
        dists=bad(WHOLE + METRICS.format(body="pass")),
        stage="hook",
        error="suffuse_metrics: expected an iterable of Component, got NoneType",
        trace="in suffuse_metrics",
        keeps=True,
    ),
    "hook returns strings": Broken(
        dists=bad(WHOLE + METRICS.format(body="return ['fid']")),
        stage="hook",
        error="suffuse_metrics: expected an iterable of Component, got one with str",
        trace="in suffuse_metrics",
        keeps=True,
    ),
    "misspelt hook": Broken(
        dists=bad(WHOLE + METRICS.format(body="return []").replace("suffuse_metrics", "suffuse_metric")),
        stage="hook",
        error="unknown hook suffuse_metric (did you mean suffuse_metrics?)",
        trace="in suffuse_metric",
        keeps=True,
    ),
    "hook wrapper": Broken(
        dists=bad(WHOLE + METRICS.format(body="return (yield)").replace("impl\n", "impl(wrapper=True)\n")),
        stage="hook",
        error="suffuse_metrics is a hook wrapper",
        trace="in suffuse_metrics",
        keeps=True,
    ),
    "one name twice": Broken(
        dists=bad(WHOLE + "\n@hookimpl(specname='suffuse_samplers')\ndef more():\n    return suffuse_samplers()"),
        stage="hook",
        error="suffuse_samplers: two components of kind 'sampler' are named 'heun'",
        trace="_plugin.py",
        keeps=True,
    ),
}
# The environment has no real torch, which the core's own parts need to resolve.
CORE_OFF = {"SUFFUSE_BLOCK": "suffuse"}
# These show only when the part is used: `suffuse list` imports no target.
RESOLVED = {
    "no such target": Broken(
        dists=bad(WHOLE),
        parts="",
        stage="resolve",
        error="AttributeError: module 'suffuse_bad.parts' has no attribute 'Heun'",
        trace="AttributeError: module 'suffuse_bad.parts'",
    ),
    "target exits": Broken(
        dists=bad(WHOLE),
        parts="raise SystemExit(3)",
        stage="resolve",
        error="SystemExit: 3",
        trace="raise SystemExit(3)",
    ),
    "no attrs class": Broken(
        dists=bad(WHOLE),
        parts="class Heun:\n    steps: int = 18",
        stage="resolve",
        error="expected an attrs class, whose fields are the settings, got <class 'suffuse_bad.parts.Heun'>",
        cure="its author must decorate it with @attrs.frozen; until then set SUFFUSE_BLOCK=bad",
        trace="parts.py",
    ),
    "undecorated heir": Broken(
        dists=bad(WHOLE),
        parts=PARTS.replace("Heun", "Base") + "class Heun(Base):\n    churn: float = 0.0",
        stage="resolve",
        error="expected an attrs class",
        cure="@attrs.frozen",
        trace="parts.py",
    ),
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the core and a healthy plugin."""
    folder = tmp_path_factory.mktemp("host")
    files = {"_plugin.py": MANIFEST + SAMPLERS.format(module="suffuse_good"), "parts.py": PARTS}
    host = Environment(folder / "venv")
    host.install(build([write_project(folder / "good", "suffuse-good", files)], folder / "wheels"))
    return host


def install(case: Broken, host: Environment, folder: Path) -> dict[str, str]:
    """Install a case beside the host's plugins; the variables with which the host finds it."""
    projects = [
        write_project(
            folder / dist,
            dist,
            {"_plugin.py": manifest, "parts.py": case.parts},
            version=version,
            entry_points=case.entry_points or {"suffuse.v1": {"bad": f"{dist.replace('-', '_')}._plugin"}},
        )
        for dist, version, manifest in case.dists
    ]
    host.install(build(projects, folder / "wheels"), folder / "site")
    (folder / "marks").mkdir()
    return CORE_OFF | {"PYTHONPATH": str(folder / "site"), "MARKS": str(folder / "marks")}


def marks(folder: Path) -> set[str]:
    """The manifests imported since the last call."""
    found = {path.name for path in (folder / "marks").iterdir()}
    for name in found:
        (folder / "marks" / name).unlink()
    return found


def refs(done: object) -> set[str]:
    assert done.returncode == 0, done
    return {part["ref"] for plugin in json.loads(done.stdout) for part in plugin["parts"]}


@pytest.mark.parametrize("name", CASES)
def test_fault_in_loading(name: str, host: Environment, tmp_path: Path) -> None:
    case = CASES[name]
    variables = install(case, host, tmp_path)
    dist, version, _ = case.dists[0]
    module = f"{dist.replace('-', '_')}._plugin"

    listed = host.suffuse("list", "--json", **variables)
    assert refs(listed) == ({"good/heun", "bad/heun"} if case.keeps else {"good/heun"})
    (line,) = listed.stderr.splitlines()
    assert line.startswith(f"suffuse: warning: {dist} {version}: {case.stage} failed: ")
    assert case.error in line
    assert case.cure in line.partition("Cure: ")[2]
    assert (module in marks(tmp_path)) == case.imported

    doctor = host.suffuse("doctor", **variables)
    assert doctor.returncode == 1
    assert doctor.stdout.count(f"{dist} {version}: {case.stage} failed: ") == 1
    assert case.trace in doctor.stdout.partition("Cure: ")[2]
    assert doctor.stderr == ""

    strict = host.suffuse("list", **variables, SUFFUSE_STRICT="1")
    assert (strict.returncode, strict.stdout) == (2, "")
    assert strict.stderr == line.replace("warning", "error") + "\n"
    assert host.suffuse("doctor", **variables, SUFFUSE_STRICT="1").stdout == doctor.stdout

    marks(tmp_path)
    blocked = host.suffuse("list", "--json", **variables | {"SUFFUSE_BLOCK": "suffuse, nobody, bad"})
    assert blocked.stderr == ""
    assert refs(blocked) == {"good/heun"}
    assert marks(tmp_path) == {"suffuse_good._plugin"}


@pytest.mark.parametrize("name", RESOLVED)
def test_fault_in_target(name: str, host: Environment, tmp_path: Path) -> None:
    case = RESOLVED[name]
    variables = install(case, host, tmp_path)
    assert refs(listed := host.suffuse("list", "--json", **variables)) == {"good/heun", "bad/heun"}
    assert listed.stderr == ""

    doctor = host.suffuse("doctor", **variables)
    assert doctor.returncode == 1
    (line,) = [line for line in doctor.stdout.splitlines() if "failed" in line]
    assert line.startswith("suffuse-bad 3.1.4: resolve failed: bad/heun (suffuse_bad.parts:Heun): ")
    assert case.error in line
    assert case.cure in line.partition("Cure: ")[2]
    assert case.trace in doctor.stdout.partition("Cure: ")[2]

    use = """
from suffuse.errors import BrokenPlugin
from suffuse.registry import registry
assert registry().resolve("good/heun")(steps=3).steps == 3
for _ in range(2):
    try:
        registry().resolve("bad/heun")
    except BrokenPlugin as error:
        print(error, error.traceback)
print(len(registry().failures))
"""
    for strict in ("", "1"):
        used = host.python(use, **variables, SUFFUSE_STRICT=strict)
        assert used.stderr == ""
        assert used.stdout.count(line) == 2
        assert used.stdout.count(case.trace) >= 2
        assert used.stdout.endswith("1\n")

    marks(tmp_path)
    blocked = host.suffuse("doctor", **variables | {"SUFFUSE_BLOCK": "suffuse,bad"})
    assert blocked.returncode == 0
    assert "suffuse-bad 3.1.4: off by SUFFUSE_BLOCK" in blocked.stdout
    assert marks(tmp_path) == {"suffuse_good._plugin"}


def test_one_distribution_twice(host: Environment, tmp_path: Path) -> None:
    for version in ("2.0.0", "1.0.0"):
        files = {"_plugin.py": WHOLE, "parts.py": PARTS}
        project = write_project(tmp_path / version, "suffuse-bad", files, version=version)
        host.install(build([project], tmp_path / f"wheels-{version}"), tmp_path / f"site-{version}")
    (tmp_path / "marks").mkdir()
    folders = [tmp_path / "site-2.0.0", tmp_path / "site-1.0.0"]
    for first, second in (folders, folders[::-1]):
        variables = {"PYTHONPATH": f"{first}:{second}", "MARKS": str(tmp_path / "marks")}
        listed = host.suffuse("list", **variables)
        used, unused = first.name.removeprefix("site-"), second.name.removeprefix("site-")
        assert f"\nbad {used}\n" in f"\n{listed.stdout}"
        (line,) = listed.stderr.splitlines()
        assert line.startswith(f"suffuse: warning: suffuse-bad {unused}: discovery failed: ")
        assert f"two distributions are named 'suffuse-bad': suffuse-bad {used} in {first} is used" in line
    linked = tmp_path / "linked"
    linked.symlink_to(folders[0])
    listed = host.suffuse("list", PYTHONPATH=f"{folders[0]}:{linked}", MARKS=str(tmp_path / "marks"))
    assert listed.stderr == ""


def test_doctor_works_when_the_core_does_not(host: Environment, tmp_path: Path) -> None:
    (tmp_path / "pluggy.py").write_text("raise ImportError('pluggy is torn')")
    doctor = host.suffuse("doctor", PYTHONPATH=str(tmp_path), MARKS=str(tmp_path))
    assert doctor.returncode == 1
    assert "suffuse itself: ImportError: pluggy is torn" in doctor.stdout
    assert "raise ImportError('pluggy is torn')" in doctor.stdout


def test_doctor_is_content_with_a_healthy_installation(host: Environment, tmp_path: Path) -> None:
    doctor = host.suffuse("doctor", "--json", MARKS=str(tmp_path), **CORE_OFF)
    report = json.loads(doctor.stdout)
    assert (doctor.returncode, report["faults"]) == (0, [])
    good = {plugin["key"]: plugin for plugin in report["plugins"]}["good"]
    assert (good["status"], good["parts"], good["editable"]) == ("ok", 1, False)
