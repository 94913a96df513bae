import sys
from pathlib import Path

import pytest

from suffuse import registry as registry_module
from suffuse.catalogue import known
from suffuse.errors import AmbiguousName, BrokenPlugin, IncompatibleApi, MissingPlugin, UnknownComponent
from suffuse.registry import Registry

PARTS = """
import attrs

@attrs.frozen
class Heun:
    steps: int = 18

    @attrs.frozen
    class Inner:
        pass

class Plain:
    pass

class Heir(Heun):
    churn: float = 0.0

def claim(): ...
"""


@pytest.fixture
def registry(site) -> Registry:
    """Plugins `a` and `b`; both have a sampler `heun`, and `a` a task `both` and a metric `both`."""
    module = site.add(
        "suffuse-a",
        site.hook(
            "suffuse_samplers",
            "name='heun', target='suffuse_a.parts:Heun', gives={'order-2', 'ode'}",
            "name='inner', target='suffuse_a.parts:Heun.Inner', gives={'ode'}",
            "name='plain', target='suffuse_a.parts:Plain'",
            "name='heir', target='suffuse_a.parts:Heir'",
            "name='gone', target='suffuse_a.parts:Gone'",
            "name='function', target='suffuse_a.parts:claim'",
        )
        + site.hook("suffuse_tasks", "name='both', target='suffuse_a.parts:Heun'")
        + site.hook("suffuse_metrics", "name='both', target='suffuse_a.nowhere:X'")
        + site.hook("suffuse_claims", "name='claim', target='suffuse_a.parts:claim'")
        + site.hook("suffuse_parts", "name='linear', target='suffuse_a.parts:Heun', kind='grid'"),
    )
    Path(site.folder(), module, "parts.py").write_text(PARTS)
    module = site.add("suffuse-b", site.hook("suffuse_samplers", "name='heun', target='suffuse_b.api:Heun'"))
    Path(site.folder(), module, "parts.py").write_text(PARTS)
    Path(site.folder(), module, "api.py").write_text("from suffuse_b.parts import Heun")
    return Registry.load([site.folder()])


def test_find(registry: Registry) -> None:
    def refs(**filters):
        return [entry.ref for entry in registry.find(**filters)]

    assert len(refs()) == 11
    assert refs(kind="sampler", gives="ode") == ["a/heun", "a/inner"]
    assert refs(gives=["ode", "order-2"]) == ["a/heun"]
    assert refs(plugin="b") == ["b/heun"]
    assert refs(kind="process") == []
    assert registry.kinds()[-1] == "grid"
    assert len(registry.kinds()) == 13


def test_finding_imports_no_target(registry: Registry) -> None:
    registry.find()
    registry.get("a/heun")
    assert {"suffuse_a", "suffuse_b"} <= set(sys.modules)
    assert not {"suffuse_a.parts", "suffuse_b.parts"} & set(sys.modules)


def test_get_by_reference_and_by_short_name(registry: Registry) -> None:
    entry = registry.get("b/heun")
    assert (entry.ref, entry.kind, entry.origin.dist, entry.paper.year) == (
        "b/heun",
        "sampler",
        "suffuse-b",
        2022,
    )
    assert registry.get("inner").ref == "a/inner"
    assert registry.get("linear", "grid").ref == "a/linear"
    assert registry.origin("b/heun").key == "b"
    assert registry.origin("a/both").key == "a"  # of two kinds, and one plugin


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("heun",), AmbiguousName, "'heun' is ambiguous: write one of a/heun, b/heun"),
        (("a/both",), AmbiguousName, "'a/both' is ambiguous: it is of several kinds (metric, task), say which"),
        (("both",), AmbiguousName, "several kinds"),
        (("a/hen",), UnknownComponent, "unknown 'a/hen'; did you mean a/heun"),
        (("inne",), UnknownComponent, "unknown 'inne'; did you mean a/inner"),
        (("INNER",), UnknownComponent, "did you mean a/inner"),
        (("inner", "task"), UnknownComponent, "unknown task 'inner': a/inner is of kind sampler"),
        (("xyzzy",), UnknownComponent, "unknown 'xyzzy'"),
        ((None,), UnknownComponent, "expected a reference like 'edm/heun', got None"),
        (("",), UnknownComponent, "expected a reference"),
        (("edm/heun",), MissingPlugin, "'edm/heun' needs a plugin: pip install suffuse-edm"),
        (("aa/heun",), MissingPlugin, "neither installed nor known to suffuse; did you mean a?"),
        (("evil-pkg/heun",), MissingPlugin, "the plugin 'evil-pkg' of 'evil-pkg/heun' is neither installed nor"),
    ],
)
def test_get_refuses(registry: Registry, arguments: tuple, error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        registry.get(*arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_catalogue_gets_an_install_line(registry: Registry) -> None:
    for key in ("evil-pkg", "suffuse", "../edm", "edm;rm"):
        with pytest.raises(MissingPlugin) as caught:
            registry.get(f"{key}/x")
        assert "install " not in str(caught.value)


def test_get_says_why_an_installed_plugin_cannot_be_used(site) -> None:
    site.add("suffuse-edm", "raise ValueError('no')")
    site.add("suffuse-ddpm", entry_points="[suffuse.v2]\nddpm = x\n")
    site.add("suffuse-dps")
    site.add("suffuse-dit", "\n@hookimpl\ndef suffuse_tasks(): raise OSError('e')\n")
    site.add("suffuse-mlp", entry_points="[suffuse.v1]\nedm = suffuse_mlp\n")
    registry = Registry.load([site.folder()], block=["dps"])
    with pytest.raises(BrokenPlugin, match=r"'edm/heun' cannot be had: .*ValueError: no") as caught:
        registry.get("edm/heun")
    assert "raise ValueError('no')" in caught.value.traceback
    with pytest.raises(IncompatibleApi, match=r"made for suffuse\.v2"):
        registry.get("ddpm/ddpm")
    with pytest.raises(MissingPlugin, match="SUFFUSE_BLOCK switches the plugin 'dps' off"):
        registry.get("dps/dps")
    with pytest.raises(BrokenPlugin, match="suffuse_tasks: OSError: e"):
        registry.get("dit/task")
    with pytest.raises(BrokenPlugin, match="may only use 'mlp'"):
        registry.get("mlp/mlp")
    with pytest.raises(UnknownComponent, match=r"\(4 faults in installed plugins: see `suffuse doctor`\)"):
        registry.get("task")
    assert [loaded.origin.key for loaded in registry.plugins()] == ["dit"]


def test_a_plugin_named_for_loading_that_is_not_installed(site) -> None:
    registry = Registry.load([site.folder()], allow=["edm"])
    assert [failure.origin.dist for failure in registry.failures] == ["edm"]
    with pytest.raises(MissingPlugin, match="pip install suffuse-edm"):
        registry.get("edm/heun")


def test_resolve(registry: Registry) -> None:
    heun = registry.resolve("a/heun")
    assert heun(steps=3).steps == 3
    assert registry.resolve("a/heun") is heun
    assert registry.resolve("inner") is heun.Inner
    assert registry.resolve("a/both", "task") is heun
    assert callable(registry.resolve("a/claim"))
    assert registry.failures == ()


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("a/gone", "has no attribute 'Gone'"),
        ("a/plain", "expected an attrs class, whose fields are the settings, got <class 'suffuse_a.parts.Plain'>"),
        ("a/heir", "expected an attrs class"),
        ("a/function", "expected an attrs class"),
        ("a/both", "No module named 'suffuse_a.nowhere'"),
    ],
)
def test_resolve_refuses_and_keeps_the_fault_once(registry: Registry, ref: str, message: str) -> None:
    for _ in range(2):
        with pytest.raises(BrokenPlugin) as caught:
            registry.resolve(ref, "metric" if ref == "a/both" else None)
        assert message in str(caught.value)
        assert caught.value.traceback
    (failure,) = registry.failures
    assert (failure.stage, failure.origin.key) == ("resolve", "a")
    # The plugin's other parts are as they were.
    assert registry.resolve("a/heun")
    with pytest.raises(UnknownComponent, match="a/hen"):
        registry.get("a/hen")


def test_ref_of_imports_nothing_and_finds_what_a_target_exports(registry: Registry) -> None:
    import suffuse_a.parts
    import suffuse_b.parts

    modules = set(sys.modules)
    assert registry.ref_of(suffuse_a.parts.Heun) == "a/heun"
    assert registry.ref_of(suffuse_a.parts.Heun, "grid") == "a/linear"
    assert registry.ref_of(suffuse_a.parts.Heun.Inner) == "a/inner"
    with pytest.raises(UnknownComponent, match=r"suffuse_b\.parts:Heun is registered by no plugin"):
        registry.ref_of(suffuse_b.parts.Heun)
    assert set(sys.modules) == modules
    assert registry.resolve("b/heun") is suffuse_b.parts.Heun
    assert registry.ref_of(suffuse_b.parts.Heun) == "b/heun"
    for other in (int, None):
        with pytest.raises(UnknownComponent, match="registered by no plugin"):
            registry.ref_of(other)


def test_ref_of_sees_an_imported_reexport_without_resolving(registry: Registry) -> None:
    import suffuse_b.api

    assert registry.ref_of(suffuse_b.api.Heun) == "b/heun"


def test_the_process_has_one_registry() -> None:
    assert registry_module.registry() is registry_module.registry()
    assert "suffuse" in [loaded.origin.key for loaded in registry_module.registry().plugins()]


def test_the_core_parts_resolve() -> None:
    registry = Registry.load(allow=[])
    for entry in registry.find(plugin="suffuse"):
        assert registry.ref_of(registry.resolve(entry.ref, entry.kind), entry.kind) == entry.ref
    assert registry.failures == ()


def test_catalogue_has_keys_only() -> None:
    text = Path(registry_module.__file__).with_name("catalogue.txt").read_text()
    assert text.split() == sorted(set(text.split()))
    assert {"edm", "ddim", "digits", "dpm-solver-pp"} <= known()
    assert all(key.replace("-", "").isalnum() and key == key.lower() for key in known())
