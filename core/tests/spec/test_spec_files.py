"""Spec files, and changes by dotted path."""

from __future__ import annotations

import copy
import math

import pytest

from suffuse import parts as core
from suffuse.contracts.guidance import Guidance
from suffuse.errors import SpecError
from suffuse.spec import dump_json, dump_toml, load_json, load_toml, override, structure

SPEC = {
    "sampler": {"use": "toy/solver", "with": {"steps": 8, "grid": "suffuse/uniform"}},
    "guidance": {"use": "chain", "with": {"parts": ["toy/needy", {"use": "toy/needy", "with": {"scale": 1.5}}]}},
}


@pytest.mark.parametrize(
    ("change", "at", "value"),
    [
        ("sampler.steps=18", ("sampler", "with", "steps"), 18),
        (" sampler . steps = 1.5 ", ("sampler", "with", "steps"), 1.5),
        ("sampler.flag=true", ("sampler", "with", "flag"), True),
        ("sampler.sizes=[1, 2]", ("sampler", "with", "sizes"), [1, 2]),
        ("sampler.table={a = 1}", ("sampler", "with", "table"), {"a": 1}),
        ("sampler.end=inf", ("sampler", "with", "end"), math.inf),
        ("sampler.text='18'", ("sampler", "with", "text"), "18"),
        ("sampler.text=a=b", ("sampler", "with", "text"), "a=b"),
        ("sampler.text=1\nx = 2", ("sampler", "with", "text"), "1\nx = 2"),
        ("sampler.text=2020-01-01", ("sampler", "with", "text"), "2020-01-01"),
        ("sampler.text=", ("sampler", "with", "text"), ""),
        ("sampler=edm/heun", ("sampler",), "edm/heun"),
        ("codec=range", ("codec",), "range"),
        ("sampler.grid.start=0.5", ("sampler", "with", "grid"), {"use": "suffuse/uniform", "with": {"start": 0.5}}),
        ("guidance.parts.0.scale=2", ("guidance", "with", "parts", 0), {"use": "toy/needy", "with": {"scale": 2}}),
        ("guidance.parts.1.scale=2", ("guidance", "with", "parts", 1, "with", "scale"), 2),
        ("guidance.parts.1=cfg", ("guidance", "with", "parts", 1), "cfg"),
    ],
)
def test_override(change, at, value):
    before = copy.deepcopy(SPEC)
    changed = override(SPEC, change)
    assert before == SPEC
    expected = copy.deepcopy(SPEC)
    node = expected
    for key in at[:-1]:
        node = node[key]
    node[at[-1]] = value
    assert changed == expected


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ("sampler.steps", "", "expected an assignment"),
        ("=3", "", "expected an assignment"),
        ("sampler..steps=3", "", "expected an assignment"),
        ("sampler.terminal.x=3", "sampler", "name a part first, as in sampler.terminal=plugin/name"),
        ("codec.low=3", "", "name a part first, as in codec=plugin/name"),
        ("sampler.steps.x=3", "sampler.steps", "int 8 has no settings such as 'x'"),
        ("guidance.parts.2=cfg", "guidance.parts", "one of 2 items, from 0, got '2'"),
        ("guidance.parts.-1=cfg", "guidance.parts", "one of 2 items"),
        ("guidance.parts.²=cfg", "guidance.parts", "one of 2 items"),
        (f"guidance.parts={'[' * 70}{']' * 70}", "", "levels deep"),
    ],
)
def test_override_refuses(change, path, message):
    with pytest.raises(SpecError) as caught:
        override(SPEC, change)
    assert caught.value.path == path
    assert message in caught.value.message


def test_overrides_apply_in_order_and_meet_the_settings_later(parts, registry):
    guidance = override(SPEC, "guidance.parts.0.scale=2", "guidance.parts.0.scale=3")["guidance"]
    assert structure(guidance, Guidance, registry=registry) == core.Chain(
        parts=(parts.Needy(scale=3.0), parts.Needy(scale=1.5))
    )
    wrong = override(SPEC, "guidance.parts.0.scael=2")["guidance"]
    with pytest.raises(SpecError, match=r"unknown setting 'scael'; did you mean scale\? @ guidance.parts.0"):
        structure(wrong, Guidance, path="guidance", registry=registry)


@pytest.mark.parametrize(("dump", "load"), [(dump_toml, load_toml), (dump_json, load_json)])
def test_files_hold_specs(tmp_path, dump, load):
    file = tmp_path / "spec"
    file.write_text(dump(SPEC), encoding="utf-8")
    assert load(file) == SPEC
    with pytest.raises(SpecError, match="cannot be written"):
        dump({"a": object()})
    with pytest.raises(SpecError, match="cannot be written"):
        dump({"a": 16**5000})


def test_toml_has_no_none_and_json_no_infinity():
    for dump, value in [(dump_toml, None), (dump_json, math.inf)]:
        with pytest.raises(SpecError, match="cannot be written"):
            dump({"a": value})


@pytest.mark.parametrize(
    ("load", "text", "message"),
    [
        (load_toml, b"a = 1\nb = = 2\n", r"not valid TOML: .*line 2"),
        (load_json, b'{"a": 1,\n"b": = 2}', r"not valid JSON: .*line 2"),
        (load_toml, b"a = '\xff'", "not valid TOML"),
        (load_json, b"[1, 2]", "expected a table, got list"),
        (load_json, b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (load_toml, b"a = " + b"[" * 100_000, "levels deep"),
        (load_json, b"[" * 100_000, "levels deep"),
        (load_json, b'{"a":' * 65 + b"1" + b"}" * 65, "levels deep"),
        (load_toml, b".".join([b"a"] * 500) + b" = 1", "levels deep"),
    ],
)
def test_files_that_are_no_specs(tmp_path, load, text, message):
    file = tmp_path / "spec"
    file.write_bytes(text)
    with pytest.raises(SpecError, match=message):
        load(file)
    with pytest.raises(SpecError, match=r"cannot read .*: No such file"):
        load(tmp_path / "absent")
