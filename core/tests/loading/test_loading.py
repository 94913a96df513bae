import sys

import pytest

from suffuse.errors import BrokenPlugin, IncompatibleApi
from suffuse.hooks import KINDS
from suffuse.loading import load

GOOD = "name='x', target='a:b'"


def loaded(site, **options):
    outcome = load([site.folder()], **options)
    parts = {(p.origin.key, c.kind, c.name) for p in outcome.plugins for c in p.components}
    return parts, [f"{f.origin.key} {f.stage}: {f.error}" for f in outcome.failures]


def test_every_hook_sets_its_kind(site) -> None:
    hooks = [name for name in KINDS if name != "suffuse_parts"]
    site.add("suffuse-a", "".join(site.hook(name, GOOD) for name in hooks))
    parts, failures = loaded(site)
    assert parts == {("a", KINDS[name], "x") for name in hooks}
    assert len(parts) == 12
    assert failures == []


def test_parts_name_their_kind(site) -> None:
    hook = site.hook("suffuse_parts", GOOD + ", kind='grid'", GOOD, "name='y', target='a:b', kind='sampler'")
    site.add("suffuse-a", hook)
    parts, failures = loaded(site)
    assert parts == {("a", "grid", "x")}
    assert len(failures) == 2
    assert all("must name a kind that has no hook of its own" in failure for failure in failures)


def test_a_component_may_not_contradict_its_hook(site) -> None:
    site.add("suffuse-a", site.hook("suffuse_samplers", GOOD + ", kind='task'", GOOD + ", kind='sampler'"))
    parts, failures = loaded(site)
    assert parts == {("a", "sampler", "x")}
    assert failures == ["a hook: suffuse_samplers: 'x' says it is a 'task', but this hook returns kind 'sampler'"]


def test_one_name_in_two_kinds_is_fine_and_in_one_is_not(site) -> None:
    site.add("suffuse-a", site.hook("suffuse_samplers", GOOD, GOOD) + site.hook("suffuse_tasks", GOOD))
    parts, failures = loaded(site)
    assert parts == {("a", "sampler", "x"), ("a", "task", "x")}
    assert failures == ["a hook: suffuse_samplers: two components of kind 'sampler' are named 'x'"]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("@hookimpl\ndef suffuse_tasks(): return None", "expected an iterable of Component, got NoneType"),
        ("@hookimpl\ndef suffuse_tasks(): return 'abc'", "expected an iterable of Component, got str"),
        ("@hookimpl\ndef suffuse_tasks(): return {}", "expected an iterable of Component, got dict"),
        (f"@hookimpl\ndef suffuse_tasks(): return Component({GOOD})", "got Component"),
        ("@hookimpl\ndef suffuse_tasks(): return [3]", "got one with int"),
        (f"@hookimpl\ndef suffuse_tasks():\n yield Component({GOOD})\n raise OSError('e')", "OSError: e"),
        ("@hookimpl\ndef suffuse_tasks(): raise SystemExit", "suffuse_tasks: SystemExit"),
        ("@hookimpl\ndef suffuse_tasks(pluginmanager): return []", "suffuse_tasks takes arguments"),
        ("@hookimpl(hookwrapper=True)\ndef suffuse_tasks(): yield", "suffuse_tasks is a hook wrapper"),
        ("@hookimpl(wrapper=True)\ndef suffuse_tasks(): return (yield)", "suffuse_tasks is a hook wrapper"),
        ("@hookimpl\ndef suffuse_task(): return []", "unknown hook suffuse_task (did you mean suffuse_tasks?)"),
        ("@hookimpl\ndef elsewhere(): return []", "unknown hook elsewhere"),
        ("def suffuse_tasks(): return []", "suffuse_tasks is not a function marked @hookimpl"),
        (f"suffuse_tasks = [Component({GOOD})]", "suffuse_tasks is not a function marked @hookimpl"),
    ],
)
def test_a_faulty_hook_costs_only_itself(site, source: str, error: str) -> None:
    site.add("suffuse-a", f"\n{source}\n" + site.hook("suffuse_samplers", GOOD))
    site.add("suffuse-b", site.hook("suffuse_tasks", GOOD))
    parts, (failure,) = loaded(site)
    assert parts == {("a", "sampler", "x"), ("b", "task", "x")}
    assert failure.startswith("a hook: ")
    assert error in failure


def test_hooks_of_a_later_core_may_be_optional(site) -> None:
    site.add("suffuse-a", "\n@hookimpl(optionalhook=True)\ndef suffuse_dreams(): return []\n")
    assert loaded(site) == (set(), [])


def test_a_hook_may_have_another_function_name(site) -> None:
    site.add("suffuse-a", f"\n@hookimpl(specname='suffuse_tasks')\ndef mine(): return [Component({GOOD})]\n")
    assert loaded(site) == ({("a", "task", "x")}, [])


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise ValueError('no')", "import: ValueError: no"),
        ("raise SystemExit(2)", "import: SystemExit: 2"),
        ("import not_there", "import: ModuleNotFoundError: No module named 'not_there'"),
        ("del plugin", "manifest: suffuse_a must be a module with `plugin = Plugin(...)`, got None"),
        ("plugin = Plugin", "manifest: suffuse_a must be a module"),
        ("del plugin\ndef __getattr__(name): raise SystemExit", "manifest: suffuse_a must be a module"),
        ("def __dir__(): raise OSError('e')", "manifest: OSError: e"),
        ("import sys; sys.modules[__name__] = 3", "manifest: suffuse_a must be a module"),
    ],
)
def test_a_faulty_manifest_registers_nothing(site, source: str, error: str) -> None:
    site.add("suffuse-a", site.hook("suffuse_tasks", GOOD) + source)
    site.add("suffuse-b", site.hook("suffuse_tasks", GOOD))
    parts, (failure,) = loaded(site)
    assert parts == {("b", "task", "x")}
    assert error in failure


def test_lazy_attributes_of_a_manifest_do_not_run(site) -> None:
    lazy = "\nran = []\ndef __getattr__(name): ran.append(name); raise AttributeError(name)\n"
    lazy += "def __dir__(): return ['suffuse_metrics', 'plugin', 'suffuse_tasks']\n"
    module = site.add("suffuse-a", site.hook("suffuse_tasks", GOOD) + lazy)
    parts, (failure,) = loaded(site)
    assert parts == {("a", "task", "x")}
    assert "suffuse_metrics is not a function marked @hookimpl" in failure
    # The import system itself asks a package for its path.
    assert set(sys.modules[module].ran) <= {"__path__", "__file__"}


def test_two_plugins_with_one_manifest(site) -> None:
    site.add("suffuse-a", site.hook("suffuse_tasks", GOOD))
    site.add("suffuse-b", entry_points="[suffuse.v1]\nb = suffuse_a\n")
    parts, (failure,) = loaded(site)
    assert parts == {("a", "task", "x")}
    assert failure == "b manifest: suffuse_a is already the manifest of the plugin 'a'"


def test_an_interrupt_is_no_fault(site) -> None:
    site.add("suffuse-a", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load([site.folder()])


def test_strict_raises_the_first_fault(site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("suffuse-a", "raise ValueError('no')")
    with pytest.raises(BrokenPlugin, match=r"suffuse-a 0\.1\.0: import failed: ValueError: no") as caught:
        load([site.folder()], strict=True)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "raise ValueError('no')" in caught.value.traceback
    monkeypatch.setenv("SUFFUSE_STRICT", "1")
    with pytest.raises(BrokenPlugin):
        load([site.folder()])
    assert len(load([site.folder()], strict=False).failures) == 1
    monkeypatch.setenv("SUFFUSE_STRICT", "0")
    assert len(load([site.folder()]).failures) == 1
    site.add("suffuse-b", entry_points="[suffuse.v2]\nb = suffuse_b\n")
    with pytest.raises(IncompatibleApi):
        load([site.folder()], strict=True)


def test_blocked_plugins_are_not_imported(site, monkeypatch: pytest.MonkeyPatch) -> None:
    module = site.add("suffuse-a")
    monkeypatch.setenv("SUFFUSE_BLOCK", "a")
    load([site.folder()])
    assert module not in sys.modules
    monkeypatch.delenv("SUFFUSE_BLOCK")
    load([site.folder()])
    assert module in sys.modules
