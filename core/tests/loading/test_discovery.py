import sys
from pathlib import Path

import pytest

from suffuse.discovery import Switch, discover, key_of

ALL = Switch(block=frozenset(), allow=None)


def found(site, switch=ALL, folders=("site",)):
    discovery = discover([site.folder(name) for name in folders], switch)
    modules = {f.origin.key: f.module for f in discovery.found}
    return modules, [f"{f.origin.dist} {f.stage}" for f in discovery.failures], discovery


@pytest.mark.parametrize(
    ("dist", "key"),
    [
        ("suffuse", "suffuse"),
        ("suffuse-edm", "edm"),
        ("suffuse-dpm-solver-pp", "dpm-solver-pp"),
        ("their-package", "their-package"),
        ("suffusion", "suffusion"),
        # The core's key cannot be had by another.
        ("suffuse-suffuse", "suffuse-suffuse"),
        ("suffuse-suffuse-edm", "suffuse-edm"),
    ],
)
def test_key_is_the_distribution_name(dist: str, key: str) -> None:
    assert key_of(dist) == key


def test_finds_plugins_in_order_and_imports_none(site) -> None:
    for dist in ("suffuse-b", "suffuse-a", "other", "Suffuse.C_d"):
        site.add(dist)
    site.add("unrelated", entry_points="[console_scripts]\nx = y:z\n")
    modules, failures, discovery = found(site)
    assert modules == {"a": "suffuse_a", "b": "suffuse_b", "c-d": "suffuse_c_d", "other": "other"}
    assert list(modules) == sorted(modules)
    assert failures == []
    origin = discovery.found[0].origin
    assert (origin.dist, origin.version, origin.key) == ("suffuse-a", "0.1.0", "a")
    assert Path(origin.path, "METADATA").exists()
    assert not {"suffuse_a", "suffuse_b", "other"} & set(sys.modules)


def test_metadata_names_what_the_folder_does_not(site) -> None:
    site.add("suffuse-a", metadata_folder="suffuse_a.egg-info", version="7.0")
    modules, _, discovery = found(site)
    assert modules == {"a": "suffuse_a"}
    assert discovery.found[0].origin.version == "7.0"


@pytest.mark.parametrize(
    ("entry_points", "stage"),
    [
        ("[suffuse.v2]\na = suffuse_a\n", "api"),
        ("[suffuse.v0]\na = suffuse_a\n", "api"),
        ("[suffuse.v1]\nb = suffuse_a\n", "key"),
        ("[suffuse.v1]\na = suffuse_a:plugin\n", "key"),
        ("[suffuse.v1]\na = suffuse_a\na = suffuse_b\n", "key"),
    ],
)
def test_refuses_before_import(site, entry_points: str, stage: str) -> None:
    site.add("suffuse-a", entry_points=entry_points)
    modules, failures, _ = found(site)
    assert modules == {}
    assert failures == [f"suffuse-a {stage}"]


def test_other_majors_beside_ours_are_no_fault(site) -> None:
    site.add("suffuse-a", entry_points="[suffuse.v1]\na = suffuse_a\n[suffuse.v2]\na = suffuse_a.two\n")
    assert found(site)[:2] == ({"a": "suffuse_a"}, [])


def test_which_side_to_upgrade(site) -> None:
    site.add("suffuse-a", entry_points="[suffuse.v0]\na = suffuse_a\n")
    site.add("suffuse-b", entry_points="[suffuse.v10]\nb = suffuse_b\n")
    cures = [failure.cure for failure in found(site)[2].failures]
    assert cures[0].startswith("upgrade suffuse-a, or")
    assert cures[1].startswith("upgrade suffuse, or")


def test_claiming_another_key_leaves_the_owner_alone(site) -> None:
    site.add("suffuse-a")
    site.add("suffuse-evil", entry_points="[suffuse.v1]\na = suffuse_evil\nevil = suffuse_evil\n")
    modules, failures, _ = found(site)
    assert modules == {"a": "suffuse_a", "evil": "suffuse_evil"}
    assert failures == ["suffuse-evil key"]


def test_the_first_on_the_path_wins(site) -> None:
    site.add("suffuse-a", folder="second", version="2.0")
    site.add("suffuse-a", folder="site", version="1.0")
    for folders, version in ((("site", "second"), "1.0"), (("second", "site"), "2.0")):
        _, failures, discovery = found(site, folders=folders)
        assert [f.origin.version for f in discovery.found] == [version]
        assert failures == ["suffuse-a discovery"]


def test_of_one_key_the_first_on_the_path_wins_then_ours(site) -> None:
    site.add("a", folder="site")
    site.add("suffuse-a", folder="site")
    assert found(site)[:2] == ({"a": "suffuse_a"}, ["a discovery"])
    site.add("a", folder="second")
    assert found(site, folders=("second", "site"))[0] == {"a": "a"}


def test_one_installation_seen_twice_is_no_fault(site, tmp_path: Path) -> None:
    site.add("suffuse-a")
    (tmp_path / "lib64").symlink_to(site.folder())
    site.add("suffuse-a", folder="second", metadata_folder="suffuse_a.egg-info")
    assert found(site, folders=("site", "lib64", "second"))[1] == []
    site.add("suffuse-b")
    site.add("suffuse-b", folder="second", metadata_folder="suffuse_b.egg-info", version="9")
    assert found(site, folders=("site", "second"))[1] == ["suffuse-b discovery"]


def test_switches_act_before_any_check(site) -> None:
    site.add("suffuse-a")
    site.add("suffuse-b", entry_points="[suffuse.v2]\nb = suffuse_b\n")
    modules, failures, discovery = found(site, Switch(block=frozenset({"b"}), allow=None))
    assert (list(modules), failures) == (["a"], [])
    assert [(origin.dist, by) for origin, by in discovery.blocked] == [("suffuse-b", "SUFFUSE_BLOCK")]
    modules, failures, discovery = found(site, Switch(block=frozenset(), allow=frozenset({"suffuse-a", "c"})))
    assert (list(modules), failures) == (["a"], ["c discovery"])
    assert [(origin.dist, by) for origin, by in discovery.blocked] == [("suffuse-b", "SUFFUSE_PLUGINS")]


def test_a_distribution_name_blocks_one_of_two_with_its_key(site) -> None:
    site.add("zz")
    site.add("suffuse-zz")
    block = Switch(block=frozenset({"suffuse-zz"}), allow=None)
    assert found(site, block)[:2] == ({"zz": "zz"}, [])


def test_switches_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUFFUSE_BLOCK", raising=False)
    monkeypatch.delenv("SUFFUSE_PLUGINS", raising=False)
    assert Switch.make(None, None) == ALL
    monkeypatch.setenv("SUFFUSE_BLOCK", " a, ,b ")
    monkeypatch.setenv("SUFFUSE_PLUGINS", "")
    assert Switch.make(None, None) == Switch(block=frozenset({"a", "b"}), allow=frozenset())
    assert Switch.make([], ["c"]) == Switch(block=frozenset(), allow=frozenset({"c"}))


def test_the_core_needs_no_allowance_but_can_be_blocked(site) -> None:
    site.add("suffuse", entry_points="[suffuse.v1]\nsuffuse = suffuse._plugin\n")
    assert list(found(site, Switch(block=frozenset(), allow=frozenset()))[0]) == ["suffuse"]
    assert found(site, Switch(block=frozenset({"suffuse"}), allow=None))[0] == {}


def test_torn_metadata_of_ours_is_told_and_of_others_is_not(site) -> None:
    site.add("suffuse-a")
    site.add("suffuse-b", entry_points="[suffuse.v1]\nsuffuse.v1 this is no entry\n")
    site.add("unrelated", entry_points="")
    info = Path(site.folder(), "unrelated-0.1.0.dist-info", "entry_points.txt")
    info.write_bytes(b"[console_scripts]\n\xff = suffuse.v1\n")
    modules, failures, _ = found(site)
    assert modules == {"a": "suffuse_a"}
    assert failures == ["suffuse-b discovery"]
