"""Composition from specs, and what is refused before torch is imported."""

from __future__ import annotations

import copy
import subprocess
import sys
import typing

import attrs
import pytest
import torch

from suffuse.contracts.part import Part
from suffuse.errors import AmbiguousName, IncompatibleComponents, MissingPlugin, SpecError, UnknownComponent
from suffuse.preconditioned import Preconditioned
from suffuse.spec import check_spec, compose, override, structure, unstructure
from suffuse.spec.compose import POSITIONS, REQUIRED
from suffuse.system import System

SPEC = {
    "model": {
        "use": "suffuse/preconditioned",
        "with": {"backbone": "toy/net", "parameterization": "toy/v", "trained": {"use": "toy/vp"}},
    },
    "space": {"use": "suffuse/euclidean", "with": {"shape": [4]}},
    "sampler": {"use": "toy/solver", "with": {"steps": 8, "grid": {"use": "log-snr", "with": {"start": 0.9}}}},
    "guidance": {"use": "chain", "with": {"parts": [{"use": "toy/needy", "with": {"scale": 2}}]}},
}


def test_positions_are_the_fields_of_a_system():
    hints = typing.get_type_hints(System)
    for a in attrs.fields(System):
        types = typing.get_args(hints[a.name]) or (hints[a.name],)
        kinds = tuple(t.kind for t in types if isinstance(t, type) and issubclass(t, Part))
        assert POSITIONS[a.name] == kinds
        assert (a.name in REQUIRED) == (a.default is attrs.NOTHING)
    assert len(POSITIONS) == len(attrs.fields(System))


def test_compose(parts, registry):
    before = copy.deepcopy(SPEC)
    system = compose(SPEC, registry=registry)
    assert before == SPEC
    assert isinstance(system.model, Preconditioned)
    assert system.process is system.model.trained
    assert system.sampler.grid.start == 0.9
    spec = unstructure(system, registry=registry)
    # The process is the model's own, one object: written twice it would become two.
    assert "process" not in spec
    again = compose(spec, registry=registry)
    assert unstructure(again, registry=registry) == spec
    assert (again.process, again.sampler, again.guidance) == (system.process, system.sampler, system.guidance)
    weight = system.model.backbone.blocks["in"].weight
    assert torch.equal(weight, again.model.backbone.blocks["in"].weight)
    assert not torch.equal(weight, compose(spec, registry=registry, seed=1).model.backbone.blocks["in"].weight)
    other = compose({**SPEC, "process": {"use": "toy/vp", "with": {"end": 0.5}}}, registry=registry)
    spec = unstructure(other, registry=registry)
    assert spec["process"]["with"] == {"end": 0.5}
    assert compose(spec, registry=registry).process == other.process != other.model.trained


def test_parts_by_path(registry):
    found = {path: entry.ref for path, entry in check_spec(SPEC, registry).items()}
    assert found == {
        "model": "suffuse/preconditioned",
        "model.trained": "toy/vp",
        "space": "suffuse/euclidean",
        "sampler": "toy/solver",
        "sampler.grid": "suffuse/log-snr",
        "guidance": "suffuse/chain",
        "guidance.parts.0": "toy/needy",
    }
    assert list(check_spec({"use": "toy/vp"}, registry)) == [""]


def test_all_missing_plugins_are_named_together(registry):
    spec = override(SPEC, "sampler=absent/one", "guidance.parts.0={use = 'gone/two'}", "codec=toy/nothing")
    with pytest.raises(MissingPlugin) as caught:
        check_spec(spec, registry)
    assert "absent" in str(caught.value)
    assert "guidance.parts.0" in str(caught.value)
    assert "gone" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "error", "path", "message"),
    [
        ("sampler=toy/slover", UnknownComponent, "sampler", "did you mean toy/solver"),
        ("sampler=absent/x", MissingPlugin, "sampler", "absent"),
        ("sampler=uniform", SpecError, "sampler", "expected sampler, got the grid suffuse/uniform or the times"),
        ("model=toy/vp", SpecError, "model", "expected denoiser or generator, got the process toy/vp"),
        ("sampler.grid={use = 'v'}", AmbiguousName, "sampler.grid", "toy/v"),
        ("sampler.grid={use = 3}", SpecError, "sampler.grid", "expected a reference under 'use'"),
        ("sampler.grid={use = 'uniform', wiht = {}}", SpecError, "sampler.grid", "unknown key 'wiht' beside 'use'"),
        ("smapler=toy/solver", SpecError, "", "unknown part 'smapler'; did you mean sampler?"),
        ("space=3", SpecError, "space", "expected a part"),
    ],
)
def test_refused_before_torch(registry, change, error, path, message):
    with pytest.raises(error) as caught:
        check_spec(override(SPEC, change), registry)
    assert caught.value.path == path
    assert message in caught.value.message


def test_required_parts(registry):
    with pytest.raises(SpecError, match="required @ space"):
        check_spec({"model": SPEC["model"]}, registry)
    with pytest.raises(SpecError, match=r"expected a part, .* got none @ space"):
        check_spec({**SPEC, "space": None}, registry)
    with pytest.raises(SpecError, match="expected a spec's table, got list"):
        check_spec([SPEC], registry)
    check_spec({**SPEC, "guidance": None}, registry)
    assert compose({**SPEC, "guidance": None}, registry=registry).guidance is None


def test_capabilities(registry):
    # Nothing is conditional: the message says who could be.
    with pytest.raises(IncompatibleComponents, match=r"guidance.parts.0: toy/needy needs 'conditional'.*toy/net"):
        check_spec(override(SPEC, "model=toy/own"), registry)
    # The process that the model was trained with is not in the spec: it may be anything.
    check_spec({"model": "toy/own", "space": SPEC["space"], "sampler": "toy/solver"}, registry)
    # It is: and it does not fit.
    leap = override(SPEC, "model.trained=toy/leap")
    for spec in (leap, override(SPEC, "model.trained={use = 'toy/leap'}")):
        with pytest.raises(IncompatibleComponents, match="needs 'gaussian', which nothing here gives"):
            check_spec(spec, registry)
    # So says the type of the setting, once it is known.
    with pytest.raises(SpecError, match=r"expected Gaussian, got the process toy/leap, which is none @ model.trained"):
        structure(leap, System, registry=registry)


def test_check_spec_imports_no_torch():
    code = """
import sys
from suffuse.errors import IncompatibleComponents, SpecError
from suffuse.spec import check_spec, dump_json, dump_toml, override
spec = {
    "model": {"use": "suffuse/preconditioned", "with": {"backbone": "x", "parameterization": "y", "trained": "z"}},
    "space": {"use": "suffuse/euclidean", "with": {"shape": [4]}},
    "guidance": {"use": "interval", "with": {"guidance": {"use": "chain"}}},
}
dump_toml(spec), dump_json(spec), override(spec, "space.shape=[2]")
assert len(check_spec(spec | {"codec": "range"})) == 5
try:
    check_spec({"model": "range", "space": "euclidean"})
except SpecError as error:
    print(error)
assert "torch" not in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "expected denoiser or generator, got the codec suffuse/range @ model\n"
