"""Properties of all specs: what was made comes back, and what was spoilt is refused with its place."""

from __future__ import annotations

import copy
import json
import tomllib
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suffuse import parts as core
from suffuse.contracts.guidance import Guidance
from suffuse.errors import SuffuseError
from suffuse.spec import check_spec, dump_json, dump_toml, structure, unstructure

slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

numbers = st.floats(0, allow_nan=False)
times = st.floats(0, 1, exclude_min=True)
text = st.text(st.characters(codec="utf-8"), max_size=8)
grids = st.builds(core.Uniform, start=times) | st.builds(core.LogSnr, start=times, end=times.filter(lambda t: t < 1))


def guidances(parts) -> st.SearchStrategy[Guidance]:
    def within(inner: st.SearchStrategy[Guidance]) -> st.SearchStrategy[Guidance]:
        bounds = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
        return (
            st.lists(inner, min_size=1, max_size=3).map(lambda g: core.Chain(parts=tuple(g)))
            | st.tuples(inner, bounds).map(lambda v: core.Interval(guidance=v[0], low=v[1][0], high=v[1][1]))
            | everything(inner)
        )

    def everything(inner: st.SearchStrategy[Guidance | None]) -> st.SearchStrategy[Guidance]:
        return st.builds(
            parts.Everything,
            scale=numbers,
            flag=st.booleans(),
            text=text,
            mode=st.sampled_from(["x0", "eps", 1]),
            sizes=st.lists(st.integers(), max_size=3).map(tuple),
            table=st.dictionaries(text, st.floats(allow_nan=False), max_size=2),
            maybe=st.none() | numbers,
            number=st.integers() | numbers.filter(lambda v: v < 1e308),
            inner=inner,
            grids=st.dictionaries(text, grids, max_size=2),
            start=grids | st.floats(0, 1),
        )

    return st.recursive(everything(st.none()) | st.builds(parts.Needy, scale=numbers), within, max_leaves=6)


def places(node, path=()):
    """Every place in a spec, as a tuple of keys."""
    yield path
    for key, item in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(item, (*path, key))


@slow
@given(data=st.data())
def test_round_trip_through_files(parts, registry, data):
    part = data.draw(guidances(parts))
    spec = unstructure(part, registry=registry)
    assert structure(spec, Guidance, registry=registry) == part
    for again in (tomllib.loads(dump_toml(spec)), json.loads(dump_json(spec))):
        assert again == spec
        assert structure(again, Guidance, registry=registry) == part
    check_spec(spec, registry)


class Odd:
    """What no file holds."""


@slow
@given(data=st.data())
def test_a_wrong_type_is_refused_where_it_is(parts, registry, data):
    spec = {"root": unstructure(data.draw(guidances(parts)), registry=registry)}
    chosen = data.draw(st.sampled_from([p for p in places(spec) if p and "table" not in p[:-1]]))
    spoilt = copy.deepcopy(spec)
    node = spoilt
    for key in chosen[:-1]:
        node = node[key]
    node[chosen[-1]] = Odd()
    with pytest.raises(SuffuseError) as caught:
        structure(spoilt["root"], Guidance, path="root", registry=registry)
    # Only a fault in `use` or `with` themselves belongs to the part that they are in.
    keys = [str(k) for i, k in enumerate(chosen) if not (k in ("use", "with") and is_part(spec, chosen[:i]))]
    if "grids" not in keys:  # odd names of grids are quoted
        assert caught.value.path == ".".join(keys)
    assert caught.value.path.startswith("root")


def is_part(node, path) -> bool:
    for key in path:
        node = node[key]
    return isinstance(node, dict) and "use" in node


@slow
@given(data=st.data())
def test_a_spoilt_spec_gives_no_other_error(parts, registry, data):
    spec = {"root": unstructure(data.draw(guidances(parts)), registry=registry)}
    junk = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | text
        | st.sampled_from(["uniform", "toy/net", "chain"]),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text | st.sampled_from(["use", "with"]), inner),
        max_leaves=4,
    )
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from([p for p in places(spec) if p]))
        node = spec
        for key in above:
            node = node[key]
        action = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove" and above and isinstance(node, dict):
            del node[last]
        elif action == "add" and above and isinstance(node, dict):
            node[data.draw(text)] = data.draw(junk)
        else:
            node[last] = data.draw(junk)
    for act in (partial(structure, cls=Guidance, path="root"), check_spec):
        with suppress(SuffuseError):  # some spoilt specs are specs again
            act(spec["root"], registry=registry)


@slow
@given(data=st.data())
def test_unknown_and_missing_keys(parts, registry, data):
    spec = {"root": unstructure(data.draw(guidances(parts)), registry=registry)}
    at = data.draw(st.sampled_from([p for p in places(spec) if is_part(spec, p)]))
    node = spec
    for key in at:
        node = node[key]
    path = ".".join(str(k) for k in at if k != "with")
    required = {"toy/needy": "scale", "suffuse/chain": "parts", "suffuse/interval": "guidance"}
    what = data.draw(st.sampled_from(["setting", "key", "reference"] + ["missing"] * (node["use"] in required)))
    if what == "setting":
        node["with"]["no such setting"] = 1
    elif what == "key":
        node["settings"] = {}
    elif what == "reference":
        node["use"] += "-x"
    else:
        path += "." + required[node["use"]]
        del node["with"][required[node["use"]]]
    with pytest.raises(SuffuseError) as caught:
        structure(spec["root"], Guidance, path="root", registry=registry)
    if "grids" not in at:
        assert caught.value.path == path
