"""What the suites of vector stores share."""

from typing import Any

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

TOPICS = ["fruit", "vehicle", "fruit", "tool"]
TEXTS = ["apples and pears", "cars and trains", "cherries", "hammers"]
VECTORS = [[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.2]]


def node(place: int, *, document: str | None = "doc", **changes: Any) -> TextNode:
    """Return a node with a vector, a document and metadata; ``changes`` are of its fields."""
    fields: dict[str, Any] = {
        "id_": f"n{place}",
        "text": TEXTS[place % len(TEXTS)],
        "embedding": VECTORS[place % len(VECTORS)],
        "metadata": {"topic": TOPICS[place % len(TOPICS)], "number": place},
    }
    if document is not None:
        source = RelatedNodeInfo(node_id=f"{document}{place // 2}")
        fields["relationships"] = {NodeRelationship.SOURCE: source}
    return TextNode(**{**fields, **changes})


def four() -> list[TextNode]:
    """Return four nodes of two documents, doc0 and doc1."""
    return [node(place) for place in range(4)]


class StoreSuite:
    """Makes a store for each test.

    ``known_failures`` names tests that a store is known to fail. One that is listed and passes is
    an error, so that the list stays true; names may have their parameters, ``test_x[a]``.
    """

    known_failures: frozenset[str] = frozenset()

    def make_store(self) -> BasePydanticVectorStore:
        """Return a new, empty store that takes vectors of any one dimension."""
        raise NotImplementedError("subclass the suite, and return your store from make_store")

    @pytest.fixture
    def store(self) -> BasePydanticVectorStore:
        """The store that a test uses."""
        return self.make_store()

    @pytest.fixture(autouse=True)
    def _expected(self, request: pytest.FixtureRequest) -> None:
        names = {getattr(request.node, "originalname", None), request.node.name}
        if names & self.known_failures:
            request.applymarker(pytest.mark.xfail(strict=True, reason="a known failure"))


def asked(store: BasePydanticVectorStore, **query: Any) -> VectorStoreQueryResult:
    """Query a store, by a vector near n0 and for ten nodes if nothing else is said."""
    given = {"query_embedding": [1.0, 0.1], "query_str": "apples", "similarity_top_k": 10, **query}
    return store.query(VectorStoreQuery(**given))


def ids(result: VectorStoreQueryResult) -> list[str]:
    """Return the ids of a result; what has none is wrong."""
    assert result.ids is not None, "a result has ids"
    return list(result.ids)
