"""Reading and writing specs."""

from __future__ import annotations

import math
from pathlib import Path

import attrs
import pytest
import torch

from suffuse import parts as core
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoiser
from suffuse.contracts.network import Backbone, Codec
from suffuse.contracts.objective import Times, Weighting
from suffuse.contracts.part import Part
from suffuse.contracts.process import Gaussian, Process
from suffuse.contracts.sampler import Grid, Terminal
from suffuse.contracts.space import Euclidean, Space, Tokens
from suffuse.errors import AmbiguousName, MissingPlugin, SpecError, SuffuseError, UnknownComponent
from suffuse.preconditioned import Preconditioned
from suffuse.spec import describe, dump_json, dump_toml, structure, unstructure

CORE = [
    (Grid, core.Uniform(start=0.5)),
    (Grid, core.LogSnr(start=0.9, end=0.1)),
    (Terminal, core.ToZero()),
    (Terminal, core.Stop()),
    (Terminal, core.AtMean()),
    (Guidance, core.Clip(low=-0.5)),
    (Codec, core.Identity()),
    (Codec, core.Range(low=-2.0, high=5.0)),
    (Codec, core.Range(low=-math.inf, high=5)),
    (Times, core.UniformTimes()),
    (Weighting, core.UnitWeight()),
    (Space, Euclidean(shape=(1, 8, 8))),
    (Space, Tokens(shape=(3,), symbols=4)),
]


@pytest.mark.parametrize(("contract", "part"), CORE, ids=lambda v: getattr(v, "__name__", None))
def test_core_parts_come_back_equal(contract, part):
    spec = unstructure(part)
    assert spec["use"].startswith("suffuse/")
    assert structure(spec, contract) == part
    assert unstructure(structure(spec, contract)) == spec
    dump_toml(spec)
    dump_json(spec)


def test_every_core_part_is_tested_here():
    from suffuse.registry import registry

    modules = {"chain", "interval", "preconditioned"}  # below, for they need parts that the core has not
    tested = {unstructure(part)["use"].removeprefix("suffuse/") for _, part in CORE}
    assert {e.component.name for e in registry().find(plugin="suffuse")} == tested | modules


def test_manifest_agrees_with_the_classes():
    from suffuse.registry import registry

    for entry in registry().find(plugin="suffuse"):
        cls = registry().resolve(entry.ref, entry.kind)
        gives = frozenset().union(*(vars(c).get("provides", ()) for c in cls.__mro__))
        assert (entry.kind, entry.component.needs, entry.component.gives) == (cls.kind, cls.needs, gives), entry.ref


def test_every_type_of_setting_comes_back(parts, registry):
    inner = parts.Everything(scale=math.inf, inner=core.Chain(parts=(parts.Needy(scale=2),)))
    part = parts.Everything(
        scale=2.5,
        count=7,
        flag=True,
        text="ü\n\"'",
        mode=1,
        named="right",
        sizes=(),
        pair=(3, -0.25),
        many=[1.0, -math.inf],
        bag=frozenset({"b", "a"}),
        table={"a b.c": 1e-300},
        maybe=0.0,
        number=0.5,
        shape=(2, 3),
        where=Path("some/where"),
        anything=[1, {"k": "v"}],
        inner=inner,
        grids={"first": core.LogSnr()},
        start=core.Uniform(start=0.25),
        window=parts.Window(width=5, grid=core.Uniform()),
    )
    spec = unstructure(part, registry=registry)
    assert structure(spec, Guidance, registry=registry) == part
    assert structure(spec, parts.Everything, registry=registry) == part


def test_all_settings_are_written_but_none():
    assert unstructure(core.LogSnr())["with"] == {"start": 1.0, "end": 1e-3, "lowest": -10.0}


def test_nothing_but_what_was_given(parts, registry):
    spec = unstructure(parts.Everything(), registry=registry)
    absent = set(attrs.fields_dict(parts.Everything)) - set(spec["with"])
    assert absent == {"maybe", "anything", "inner"}


def test_short_forms(parts, registry):
    chain = {"use": "chain", "with": {"parts": ["everything", {"use": "toy/needy", "with": {"scale": 3}}]}}
    made = structure(chain, Guidance, registry=registry)
    assert made == core.Chain(parts=(parts.Everything(), parts.Needy(scale=3.0)))
    assert isinstance(made.parts[1].scale, float)
    # "uniform" is a grid here and a time distribution there: the setting's type chooses.
    assert structure("uniform", Grid, registry=registry) == core.Uniform()
    assert structure("uniform", Times, registry=registry) == parts.UniformToo()
    with pytest.raises(AmbiguousName, match="ambiguous"):
        structure("uniform", Grid | Times, registry=registry)
    with pytest.raises(AmbiguousName):
        structure("uniform", Part, registry=registry)


def everything(**settings):
    return {"use": "toy/everything", "with": settings}


WRONG = [
    (everything(scale="x"), "scale", "expected float, got str 'x'"),
    (everything(scale=True), "scale", "expected float, got bool True"),
    (everything(scale=math.nan), "scale", "expected float, got NaN"),
    (everything(scale=None), "scale", "expected float, got none"),
    (everything(scale=10**400), "scale", "OverflowError"),
    (everything(scale=-1), "scale", "scale must be at least 0, got -1.0"),
    (everything(count=7.9), "count", "expected int, got float 7.9"),
    (everything(count=7.0), "count", "expected int, got float 7.0"),
    (everything(count=True), "count", "expected int, got bool True"),
    (everything(count="7"), "count", "expected int, got str '7'"),
    (everything(count=100), "count", "count must be below 100, got 100"),
    (everything(flag=1), "flag", "expected bool, got int 1"),
    (everything(text=1), "text", "expected str, got int 1"),
    (everything(text=16**5000), "text", "ValueError"),
    (everything(mode="v"), "mode", "expected one of 'x0', 'eps', 1, got str 'v'"),
    (everything(mode=True), "mode", "expected one of 'x0', 'eps', 1, got bool True"),
    (everything(named="up"), "named", "must be one of 'left', 'right', got 'up'"),
    (everything(sizes="12"), "sizes", "expected list of int, got str '12'"),
    (everything(sizes=[1, 2.5]), "sizes.1", "expected int, got float 2.5"),
    (everything(pair=[1]), "pair", "expected a list of 2, got 1 items"),
    (everything(pair=[1, "x"]), "pair.1", "expected float, got str 'x'"),
    (everything(table=[1]), "table", "expected table of float, got list [1]"),
    (everything(table={"a": "x"}), "table.a", "expected float, got str 'x'"),
    (everything(table={1: 1.0}), "table", "expected table of float"),
    (everything(maybe="x"), "maybe", "expected float, got str 'x'"),
    (everything(number="x"), "number", "expected int or float, got str 'x'"),
    (everything(shape="x"), "shape", "expected int or list of int, got str 'x'"),
    (everything(where=3), "where", "expected str, got int 3"),
    (everything(inner=3), "inner", "expected a part, such as 'plugin/name' or {use = 'plugin/name'}, got int 3"),
    (everything(inner={"with": {}}), "inner", "expected a part"),
    (everything(inner={"use": "needy", "scale": 1}), "inner", "unknown key 'scale' beside 'use': settings go under"),
    (everything(inner={"use": 3}), "inner", "expected a reference under 'use'"),
    (everything(inner="needy"), "inner.scale", "this setting is required"),
    (
        everything(inner="uniform"),
        "inner",
        "expected guidance, got the grid suffuse/uniform or the times other/uniform",
    ),
    (everything(inner={"use": "toy/vp"}), "inner", "expected guidance, got the process toy/vp"),
    (
        everything(inner=everything(inner=everything(coutn=1))),
        "inner.inner",
        "unknown setting 'coutn'; did you mean count?",
    ),
    (everything(inner={"use": "chain", "with": {"parts": []}}), "inner.parts", "is empty"),
    (everything(inner={"use": "interval", "with": {"guidance": "needy"}}), "inner.guidance.scale", "is required"),
    (
        everything(inner={"use": "interval", "with": {"guidance": everything(), "low": 0.5, "high": 0.25}}),
        "inner",
        "low must be at most high",
    ),
    (everything(grids={"a": "log-snr", "b": {"use": "log-snr", "with": {"end": 0}}}), "grids.b.end", "must be above 0"),
    (everything(start="nope"), "start", "unknown grid 'nope'"),
    (everything(window=3), "window", "expected the settings of Window by name, got int 3"),
    (everything(window={"widht": 3}), "window", "did you mean width?"),
    (everything(window={"grid": "stop"}), "window.grid", "expected grid, got the terminal suffuse/stop"),
    ({"use": "toy/hopper", "with": {"jump": "toy/vp"}}, "jump", "expected Jump, got the process toy/vp, which is none"),
    (
        {"use": "toy/hopper", "with": {"jump": "leap", "both": "stop"}},
        "both",
        "expected grid or times, got the terminal",
    ),
]


@pytest.mark.parametrize(("spec", "path", "message"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_specs_say_where_and_what(registry, spec, path, message):
    with pytest.raises(SpecError if "unknown grid" not in message else UnknownComponent) as caught:
        structure(spec, Guidance, path="guidance", registry=registry)
    assert caught.value.path == f"guidance.{path}"
    assert message in caught.value.message
    assert "\n" not in str(caught.value)


def test_unknown_references_and_missing_plugins_carry_the_path(registry):
    for ref, error in [("toy/evrything", UnknownComponent), ("absent/x", MissingPlugin)]:
        with pytest.raises(error) as caught:
            structure(everything(inner=ref), Guidance, registry=registry)
        assert caught.value.path == "inner"


def test_a_capability_that_is_no_part_can_be_a_type(parts, registry):
    made = structure({"use": "hopper", "with": {"jump": "toy/leap", "both": "log-snr"}}, Guidance, registry=registry)
    assert made == parts.Hopper(jump=parts.Leap(), both=core.LogSnr())


def test_a_type_for_type_checkers_only_is_reported(registry):
    with pytest.raises(SpecError, match=r"Hidden.task: its type 'Task' needs Task at run time"):
        structure({"use": "hidden", "with": {"task": "x"}}, Guidance, registry=registry)


def test_constructors_may_fail_in_any_way(registry):
    with pytest.raises(SpecError, match="num_channels") as caught:
        structure({"use": "net", "with": {"inner": {"use": "net", "with": {"groups": 3}}}}, Backbone, registry=registry)
    assert caught.value.path == "inner"
    assert isinstance(caught.value.__cause__, ValueError)


def test_depth_is_limited(registry):
    spec = everything()
    for _ in range(20):
        spec = everything(inner=spec)
    structure(spec, Guidance, registry=registry)
    for _ in range(20_000):
        spec = everything(inner=spec)
    with pytest.raises(SpecError, match="levels deep"):
        structure(spec, Guidance, registry=registry)
    cycle = everything()
    cycle["with"]["inner"] = cycle
    with pytest.raises(SpecError, match="levels deep"):
        structure(cycle, Guidance, registry=registry)


def test_what_cannot_be_written(parts, registry):
    for value, path, message in [
        (parts.Stranger(), "start", "Stranger is registered by no plugin"),
        (math.nan, "anything", "expected what a spec can hold, got float nan"),
        ([1, None], "anything.1", "got none"),
        (torch.zeros(2), "anything", "got Tensor"),
    ]:
        with pytest.raises(SpecError) as caught:
            unstructure(parts.Everything(**{path.split(".")[0]: value}), registry=registry)
        assert caught.value.path == path
        assert message in caught.value.message


MODEL = {
    "use": "preconditioned",
    "with": {
        "backbone": {"use": "net", "with": {"width": 6, "inner": "net"}},
        "parameterization": "toy/v",
        "trained": {"use": "vp", "with": {"end": 0.5}},
    },
}


def weights(model):
    return torch.cat([p.flatten() for p in [*model.backbone.parameters(), *model.backbone.inner.parameters()]])


def test_networks_come_from_the_seed_alone(registry):
    before = torch.get_rng_state()
    one = structure(MODEL, Denoiser, registry=registry)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(weights(one), weights(structure(MODEL, Denoiser, registry=registry, seed=0)))
    assert not torch.equal(weights(one), weights(structure(MODEL, Denoiser, registry=registry, seed=1)))
    with pytest.raises(SuffuseError):
        structure({"use": "net", "with": {"groups": 3}}, Backbone, registry=registry)
    torch.set_rng_state(before)
    first = torch.rand(3)
    torch.set_rng_state(before)
    describe("toy/own", registry=registry)
    assert torch.equal(torch.rand(3), first)


def test_networks_can_be_made_without_memory(registry):
    with torch.device("meta"):
        net = structure("net", Backbone, registry=registry)
    assert {p.device.type for p in net.parameters()} == {"meta"}


def test_networks_have_equal_specs_again(registry):
    made = structure(MODEL, Denoiser, registry=registry)
    assert isinstance(made, Preconditioned)
    spec = unstructure(made, registry=registry)
    assert spec["with"]["backbone"]["with"]["inner"] == {"use": "toy/net", "with": {"width": 4, "groups": 1}}
    assert unstructure(structure(spec, Denoiser, registry=registry), registry=registry) == spec
    assert made.trained == structure(spec, Denoiser, registry=registry).trained


def test_a_learned_process_can_be_made_and_written(registry):
    made = structure("trained", Gaussian, registry=registry)
    assert unstructure(made, registry=registry) == {"use": "toy/trained", "with": {}}
    assert structure("trained", Process, registry=registry).slope == made.slope


def test_describe(registry):
    info = {s.name: s for s in describe("toy/everything", registry=registry)}
    assert attrs.asdict(info["scale"]) == {
        "name": "scale", "type": "float", "default": "1.0", "doc": "how much", "range": ">= 0",
    }  # fmt: skip
    assert info["count"].range == ">= 1, < 100"
    assert info["named"].range == "one of 'left', 'right'"
    assert info["sizes"].default == "[ 1, 2 ]"
    assert info["maybe"].default == "none"
    assert {s.name: s.default for s in describe("toy/needy", registry=registry)} == {"scale": None}
    sampler = {s.name: s.default for s in describe("toy/solver", registry=registry)}
    assert sampler == {"steps": "50", "grid": "suffuse/uniform", "terminal": "suffuse/to-zero", "order": "1"}
    assert {s.name: s.default for s in describe("toy/own", "denoiser", registry=registry)} == {"trained": "toy/vp"}
    with pytest.raises(UnknownComponent):
        describe("toy/absent", registry=registry)
