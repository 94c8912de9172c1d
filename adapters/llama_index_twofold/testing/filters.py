"""What filters must let through: each operator, however nested, before the best are chosen."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from llama_index_twofold.testing.suite import StoreSuite, asked, four, ids, node

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
    "in": lambda held, wanted: held in wanted,
    "nin": lambda held, wanted: held not in wanted,
    "contains": lambda held, wanted: wanted in held,
    "any": lambda held, wanted: any(each in held for each in wanted),
    "all": lambda held, wanted: all(each in held for each in wanted),
    "text_match": lambda held, wanted: wanted in held,
    "text_match_insensitive": lambda held, wanted: wanted.lower() in held.lower(),
}
"""What each operator says of a value that is there, as LlamaIndex's own stores have it."""


def allowed(key: str, asked_by: str, value: Any) -> list[str]:
    """Return the nodes that a condition lets through; what is missing is neither equal nor in."""
    if asked_by == "is_empty":
        return [own for own, each in METADATA.items() if each.get(key) in (None, "", [])]
    absent = asked_by in ("!=", "nin")
    return [
        own
        for own, each in METADATA.items()
        if (MEANINGS[asked_by](each[key], value) if key in each else absent)
    ]


def of(key: str, operator: str, value: Any) -> MetadataFilter:
    """Return one condition."""
    return MetadataFilter(key=key, operator=FilterOperator(operator), value=value)


def any_of(*parts: Any) -> MetadataFilters:
    """Return filters of which one must match."""
    return MetadataFilters(filters=list(parts), condition=FilterCondition.OR)


def none_of(*parts: Any) -> MetadataFilters:
    """Return filters of which none may match."""
    return MetadataFilters(filters=list(parts), condition=FilterCondition.NOT)


class FilterSuite(StoreSuite):
    """Filters mean what LlamaIndex's own stores say, and nested ones what they look like."""

    @pytest.fixture
    def filled(self, store: BasePydanticVectorStore) -> BasePydanticVectorStore:
        """The store with nodes whose metadata differ in kind."""
        store.add([node(0, id_=own, metadata=each) for own, each in METADATA.items()])
        return store

    @pytest.mark.parametrize(("key", "operator", "value"), CASES)
    def test_each_operator(
        self, filled: BasePydanticVectorStore, key: str, operator: str, value: Any
    ) -> None:
        filters = MetadataFilters(filters=[of(key, operator, value)])
        assert sorted(ids(asked(filled, filters=filters))) == allowed(key, operator, value)

    @pytest.mark.parametrize("condition", [*CONDITIONS, None])
    def test_each_condition(
        self, filled: BasePydanticVectorStore, condition: FilterCondition | None
    ) -> None:
        parts: list[Any] = [of("rank", "==", "b"), of("weight", ">", 1.5)]
        filters = MetadataFilters(filters=parts, condition=condition)
        wanted = {FilterCondition.OR: ["b", "c"], FilterCondition.NOT: ["a", "d"]}
        assert sorted(ids(asked(filled, filters=filters))) == wanted.get(
            condition or FilterCondition.AND, ["b"]
        )

    def test_no_conditions_let_everything_through(self, filled: BasePydanticVectorStore) -> None:
        assert len(ids(asked(filled, filters=MetadataFilters(filters=[])))) == 4

    def test_filters_nest(self, filled: BasePydanticVectorStore) -> None:
        inner = any_of(of("rank", "==", "a"), of("rank", "==", "c"))
        both = MetadataFilters(filters=[inner, of("weight", ">", 2)])
        assert ids(asked(filled, filters=both)) == ["c"]
        neither = none_of(inner, of("weight", "==", 2))
        assert ids(asked(filled, filters=neither)) == ["d"]
        deep = MetadataFilters(filters=[none_of(any_of(none_of(of("rank", "==", "b"))))])
        assert ids(asked(filled, filters=deep)) == ["b"]

    def test_values_of_another_type_dont_match(self, filled: BasePydanticVectorStore) -> None:
        filters = MetadataFilters(filters=[of("rank", ">", 1)])
        assert ids(asked(filled, filters=filters)) == []

    def test_documents_can_be_filtered_by(self, store: BasePydanticVectorStore) -> None:
        store.add(four())
        for key in ("doc_id", "document_id", "ref_doc_id"):
            filters = MetadataFilters(filters=[of(key, "==", "doc1")])
            assert sorted(ids(asked(store, filters=filters))) == ["n2", "n3"]

    def test_filters_come_before_the_best_are_chosen(self, store: BasePydanticVectorStore) -> None:
        near = [node(0, id_=f"near{n}", metadata={"good": "no"}) for n in range(60)]
        store.add([*near, node(3, id_="far", metadata={"good": "yes"})])
        filters = MetadataFilters(filters=[of("good", "==", "yes")])
        assert ids(asked(store, filters=filters, similarity_top_k=1)) == ["far"]

    def test_node_ids_restrict(self, store: BasePydanticVectorStore) -> None:
        store.add(four())
        assert ids(asked(store, node_ids=["n3", "n1", "missing"])) == ["n1", "n3"]
        fruit = MetadataFilters(filters=[of("topic", "==", "fruit")])
        assert ids(asked(store, node_ids=["n0", "n1"], filters=fruit)) == ["n0"]

    def test_doc_ids_restrict(self, store: BasePydanticVectorStore) -> None:
        store.add(four())
        assert ids(asked(store, doc_ids=["doc1"])) == ["n2", "n3"]
