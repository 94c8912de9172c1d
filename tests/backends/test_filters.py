"""Filters of each server against the local index's, on values that are easily mistaken."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filter_strategies import filters, metadata
from twofold import Index, Passage

TRICKY = st.sampled_from([
    "", "a", "A", "ab", "3", "STRASSE", "straße", "İstanbul", "ΣΑΣ", "%s", "a'b", '"', "\\", "{}",
    "2026-01-01T00:00Z", "2026-01-01T01:00+01:00", "2026-01-01", "2025-12-31T23:59:59.5Z", "z", "é",
])  # fmt: skip
DATES = st.dictionaries(st.sampled_from(["x", "y.z", "%", "a'b"]), st.one_of(
    TRICKY, st.lists(TRICKY, max_size=3)), max_size=3)  # fmt: skip
ASKED = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), TRICKY),
    st.tuples(st.sampled_from(["$text", "$itext", "$contains"]), TRICKY),
    st.tuples(st.sampled_from(["$in", "$any", "$all"]), st.lists(TRICKY, max_size=3)),
).map(lambda pair: dict([pair]))
ALL = st.dictionaries(st.sampled_from(["x", "y.z", "%", "a'b"]), ASKED, min_size=1, max_size=2)


@pytest.fixture(params=["postgres", "milvus"])
def backend(request):
    return request.getfixturevalue(request.param)(encoder=None)


def check(backend, rows, where):
    passages = [Passage(f"text {at}", str(at), metadata=row) for at, row in enumerate(rows)]
    backend.delete(where={})
    backend.upsert(passages)
    with Index.open(None, encoder=None) as index:
        index.upsert(passages)
        wanted = [each.id for each in index.get(where=where)]
        assert [each.id for each in backend.get(where=where)] == wanted
        stored = {each.id: each.metadata for each in index.get(where={})}
        assert {each.id: each.metadata for each in backend.get(where={})} == stored


FEW = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FEW
@given(where=filters, rows=st.lists(metadata, min_size=1, max_size=8))
def test_filters_mean_what_they_mean_in_an_index(backend, where, rows):
    check(backend, rows, where)


@FEW
@given(where=ALL, rows=st.lists(DATES, min_size=1, max_size=8))
def test_strings_and_moments_compare_as_in_an_index(backend, where, rows):
    check(backend, rows, where)


@pytest.mark.parametrize("where", [
    {"x": "\0"}, {"x": {"$in": ["a", "\0", "\ud800"]}}, {"\0": {"$exists": False}}, {"\0": "a"},
    {"x": {"$gt": "\0"}}, {"x": {"$lt": "\U0010ffff"}}, {"x": {"$text": "\0"}},
    {"x": {"$lt": float("inf")}}, {"x": {"$gt": float("inf")}}, {"x": {"$gte": float("-inf")}},
    {"$id": {"$in": ["0", "\0"]}}, {"n.m": 1}, {"n": {"$exists": True}}, {"n": {"$empty": False}},
])  # fmt: skip
def test_values_that_the_server_cannot_store_can_be_asked_for(backend, where):
    rows = [{"x": "a"}, {"x": 3}, {"x": 2.5}, {"n": {"m": 1}}, {"x": ["a"]}, {}]
    check(backend, rows, where)


def test_a_large_filter_is_one_statement(backend):
    rows = [{"x": at} for at in range(5)]
    check(backend, rows, {"x": {"$in": list(range(3, 100_000))}})
    check(backend, rows, {"$or": [{"x": {"$gt": at, "$lt": at + 2}} for at in range(1_000)]})
