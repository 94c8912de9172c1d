"""Which passages a call means: by their ids, by a filter, or by both."""

import pytest

from twofold import Retriever
from twofold.errors import InputError


def test_ids_are_filtered_by(index):
    index.upsert(
        [{"id": each, "text": "a text", "metadata": {"n": n}} for n, each in enumerate("abc")]
    )
    retriever = Retriever(index, k=9)

    def found(where):
        return sorted(retriever.retrieve("text", where=where).ids)

    assert found({"$id": "a"}) == ["a"]
    assert found({"$id": {"$in": ["a", "c", "x"]}}) == ["a", "c"]
    assert found({"$id": {"$ne": "a"}, "n": {"$lt": 2}}) == ["b"]
    assert found({"$not": {"$id": {"$nin": {"a"}}}}) == ["a"]
    many = [f"x{n}" for n in range(100)]
    assert found({"$id": {"$in": [*many, "b"]}}) == ["b"]
    assert [each.id for each in index.get(where={"$id": {"$ne": "b"}})] == ["a", "c"]
    assert [each.id for each in index.get(["c", "a"], where={"n": {"$gt": 0}})] == ["c"]
    assert index.count({"$id": {"$in": []}}) == 0


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"$id": 3}, r"\$eq on \$id takes ids"),
        ({"$id": {"$in": "abc"}}, r"\$in on field '\$id' takes a list"),
        ({"$id": {"$in": 5}}, r"\$in on \$id takes ids"),
        ({"$id": {"$gt": "a"}}, r"unknown operator '\$gt' on \$id"),
        ({"$ids": "a"}, r"did you mean '\$id'\?"),
    ],
)
def test_what_no_id_is_is_refused(index, where, message):
    with pytest.raises(ValueError, match=message):
        index.count(where)


def test_get_needs_ids_or_a_filter(index):
    with pytest.raises(InputError, match="get takes ids=, where= or both"):
        index.get()
