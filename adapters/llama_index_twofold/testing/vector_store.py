"""What every vector store must do: its life, its queries and what comes back."""

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

from llama_index_twofold.testing.suite import StoreSuite, asked, four, ids, node

FRUIT = MetadataFilters(filters=[ExactMatchFilter(key="topic", value="fruit")])


class VectorStoreSuite(StoreSuite):
    """A store's life, its queries, and that nodes come back as they were."""

    def test_an_empty_store_answers_with_empty_lists(self, store: BasePydanticVectorStore) -> None:
        result = asked(store)
        assert ids(result) == []
        assert list(result.similarities or []) == []
        store.delete("nothing")

    def test_add_returns_the_ids_of_the_nodes(self, store: BasePydanticVectorStore) -> None:
        assert store.add(four()) == ["n0", "n1", "n2", "n3"]
        assert store.add([]) == []

    def test_the_nearest_come_first_and_score_higher(self, store: BasePydanticVectorStore) -> None:
        store.add(four())
        result = asked(store)
        assert ids(result) == ["n0", "n2", "n1", "n3"]
        scores = list(result.similarities or [])
        assert scores == sorted(scores, reverse=True)
        assert json.loads(json.dumps(scores)) == scores
        assert ids(asked(store, similarity_top_k=2)) == ["n0", "n2"]

    def test_adding_an_id_again_replaces_its_node(self, store: BasePydanticVectorStore) -> None:
        store.add(four())
        store.add([node(3, embedding=[1.0, 0.1], metadata={"topic": "new"})])
        assert ids(asked(store)) == ["n3", "n0", "n2", "n1"]
        new = MetadataFilters(filters=[ExactMatchFilter(key="topic", value="new")])
        assert ids(asked(store, filters=new)) == ["n3"]

    def test_the_last_of_two_nodes_with_one_id_counts(self, store: BasePydanticVectorStore) -> None:
        store.add([node(0), node(0, embedding=[0.0, 1.0])])
        result = asked(store, query_embedding=[0.0, 1.0])
        assert ids(result) == ["n0"]
        assert (result.similarities or [0])[0] > 0.9

    def test_delete_takes_all_nodes_of_a_document(self, store: BasePydanticVectorStore) -> None:
        store.add(four())
        store.delete("doc0")
        store.delete("doc0")
        store.delete("n2")  # a node's id is no document's
        assert ids(asked(store)) == ["n2", "n3"]

    def test_nodes_come_and_go_many_times(self, store: BasePydanticVectorStore) -> None:
        for _ in range(3):
            store.add(four())
            store.delete("doc0")
            store.add([node(0), node(4)])
            found = ids(asked(store, query_embedding=[0.0, 1.0]))
            assert sorted(found) == ["n0", "n2", "n3", "n4"]
            store.delete("doc2")
        assert sorted(ids(asked(store))) == ["n0", "n2", "n3"]

    def test_delete_nodes_by_id_by_filter_and_by_both(self, store: BasePydanticVectorStore) -> None:
        store.add(four())
        store.delete_nodes(["n1", "missing"])
        assert sorted(ids(asked(store))) == ["n0", "n2", "n3"]
        store.delete_nodes(["n0", "n3"], FRUIT)
        assert sorted(ids(asked(store))) == ["n2", "n3"]
        store.delete_nodes(filters=FRUIT)
        assert ids(asked(store)) == ["n3"]

    def test_delete_nodes_without_either_is_refused(self, store: BasePydanticVectorStore) -> None:
        store.add(four())
        with pytest.raises(ValueError, match=r"\S"):
            store.delete_nodes()
        assert len(ids(asked(store))) == 4

    def test_clear_takes_everything(self, store: BasePydanticVectorStore) -> None:
        store.add(four())
        store.clear()
        assert ids(asked(store)) == []
        store.add(four())
        assert len(ids(asked(store))) == 4

    def test_get_nodes_by_id_by_filter_and_by_both(self, store: BasePydanticVectorStore) -> None:
        store.add(four())
        assert [each.node_id for each in store.get_nodes(["n1", "missing", "n0"])] == ["n1", "n0"]
        assert {each.node_id for each in store.get_nodes(filters=FRUIT)} == {"n0", "n2"}
        assert [each.node_id for each in store.get_nodes(["n2", "n3"], FRUIT)] == ["n2"]

    @pytest.mark.parametrize("kind", ["text", "index", "image"])
    def test_nodes_come_back_as_they_were(self, store: BasePydanticVectorStore, kind: str) -> None:
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
        (back,) = store.get_nodes(["whole"])
        (found,) = asked(store).nodes or []
        for each in (back, found):
            assert type(each) is type(made)
            assert each.model_dump(exclude={"embedding"}) == made.model_dump(exclude={"embedding"})
            assert each.hash == made.hash

    def test_what_comes_back_is_nobody_elses(self, store: BasePydanticVectorStore) -> None:
        given = node(0)
        store.add([given])
        given.metadata["topic"] = "changed"
        for _ in range(2):
            (found,) = asked(store).nodes or []
            assert found.metadata["topic"] == "fruit"
            found.metadata["topic"] = "changed"

    def test_a_query_is_never_changed(self, store: BasePydanticVectorStore) -> None:
        store.add(four())
        query = VectorStoreQuery(query_embedding=[1.0, 0.1], query_str="a", similarity_top_k=2)
        before = VectorStoreQuery(**vars(query))
        store.query(query)
        assert query == before

    def test_a_query_without_vector_and_words_finds_nothing(
        self, store: BasePydanticVectorStore
    ) -> None:
        store.add(four())
        assert ids(asked(store, query_embedding=None, query_str="")) == []

    @pytest.mark.parametrize("mode", list(VectorStoreQueryMode))
    def test_a_mode_is_served_or_refused(
        self, store: BasePydanticVectorStore, mode: VectorStoreQueryMode
    ) -> None:
        store.add(four())
        result = served(store, mode)
        assert result is None or ids(result)[0] == "n0", f"{mode.value} isn't what it is called"

    def test_async_twins_do_the_same(self, store: BasePydanticVectorStore) -> None:
        async def life() -> list[str]:
            assert await store.async_add(four()) == ["n0", "n1", "n2", "n3"]
            await store.adelete("doc1")
            await store.adelete_nodes(["n1"])
            query = VectorStoreQuery(query_embedding=[1.0, 0.1], similarity_top_k=9)
            found = ids(await store.aquery(query))
            await store.aclear()
            assert ids(await store.aquery(query)) == []
            return found

        assert asyncio.run(life()) == ["n0"]


def served(
    store: BasePydanticVectorStore, mode: VectorStoreQueryMode
) -> VectorStoreQueryResult | None:
    """Return what a store finds in a mode, None if it says that it doesn't serve it."""
    try:
        return asked(store, mode=mode, similarity_top_k=2)
    except (NotImplementedError, ValueError) as refused:
        return None if mode.value in str(refused).lower() else pytest.fail(repr(refused))
