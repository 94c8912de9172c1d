import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filter_strategies import filters, metadata
from oracles import matches
from twofold.errors import FilterError
from twofold.filters import ColumnSegment, match_rows, parse_filter


def segment(start, rows):
    numbers = np.arange(start, start + len(rows))
    return ColumnSegment.build(numbers, [f"id{n}" for n in numbers], rows)


@settings(deadline=None, max_examples=400)
@given(where=filters, rows=st.lists(metadata, min_size=1, max_size=8), cut=st.integers(0, 8))
def test_filters_mean_what_the_documentation_says(where, rows, cut):
    parts = [segment(0, rows[:cut]), segment(len(rows[:cut]), rows[cut:])]
    parts = [part for part in parts if len(part)]
    wanted = [matches(where, each) for each in rows]
    node = parse_filter(where)
    assert match_rows(node, parts).tolist() == wanted
    whole = ColumnSegment.merge(parts, [np.ones(len(part), np.bool_) for part in parts])
    assert match_rows(node, [whole]).tolist() == wanted
    assert match_rows(node, [ColumnSegment.from_arrays(whole.arrays())]).tolist() == wanted


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(metadata, min_size=1, max_size=8), data=st.data())
def test_merging_leaves_nothing_of_deleted_rows(rows, data):
    live = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    if not live.any():
        live[0] = True
    merged = ColumnSegment.merge([segment(0, rows)], [live])
    kept = [row for row, alive in zip(rows, live, strict=True) if alive]
    numbers = np.flatnonzero(live)
    fresh = ColumnSegment.build(numbers, [f"id{n}" for n in numbers], kept)
    for name, array in fresh.arrays().items():
        np.testing.assert_array_equal(merged.arrays()[name], array, err_msg=name)


def test_nested_objects_are_reached_by_dots():
    part = segment(0, [{"a": {"b": {"c": 1}}}, {"a.b.c": 1}, {"a": {"b": 2}}])
    assert match_rows(parse_filter({"a.b.c": 1}), [part]).tolist() == [True, True, False]


def test_payload_is_not_a_field():
    part = segment(0, [{"_payload": "big", "x": 1}])
    assert part.fields.tolist() == ["x"]


def nest(name, depth):
    """A filter of so many levels."""
    where = {"year": 1}
    for _ in range(depth):
        where = {name: where}
    return where


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (
            {"year": {"$gte_": 3}},
            r"unknown operator '\$gte_' on field 'year'.*did you mean '\$gte'\?",
        ),
        ({"$nor": [{"a": 1}]}, r"unknown operator '\$nor'.*did you mean '\$or'\?"),
        ({"year": {"month": 3}}, "unknown operator 'month' on field 'year'"),
        ({"year": {}}, "empty filter"),
        ({"year": {"$in": "2021"}}, r"\$in on field 'year' takes a list"),
        ({"year": {"$gt": [1]}}, r"\$gt on field 'year' takes a number or a string"),
        ({"year": {"$gt": True}}, r"\$gt on field 'year' takes a number or a string"),
        ({"year": {"$lt": float("nan")}}, "takes a number"),
        ({"year": {"$exists": 1}}, "takes True or False"),
        ({"$or": []}, "at least one filter"),
        ({"$and": {"a": 1}}, "takes a list"),
        ([("a", 1)], "a filter must be a mapping"),
        ({1: 2}, "field names of a filter must be strings"),
        ({"$id": {}}, "empty filter"),
        ({"year": 10**5000}, "takes a value or a list, got a value with an integer of more than"),
        ({"year": {"$in": [1, -(10**5000)]}}, "an integer of more than"),
        (nest("$not", 3000), "nested too deeply"),
    ],
)
def test_what_is_no_filter_is_refused(where, words):
    with pytest.raises(FilterError, match=words):
        parse_filter(where)
