"""What the suites of vector stores share."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

T = TypeVar("T")
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


def longest_pause(work: Callable[[], Awaitable[object]]) -> float:
    """Return for how many seconds an event loop stood still at most while something was awaited."""

    async def watched() -> float:
        longest, before = 0.0, time.perf_counter()
        running = asyncio.ensure_future(_awaited(work))
        while not running.done():
            await asyncio.sleep(0.002)
            longest, before = max(longest, time.perf_counter() - before), time.perf_counter()
        await running
        return longest

    return asyncio.run(watched())


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
