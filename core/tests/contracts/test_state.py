import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from suffuse.contracts.condition import Condition
from suffuse.errors import InvalidInput
from suffuse.state import combine, expand, rows, same_form, size, tree_map


@given(b=st.integers(1, 5), d=st.integers(1, 5))
def test_a_time_for_each_row_multiplies_rows_also_where_b_equals_d(b, d):
    t = torch.arange(1.0, b + 1, dtype=torch.float64)
    x = torch.ones(b, d, dtype=torch.float64)
    assert torch.equal(combine(t, x, 0.0, x), t[:, None].expand(b, d))


def test_a_time_for_each_frame_multiplies_frames():
    t = torch.arange(6.0).view(2, 3)
    assert torch.equal(expand(t, torch.ones(2, 3, 4))[..., 0], t)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 4), (2, 3, 4, 1)])
def test_a_shape_that_is_no_prefix_is_refused_with_both_shapes(shape):
    with pytest.raises(InvalidInput, match=r"\(2, 3, 4\)"):
        expand(torch.zeros(shape), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_promoted(dtype):
    x = torch.full((2, 2), 0.1, dtype=dtype)
    y = combine(torch.tensor(1 / 3).double(), x, 0.0, x)
    assert y.dtype == torch.float32
    assert torch.allclose(y, x.float() / 3, rtol=1e-7)


def test_float64_coefficients_do_not_widen_float32_states():
    x = torch.ones(2, 2)
    assert combine(torch.tensor(0.5).double(), x, torch.ones(2).double(), x).dtype == torch.float32


def test_trees_have_coefficients_for_each_leaf_or_one_for_all():
    x = {"a": torch.ones(2, 1), "b": torch.ones(2, 3)}
    y = combine({"a": 2.0, "b": 3.0}, x, 1.0, x)
    assert float(y["a"][0, 0]) == 3
    assert float(y["b"][0, 0]) == 4
    assert size(y) == 2
    assert size(rows(y, slice(0, 1))) == 1
    assert set(tree_map(lambda v: v + 1, x)) == {"a", "b"}


def test_leaves_must_share_a_batch():
    with pytest.raises(InvalidInput, match=r"'a': 2, 'b': 3"):
        size({"a": torch.ones(2), "b": torch.ones(3)})
    with pytest.raises(InvalidInput):
        size(torch.tensor(1.0))
    with pytest.raises(InvalidInput, match=r"must have the shape \(2, 3\), got \(2, 4\)"):
        same_form(torch.ones(2, 4), torch.ones(2, 3), "x")


def test_a_condition_is_a_mapping_that_drops_row_by_row():
    cond = Condition(label=torch.tensor([3, 5, 7]))
    assert next(iter(cond.values())).tolist() == [3, 5, 7]
    some = cond.drop("label", where=torch.tensor([True, False, False]))
    assert some.present("label").tolist() == [False, True, True]
    assert cond.present("label").all()  # the original is unchanged
    assert not cond.drop().present("label").any()
    both = Condition.cat([some, cond]).index(torch.tensor([0, 3]))
    assert both["label"].tolist() == [3, 3]
    assert both.present("label").tolist() == [False, True]
    assert Condition().size is None


def test_entries_join_a_condition_and_leave_what_is_absent_absent():
    where = torch.tensor([True, False])
    cond = Condition(label=torch.tensor([1, 2])).drop("label", where=where).also(t=torch.ones(2))
    assert sorted(cond) == ["label", "t"]
    assert cond.present("label").tolist() == [False, True]
    assert cond.present("t").all()
    replaced = cond.also(label=torch.tensor([3, 4]))
    assert replaced["label"].tolist() == [3, 4]
    assert replaced.present("label").all()
    with pytest.raises(InvalidInput, match="one batch size"):
        cond.also(t=torch.ones(3))


def test_conditions_that_cannot_be_are_refused():
    with pytest.raises(InvalidInput, match="one batch size"):
        Condition(a=torch.ones(2), b=torch.ones(3))
    with pytest.raises(InvalidInput):
        Condition(a=torch.tensor(1.0))
    with pytest.raises(InvalidInput, match="no entry"):
        Condition(a=torch.ones(2)).drop("b")
    with pytest.raises(InvalidInput, match="different entries"):
        Condition.cat([Condition(a=torch.ones(2)), Condition(b=torch.ones(2))])
