"""Tests of a vector store's metadata filters."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from llama_index_twofold.testing.vector_store import (
    Store,
    StoreSuite,
    four_nodes,
    ids,
    node,
    query_store,
)

METADATA: dict[str, dict[str, Any]] = {
    "a": {"rank": "a", "weight": 1.0, "tags": ["red", "green"], "code": "ABC-1"},
    "b": {"rank": "b", "weight": 2, "tags": ["green"], "code": "abc-2"},
    "c": {"rank": "c", "weight": 3.5, "tags": [], "code": "xyz"},
    "d": {"rank": "", "code": "green"},
}
CASES: list[tuple[str, str, Any]] = [
    ("rank", "==", "a"),
    ("weight", "==", 2),
    ("rank", "!=", "a"),
    ("weight", "!=", 2),
    ("weight", ">", 1.0),
    ("weight", ">=", 2),
    ("weight", "<", 3.5),
    ("weight", "<=", 1.0),
    ("rank", ">", "a"),
    ("rank", "in", ["a", "c"]),
    ("weight", "in", [1, 2]),
    ("rank", "nin", ["a", "c"]),
    ("tags", "contains", "green"),
    ("code", "contains", "green"),
    ("tags", "any", ["red", "blue"]),
    ("tags", "all", ["red", "green"]),
    ("code", "text_match", "ABC"),
    ("code", "text_match_insensitive", "ABC"),
    ("tags", "is_empty", None),
    ("rank", "is_empty", None),
    ("missing", "==", "a"),
    ("missing", "!=", "a"),
    ("missing", "nin", ["a"]),
    ("missing", ">", 1),
    ("missing", "is_empty", None),
]
CONDITIONS = list(FilterCondition)
MEANINGS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "in": lambda value, given: value in given,
    "nin": lambda value, given: value not in given,
    "contains": lambda value, given: given in value,
    "any": lambda value, given: any(one in value for one in given),
    "all": lambda value, given: all(one in value for one in given),
    "text_match": lambda value, given: given in value,
    "text_match_insensitive": lambda value, given: given.lower() in value.lower(),
}
"""Operators on a field's value and a filter's, as LlamaIndex's own stores define them."""


def expected_ids(key: str, name: str, value: Any) -> list[str]:
    """Return the ids in METADATA that match; a missing field matches only != and nin."""
    if name == "is_empty":
        return [id_ for id_, fields in METADATA.items() if fields.get(key) in (None, "", [])]
    missing = name in ("!=", "nin")
    return [
        id_
        for id_, fields in METADATA.items()
        if (MEANINGS[name](fields[key], value) if key in fields else missing)
    ]


def metadata_filter(key: str, name: str, value: Any) -> MetadataFilter:
    """Return a filter of one condition."""
    return MetadataFilter(key=key, operator=FilterOperator(name), value=value)


def combine(condition: str, *parts: Any) -> MetadataFilters:
    """Return filters of which all (and), any (or) or none (not) must match."""
    return MetadataFilters(filters=list(parts), condition=FilterCondition(condition))


class FilterSuite(StoreSuite):
    """Tests that filters behave as in LlamaIndex's own stores, and can be nested."""

    @pytest.fixture
    def filled(self, store: Store) -> Store:
        """A store of nodes with metadata of different types."""
        store.add([node(0, id_=id_, metadata=fields) for id_, fields in METADATA.items()])
        return store

    @pytest.mark.parametrize(("key", "name", "value"), CASES)
    def test_each_operator(self, filled: Store, key: str, name: str, value: Any) -> None:
        filters = combine("and", metadata_filter(key, name, value))
        assert sorted(ids(query_store(filled, filters=filters))) == expected_ids(key, name, value)

    @pytest.mark.parametrize("condition", [*CONDITIONS, None])
    def test_each_condition(self, filled: Store, condition: FilterCondition | None) -> None:
        parts: list[Any] = [metadata_filter("rank", "==", "b"), metadata_filter("weight", ">", 1.5)]
        filters = MetadataFilters(filters=parts, condition=condition)
        wanted = {FilterCondition.OR: ["b", "c"], FilterCondition.NOT: ["a", "d"]}
        assert sorted(ids(query_store(filled, filters=filters))) == wanted.get(
            condition or FilterCondition.AND, ["b"]
        )

    def test_no_conditions_let_everything_through(self, filled: Store) -> None:
        assert len(ids(query_store(filled, filters=MetadataFilters(filters=[])))) == 4

    def test_filters_nest(self, filled: Store) -> None:
        inner = combine("or", *(metadata_filter("rank", "==", value) for value in "ac"))
        both = combine("and", inner, metadata_filter("weight", ">", 2))
        assert ids(query_store(filled, filters=both)) == ["c"]
        neither = combine("not", inner, metadata_filter("weight", "==", 2))
        assert ids(query_store(filled, filters=neither)) == ["d"]
        not_b = combine("not", metadata_filter("rank", "==", "b"))
        deep = combine("and", combine("not", combine("or", not_b)))
        assert ids(query_store(filled, filters=deep)) == ["b"]

    def test_values_of_another_type_dont_match(self, filled: Store) -> None:
        filters = combine("and", metadata_filter("rank", ">", 1))
        assert ids(query_store(filled, filters=filters)) == []

    def test_documents_can_be_filtered_by(self, store: Store) -> None:
        store.add(four_nodes())
        for key in ("doc_id", "document_id", "ref_doc_id"):
            filters = combine("and", metadata_filter(key, "==", "doc1"))
            assert sorted(ids(query_store(store, filters=filters))) == ["n2", "n3"]

    def test_filters_apply_before_the_search(self, store: Store) -> None:
        nearest = [node(0, id_=f"near{n}", metadata={"good": "no"}) for n in range(60)]
        store.add([*nearest, node(3, id_="far", metadata={"good": "yes"})])
        filters = combine("and", metadata_filter("good", "==", "yes"))
        assert ids(query_store(store, filters=filters, similarity_top_k=1)) == ["far"]

    def test_node_ids_restrict(self, store: Store) -> None:
        store.add(four_nodes())
        assert ids(query_store(store, node_ids=["n3", "n1", "missing"])) == ["n1", "n3"]
        fruit = combine("and", metadata_filter("topic", "==", "fruit"))
        assert ids(query_store(store, node_ids=["n0", "n1"], filters=fruit)) == ["n0"]

    def test_doc_ids_restrict(self, store: Store) -> None:
        store.add(four_nodes())
        assert ids(query_store(store, doc_ids=["doc1"])) == ["n2", "n3"]
