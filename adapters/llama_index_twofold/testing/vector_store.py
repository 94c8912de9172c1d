"""Tests of a vector store's writes, queries and returned nodes."""

import asyncio
import json
from typing import Any

import pytest
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    ExactMatchFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

Store = BasePydanticVectorStore

FRUIT = MetadataFilters(filters=[ExactMatchFilter(key="topic", value="fruit")])
TOPICS = ["fruit", "vehicle", "fruit", "tool"]
TEXTS = ["apples and pears", "cars and trains", "cherries", "hammers"]
VECTORS = [[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.2]]


def node(place: int, *, document: str | None = "doc", **changes: Any) -> TextNode:
    """Return test node n{place} of document {document}{place // 2}; ``changes`` set fields."""
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


def four_nodes() -> list[TextNode]:
    """Return two nodes each of the documents doc0 and doc1."""
    return [node(place) for place in range(4)]


class StoreSuite:
    """Base class of the store suites: creates a store for each test.

    ``known_failures`` names tests that the store is expected to fail, such as ``test_x`` or
    ``test_x[a]``. A listed test that passes is an error.
    """

    known_failures: frozenset[str] = frozenset()

    def make_store(self) -> Store:
        """Return a new, empty store that takes vectors of any dimension."""
        raise NotImplementedError(
            "the suite's subclass must override make_store() and return the store to test"
        )

    @pytest.fixture
    def store(self) -> Store:
        """A new, empty store."""
        return self.make_store()

    @pytest.fixture(autouse=True)
    def _mark_known_failures(self, request: pytest.FixtureRequest) -> None:
        names = {getattr(request.node, "originalname", None), request.node.name}
        if names & self.known_failures:
            request.applymarker(pytest.mark.xfail(strict=True, reason="a known failure"))


def query_store(store: Store, **query: Any) -> VectorStoreQueryResult:
    """Query a store, by default for the ten nodes nearest to a vector near n0."""
    defaults = {"query_embedding": [1.0, 0.1], "query_str": "apples", "similarity_top_k": 10}
    return store.query(VectorStoreQuery(**{**defaults, **query}))


def ids(result: VectorStoreQueryResult) -> list[str]:
    """Return the ids of a result, which must have them."""
    assert result.ids is not None, "the result has no ids"
    return list(result.ids)


class VectorStoreSuite(StoreSuite):
    """Tests that a store adds, deletes, finds, and returns nodes unchanged."""

    def test_an_empty_store_answers_with_empty_lists(self, store: Store) -> None:
        result = query_store(store)
        assert ids(result) == []
        assert list(result.similarities or []) == []
        store.delete("nothing")

    def test_add_returns_the_ids_of_the_nodes(self, store: Store) -> None:
        assert store.add(four_nodes()) == ["n0", "n1", "n2", "n3"]
        assert store.add([]) == []

    def test_the_nearest_come_first_and_score_higher(self, store: Store) -> None:
        store.add(four_nodes())
        result = query_store(store)
        assert ids(result) == ["n0", "n2", "n1", "n3"]
        scores = list(result.similarities or [])
        assert scores == sorted(scores, reverse=True)
        assert json.loads(json.dumps(scores)) == scores
        assert ids(query_store(store, similarity_top_k=2)) == ["n0", "n2"]

    def test_adding_an_id_again_replaces_its_node(self, store: Store) -> None:
        store.add(four_nodes())
        store.add([node(3, embedding=[1.0, 0.1], metadata={"topic": "new"})])
        assert ids(query_store(store)) == ["n3", "n0", "n2", "n1"]
        new = MetadataFilters(filters=[ExactMatchFilter(key="topic", value="new")])
        assert ids(query_store(store, filters=new)) == ["n3"]

    def test_the_last_of_two_nodes_with_one_id_counts(self, store: Store) -> None:
        store.add([node(0), node(0, embedding=[0.0, 1.0])])
        result = query_store(store, query_embedding=[0.0, 1.0])
        assert ids(result) == ["n0"]
        assert (result.similarities or [0])[0] > 0.9

    def test_delete_takes_all_nodes_of_a_document(self, store: Store) -> None:
        store.add(four_nodes())
        store.delete("doc0")
        store.delete("doc0")
        store.delete("n2")  # a node id, not a document id
        assert ids(query_store(store)) == ["n2", "n3"]

    def test_nodes_come_and_go_many_times(self, store: Store) -> None:
        for _ in range(3):
            store.add(four_nodes())
            store.delete("doc0")
            store.add([node(0), node(4)])
            found = ids(query_store(store, query_embedding=[0.0, 1.0]))
            assert sorted(found) == ["n0", "n2", "n3", "n4"]
            store.delete("doc2")
        assert sorted(ids(query_store(store))) == ["n0", "n2", "n3"]

    def test_delete_nodes_by_id_by_filter_and_by_both(self, store: Store) -> None:
        store.add(four_nodes())
        store.delete_nodes(["n1", "missing"])
        assert sorted(ids(query_store(store))) == ["n0", "n2", "n3"]
        store.delete_nodes(["n0", "n3"], FRUIT)
        assert sorted(ids(query_store(store))) == ["n2", "n3"]
        store.delete_nodes(filters=FRUIT)
        assert ids(query_store(store)) == ["n3"]

    def test_delete_nodes_without_either_is_refused(self, store: Store) -> None:
        store.add(four_nodes())
        with pytest.raises(ValueError, match=r"\S"):
            store.delete_nodes()
        assert len(ids(query_store(store))) == 4

    def test_clear_takes_everything(self, store: Store) -> None:
        store.add(four_nodes())
        store.clear()
        assert ids(query_store(store)) == []
        store.add(four_nodes())
        assert len(ids(query_store(store))) == 4

    def test_get_nodes_by_id_by_filter_and_by_both(self, store: Store) -> None:
        store.add(four_nodes())
        assert [n.node_id for n in store.get_nodes(["n1", "missing", "n0"])] == ["n1", "n0"]
        assert {n.node_id for n in store.get_nodes(filters=FRUIT)} == {"n0", "n2"}
        assert [n.node_id for n in store.get_nodes(["n2", "n3"], FRUIT)] == ["n2"]

    @pytest.mark.parametrize("kind", ["text", "index", "image"])
    def test_nodes_come_back_as_they_were(self, store: Store, kind: str) -> None:
        fields: dict[str, Any] = {
            "id_": "whole",
            "text": "the whole of it",
            "embedding": [1.0, 0.0],
            "metadata": {"topic": "fruit", "secret": "s", "list": ["a", "b"]},
            "excluded_embed_metadata_keys": ["secret"],
            "excluded_llm_metadata_keys": ["list"],
            "text_template": "{content} / {metadata_str}",
            "metadata_template": "{key}={value}",
            "metadata_separator": ";",
            "start_char_idx": 3,
            "end_char_idx": 18,
            "relationships": {
                NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", metadata={"x": 1}),
                NodeRelationship.NEXT: RelatedNodeInfo(node_id="next", hash="h"),
                NodeRelationship.CHILD: [RelatedNodeInfo(node_id="child")],
            },
        }
        made = TextNode(**fields)
        if kind == "index":
            made = IndexNode(**fields, index_id="other")
        if kind == "image":
            made = ImageNode(**fields, image_path="a.png")
        store.add([made])
        (stored,) = store.get_nodes(["whole"])
        (found,) = query_store(store).nodes or []
        wanted = made.model_dump(exclude={"embedding"})
        for returned in (stored, found):
            assert type(returned) is type(made)
            assert returned.model_dump(exclude={"embedding"}) == wanted
            assert returned.hash == made.hash

    def test_returned_nodes_are_independent_copies(self, store: Store) -> None:
        added = node(0)
        store.add([added])
        added.metadata["topic"] = "changed"
        for _ in range(2):
            (found,) = query_store(store).nodes or []
            assert found.metadata["topic"] == "fruit"
            found.metadata["topic"] = "changed"

    def test_a_query_is_never_changed(self, store: Store) -> None:
        store.add(four_nodes())
        query = VectorStoreQuery(query_embedding=[1.0, 0.1], query_str="a", similarity_top_k=2)
        before = VectorStoreQuery(**vars(query))
        store.query(query)
        assert query == before

    def test_a_query_without_vector_and_words_finds_nothing(self, store: Store) -> None:
        store.add(four_nodes())
        assert ids(query_store(store, query_embedding=None, query_str="")) == []

    @pytest.mark.parametrize("mode", list(VectorStoreQueryMode))
    def test_a_mode_is_served_or_refused(self, store: Store, mode: VectorStoreQueryMode) -> None:
        store.add(four_nodes())
        result = query_in_mode(store, mode)
        assert result is None or ids(result)[0] == "n0", f"mode {mode.value} returns wrong nodes"

    def test_async_methods_do_the_same(self, store: Store) -> None:
        async def run() -> list[str]:
            assert await store.async_add(four_nodes()) == ["n0", "n1", "n2", "n3"]
            await store.adelete("doc1")
            await store.adelete_nodes(["n1"])
            query = VectorStoreQuery(query_embedding=[1.0, 0.1], similarity_top_k=9)
            found = ids(await store.aquery(query))
            await store.aclear()
            assert ids(await store.aquery(query)) == []
            return found

        assert asyncio.run(run()) == ["n0"]


def query_in_mode(store: Store, mode: VectorStoreQueryMode) -> VectorStoreQueryResult | None:
    """Query a store in a mode. Return None if it raises an error that names the mode."""
    try:
        return query_store(store, mode=mode, similarity_top_k=2)
    except (NotImplementedError, ValueError) as error:
        return None if mode.value in str(error).lower() else pytest.fail(repr(error))
