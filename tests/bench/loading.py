"""The cost of many plugins: `import suffuse` and `suffuse list` with 220 of them installed, in process time.

Run it with ``python tests/bench/loading.py [--json] [--plugins N] [--runs N]``. Times are user plus system seconds of
a whole process, the best of the runs: the machine's other work can only add to them.
"""

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from environment import Environment, build_workspace, write_project

MANIFEST = '''"""The manifest of plugin {number}."""

from suffuse import Component, Paper, Plugin, hookimpl

plugin = Plugin(paper=Paper(title="Paper {number}", arxiv="2001.{number:05}", year=2020, kind="method"))


@hookimpl
def suffuse_processes():
    return [Component(name="process-{number}", target="suffuse_p{number}.parts:Process", gives={{"gaussian"}})]


@hookimpl
def suffuse_objectives():
    return [Component(name="loss", target="suffuse_p{number}.parts:Loss", needs={{"gaussian"}}, summary="A loss")]


@hookimpl
def suffuse_samplers():
    yield Component(name="sampler", target="suffuse_p{number}.parts:Sampler", summary="A sampler", needs={{"score"}})


@hookimpl
def suffuse_claims():
    return [Component(name="claim", target="suffuse_p{number}.claims:claim")]
'''
NO_TORCH = """
import sys
import suffuse
assert "torch" not in sys.modules, "import suffuse"
from suffuse.cli import main
main(["list"])
assert "torch" not in sys.modules, "suffuse list"
"""


def populate(folder: Path, plugins: int) -> Environment:
    """An environment with the core and so many plugins, as wheels."""
    for number in range(plugins):
        files = {"_plugin.py": MANIFEST.format(number=number), "parts.py": "import torch"}
        write_project(folder / "work" / f"p{number}", f"suffuse-p{number}", files)
    environment = Environment(folder / "venv")
    environment.install(build_workspace(folder / "work", folder / "wheels"))
    return environment


def seconds(run: Callable[[], object], runs: int) -> float:
    """The least process time of the children that one call of `run` starts and awaits."""
    times = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(times)


def measure(environment: Environment, runs: int) -> dict[str, float | int | str]:
    """The times, what `suffuse list` said of the number of plugins, and what imported torch (or nothing)."""
    listed = environment.suffuse("list")
    return {
        "python": seconds(lambda: environment.python("pass"), runs),
        "import": seconds(lambda: environment.python("import suffuse"), runs),
        "manifest": seconds(lambda: environment.python("from suffuse import Component, hookimpl"), runs),
        "list": seconds(lambda: environment.suffuse("list"), runs),
        "said": listed.stdout.splitlines()[-1],
        "faults": listed.stderr,
        "torch": environment.python(NO_TORCH).stderr,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--plugins", type=int, default=220)
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(populate(Path(folder), args.plugins), args.runs)
    if args.json:
        print(json.dumps(result))
        return
    print(f"python -c pass           {result['python'] * 1e3:6.0f} ms")
    print(f"import suffuse           {result['import'] * 1e3:6.0f} ms")
    print(f"what a manifest imports  {result['manifest'] * 1e3:6.0f} ms")
    print(f"suffuse list             {result['list'] * 1e3:6.0f} ms ({result['said']})")


if __name__ == "__main__":
    main()
