"""A filter that matches nothing says which field is unknown, or which types it compares."""

from datetime import date

import pytest

from twofold import Index, Retriever

METADATA = [
    {"year": 2024, "name": "a", "tags": ["x"], "ok": True, "day": date(2026, 1, 1), "in": {"n": 1}},
    {"year": "2025", "name": "b", "tags": [], "ok": False, "day": "2026-02-01", "big": 2**60},
]
WHERE = [
    ({"name": {"$gt": 3}}, "the field 'name' has strings, and $gt compares it with numbers"),
    ({"name": 3}, "the field 'name' has strings, and $eq compares it with numbers"),
    ({"name": {"$in": [1, None]}}, "has strings, and $in compares it with null and numbers"),
    ({"ok": "true"}, "the field 'ok' has booleans, and $eq compares it with strings"),
    ({"ok": 1}, "the field 'ok' has booleans, and $eq compares it with numbers"),
    ({"tags": "x"}, "the field 'tags' has lists, and $eq compares it with strings"),
    ({"name": {"$contains": "a"}}, "has strings, and $contains looks into lists"),
    ({"day": {"$lt": 20260301}}, "the field 'day' has strings, and $lt compares it with numbers"),
    ({"big": {"$text": "1"}}, "the field 'big' has numbers, and $text compares it with strings"),
    ({"in": 1}, "the field 'in' has objects, and $eq compares it with numbers"),
    ({"in.n": "1"}, "the field 'in.n' has numbers, and $eq compares it with strings"),
    ({"jear": 2024}, "no passage has the field 'jear'"),
    ({"$or": [{"jear": 1}, {"$and": [{"name": 2}]}]}, "no passage has the field 'jear'"),
]
UNEXPLAINED = [
    {"year": 1999},
    {"year": "1999"},
    {"name": {"$gt": "z"}},
    {"name": {"$in": []}},
    {"$id": "none"},
    {"$not": {"jear": {"$exists": False}}},
    {"name": {"$exists": False}},
]


@pytest.fixture(scope="module")
def retriever():
    with Index.open(None, encoder=None) as index:
        index.upsert({"id": str(n), "text": "tea", "metadata": m} for n, m in enumerate(METADATA))
        index.upsert([{"id": "gone", "text": "tea", "metadata": {"jear": 1, "name": 1}}])
        index.delete(["gone"])
        yield Retriever(index, mode="lexical")


@pytest.mark.parametrize(("where", "reason"), WHERE)
def test_a_mismatch_is_named(retriever, where, reason):
    hits = retriever.retrieve("tea", where=where)
    assert (len(hits), hits.warnings[0]) == (0, "the filter matches no passage")
    assert any(reason in warning for warning in hits.warnings[1:]), hits.warnings


@pytest.mark.parametrize("where", UNEXPLAINED)
def test_values_that_no_passage_has_are_not_explained(retriever, where):
    assert retriever.retrieve("tea", where=where).warnings == ("the filter matches no passage",)


@pytest.mark.parametrize("where", [{"year": {"$gte": 2000}}, {"year": {"$in": [1, "2025"]}}])
def test_a_filter_that_matches_is_not_explained(retriever, where):
    hits = retriever.retrieve("tea", where=where)
    assert (len(hits), hits.warnings) == (1, ())
