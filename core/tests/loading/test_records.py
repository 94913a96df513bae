import pickle
from pathlib import Path

import pytest

from suffuse import Component, Paper, Plugin
from suffuse import errors as suffuse_errors
from suffuse.errors import BrokenPlugin, IncompatibleComponents, InvalidInput, SpecError, SuffuseError
from suffuse.records import Failure, Origin


def test_component_is_frozen_hashable_and_keyword_only() -> None:
    component = Component(name="heun", target="a.b:C.d", needs=["score"], gives={"order-2"}, extras=["fast"])
    assert component.needs == frozenset({"score"})
    assert component.extras == ("fast",)
    assert hash(component) == hash(
        Component(name="heun", target="a.b:C.d", needs={"score"}, gives=["order-2"], extras=("fast",))
    )
    with pytest.raises(AttributeError):
        component.name = "other"
    with pytest.raises(TypeError):
        Component("heun", "a:b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Heun"}, "Component.name: expected lower-case letters, digits, '.' and '-', got 'Heun'"),
        ({"name": "heun\n"}, "Component.name"),
        ({"name": ""}, "Component.name"),
        ({"name": 3}, "Component.name"),
        ({"target": "a.b"}, "Component.target: expected 'module:attribute', got 'a.b'"),
        ({"target": "a:b:c"}, "Component.target"),
        ({"summary": "two\nlines"}, "Component.summary: expected one line of text"),
        ({"kind": "Sampler"}, "Component.kind"),
        ({"needs": "score"}, "expected a collection of strings, got 'score'"),
        ({"gives": 3}, "expected a collection of strings, got 3"),
        ({"extras": [1]}, "expected a collection of strings"),
    ],
)
def test_component_refuses(arguments: dict, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Component(**{"name": "heun", "target": "a:b"} | arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"title": " "},
        {"year": "2022"},
        {"year": True},
        {"year": 22},
        {"kind": "paper"},
        {"arxiv": "arXiv:2206.00364"},
        {"url": "javascript:x"},
    ],
)
def test_paper_refuses(arguments: dict) -> None:
    good = {"title": "A paper", "year": 2022, "kind": "method"}
    Paper(**good, arxiv="cond-mat/0402594")
    with pytest.raises(InvalidInput, match=f"Paper.{next(iter(arguments))}: expected"):
        Paper(**good | arguments)


def test_plugin_takes_a_paper_or_none() -> None:
    Plugin(paper=None)
    with pytest.raises(TypeError):
        Plugin(paper="EDM")
    with pytest.raises(TypeError):
        Plugin()


def test_origin_reads_whether_it_is_editable(tmp_path: Path) -> None:
    origin = Origin(dist="suffuse-x", version="1", key="x", path=str(tmp_path))
    assert not origin.editable
    (tmp_path / "direct_url.json").write_text('{"url": "file:///x", "dir_info": {"editable": true}}')
    assert origin.editable
    for text in ("[]", "{", '{"dir_info": null}'):
        (tmp_path / "direct_url.json").write_text(text)
        assert not origin.editable


def test_failure_is_one_line() -> None:
    origin = Origin(dist="suffuse-x", version="1.2", key="x", path="")
    failure = Failure(origin=origin, stage="import", error="E: a\n b", traceback="Traceback", cure="c")
    assert failure.line == "suffuse-x 1.2: import failed: E: a b. Cure: c"
    error = failure.exception()
    assert isinstance(error, BrokenPlugin)
    assert error.traceback == "Traceback"


def test_errors_carry_their_path_and_survive_pickling() -> None:
    error = SpecError("expected int, got float")
    assert str(error) == "expected int, got float"
    error.path = "pipeline.sampler.steps"
    assert str(error) == "expected int, got float @ pipeline.sampler.steps"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    error = IncompatibleComponents("dps needs more", missing={"score", "grad"}, givers=["edm/edm"], path="p")
    assert str(error) == "dps needs more; missing: grad, score; given by: edm/edm @ p"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    broken = pickle.loads(pickle.dumps(BrokenPlugin("x", traceback="T")))
    assert (str(broken), broken.traceback) == ("x", "T")


def test_every_error_is_one_level_below_the_base() -> None:
    found = [e for e in vars(suffuse_errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(found) == 11
    assert {e.__base__ for e in found if e is not SuffuseError} == {SuffuseError}
