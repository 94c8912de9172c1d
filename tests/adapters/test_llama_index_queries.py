"""Queries of LlamaIndex's vector store: by filters alone, with embeddings, MMR and reranking."""

import numpy as np
import pytest
from llama_index.core.schema import IndexNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from llama_index_twofold import TwofoldVectorStore
from twofold import Index, Retriever
from twofold.errors import QueryError

FRUIT = MetadataFilters(filters=[MetadataFilter(key="topic", value="fruit")])
VECTORS = [[1.0, 0.0], [0.0, 1.0], [3.0, 4.0], [-1.0, 0.2]]
TEXTS = ["apples and pears", "cars and trains", "cherries", "hammers"]
MODES = ["default", "hybrid", "sparse", "text_search", "mmr"]


def node(place):
    source = RelatedNodeInfo(node_id=f"doc{place // 2}")
    return TextNode(
        id_=f"n{place}",
        text=TEXTS[place],
        embedding=VECTORS[place],
        metadata={"topic": ["fruit", "vehicle", "fruit", "tool"][place]},
        relationships={NodeRelationship.SOURCE: source},
    )


@pytest.fixture
def store():
    store = TwofoldVectorStore()
    store.add([node(place) for place in range(4)])
    return store


def ask(store, mode="default", arguments=None, **fields):
    query = VectorStoreQuery(**{"similarity_top_k": 9, **fields}, mode=VectorStoreQueryMode(mode))
    return store.query(query, **(arguments or {}))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"filters": FRUIT}, ["n0", "n2"]),
        ({"filters": FRUIT, "similarity_top_k": 1}, ["n0"]),
        ({"filters": {"topic": {"$ne": "fruit"}}}, ["n1", "n3"]),
        ({"filters": MetadataFilters(filters=[])}, ["n0", "n1", "n2", "n3"]),
        ({"filters": {}, "similarity_top_k": 3}, ["n0", "n1", "n2"]),
        ({"node_ids": ["n3", "missing", "n0"]}, ["n3", "n0"]),
        ({"node_ids": ["n3", "n2"], "filters": FRUIT}, ["n2"]),
        ({"node_ids": [], "filters": FRUIT}, ["n0", "n2"]),
        ({"doc_ids": ["doc1"]}, ["n2", "n3"]),
        ({"doc_ids": ["doc1"], "filters": FRUIT}, ["n2"]),
        ({"doc_ids": []}, []),
        ({"filters": {"topic": "none"}}, []),
        ({"node_ids": []}, []),
        ({}, []),
        ({"query_str": "", "filters": FRUIT}, ["n0", "n2"]),
        ({"query_str": "  ", "node_ids": ["n0"]}, ["n0"]),
        ({"query_str": ""}, []),
    ],
)
def test_filters_alone_select(store, mode, fields, found):
    result = ask(store, mode, **fields)
    assert result.ids == found
    assert [node.node_id for node in result.nodes] == found
    assert not result.similarities


@pytest.mark.parametrize("k", [0, -1, None, 1.5])
def test_the_number_of_nodes_that_filters_select_is_checked(store, k):
    with pytest.raises(QueryError, match="similarity_top_k must be an integer >= 1"):
        ask(store, filters=FRUIT, similarity_top_k=k)


async def test_filters_alone_select_asynchronously(store):
    query = VectorStoreQuery(filters=FRUIT, similarity_top_k=9)
    assert (await store.aquery(query)).ids == ["n0", "n2"]


def test_ids_of_index_nodes_alone_select_them(store):
    store.add([IndexNode(id_="i", text="tools", index_id="x", embedding=[0.5, 0.5])])
    assert ask(store, node_ids=["i"]).ids == ["i"]
    assert len(ask(store, node_ids=["i"], query_embedding=[1.0, 0.0]).ids) == 5  # restricts nothing


def test_stored_embeddings_come_back_on_request(store):
    for nodes in (store.get_nodes(), ask(store, filters=FRUIT).nodes):
        assert [node.embedding for node in nodes] == [None] * len(nodes)
    unit = {
        f"n{place}": np.array(vector) / np.linalg.norm(vector)
        for place, vector in enumerate(VECTORS)
    }
    asked = {"include_embeddings": True}
    found = [
        store.get_nodes(**asked),
        store.get_nodes(["n2", "n0"], **asked),
        store.get_nodes(filters=FRUIT, **asked),
        ask(store, arguments=asked, filters=FRUIT).nodes,
        ask(store, arguments=asked, query_embedding=[1.0, 0.0]).nodes,
        ask(store, "hybrid", asked, query_embedding=[1.0, 0.0], query_str="cars").nodes,
    ]
    assert list(map(len, found)) == [4, 2, 2, 2, 4, 4]
    for nodes in found:
        for node in nodes:
            assert isinstance(node.embedding[0], float)
            np.testing.assert_allclose(node.embedding, unit[node.node_id], rtol=1e-6)


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_embeddings_keep_their_length_where_the_metric_reads_it(metric):
    store = TwofoldVectorStore(metric=metric)
    store.add([node(2)])
    assert store.get_nodes(include_embeddings=True)[0].embedding == [3.0, 4.0]


def test_nodes_without_a_vector_have_no_embedding():
    store = TwofoldVectorStore(index=Index.open(None, encoder=None))
    store.add([TextNode(id_="a", text="tea")])
    (found,) = store.get_nodes(include_embeddings=True)
    assert found.embedding is None


@pytest.mark.parametrize(("threshold", "second"), [(1.0, "n2"), (0.0, "n3")])
@pytest.mark.parametrize("argument", [{}, {"mmr_threshold": None}, {"mmr_prefetch_k": None}])
def test_an_argument_of_none_leaves_the_querys_threshold(store, threshold, second, argument):
    fields = {"query_embedding": [1.0, 0.0], "similarity_top_k": 2, "mmr_threshold": threshold}
    assert ask(store, "mmr", argument, **fields).ids == ["n0", second]
    other = {"mmr_threshold": 1.0 - threshold}
    assert ask(store, "mmr", other, **fields).ids != ["n0", second]


@pytest.mark.parametrize(("k", "factor"), [(3, 2.0), (1, 1), (0, 0)])
def test_two_numbers_of_candidates_are_refused(store, k, factor):
    arguments = {"mmr_prefetch_k": k, "mmr_prefetch_factor": factor}
    with pytest.raises(QueryError, match="mmr_prefetch_k or mmr_prefetch_factor, not both, got"):
        ask(store, "mmr", arguments, query_embedding=[1.0, 0.0])


class Shortest:
    """A reranker that prefers short texts."""

    name, candidates, threshold = "shortest", 10, None

    def rerank(self, queries, passages, k=None):
        return [np.array([1.0 / len(text) for text in texts]) for texts in passages]


def test_semantic_hybrid_is_hybrid_with_a_reranker(store):
    fields = {"query_embedding": [1.0, 0.0], "query_str": "apples cars", "similarity_top_k": 4}
    reranked = TwofoldVectorStore(retriever=Retriever(store.index, reranker=Shortest()))
    found = ask(reranked, "semantic_hybrid", **fields)
    texts = {passage.id: passage.text for passage in store.index}  # metadata and text
    assert found.ids == sorted(texts, key=lambda name: len(texts[name]))
    assert found.ids != ask(store, "hybrid", **fields).ids
    assert found.similarities == [1.0 / len(texts[name]) for name in found.ids]
    with pytest.raises(QueryError, match="'semantic_hybrid' reranks, and the store has no rerank"):
        ask(store, "semantic_hybrid", **fields)
