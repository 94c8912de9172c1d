"""A store over a configured retriever keeps its filter, in every query and in a copy."""

import copy
import pickle

import bm25s
import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    ExactMatchFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.retrievers.bm25 import BM25Retriever

from llama_index_twofold import TwofoldVectorStore, from_bm25_retriever
from twofold import HashingEncoder, Index, Passage, Retriever
from twofold.errors import QueryError

TEXTS = {"a": "green tea", "b": "green tea leaves", "c": "tea and coffee", "d": "green apples"}


def pickled(store):
    return pickle.loads(pickle.dumps(store))


@pytest.fixture
def store(tmp_path):
    with Index.open(tmp_path / "i", encoder=HashingEncoder()) as index:
        index.upsert(
            Passage(text, key, metadata={"tenant": "ab"[key in "bd"], "kind": "drink"})
            for key, text in TEXTS.items()
        )
        yield TwofoldVectorStore(retriever=Retriever(index, where={"tenant": "a"}))


FILTER = MetadataFilters(filters=[ExactMatchFilter(key="kind", value="drink")])
OTHER = MetadataFilters(filters=[ExactMatchFilter(key="tenant", value="b")])


@pytest.mark.parametrize(
    "copied", [lambda store: store, copy.deepcopy, lambda store: pickle.loads(pickle.dumps(store))]
)
@pytest.mark.parametrize("mode", ["default", "hybrid", "sparse", "text_search", "mmr"])
@pytest.mark.parametrize("filters", [None, FILTER])
def test_the_retrievers_filter_holds_in_every_query(store, copied, mode, filters):
    query = VectorStoreQuery(query_str="tea", mode=mode, similarity_top_k=4, filters=filters)
    assert set(copied(store).query(query).ids) == {"a", "c"}


def test_the_retrievers_filter_holds_beside_the_querys(store):
    for fields in ({"query_str": "tea", "mode": "hybrid"}, {}):
        query = VectorStoreQuery(filters=OTHER, similarity_top_k=4, **fields)
        assert store.query(query).ids == []
        query = VectorStoreQuery(filters=FILTER, similarity_top_k=4, **fields)
        assert set(store.query(query).ids) == {"a", "c"}


def test_a_temporary_store_is_not_pickled():
    store = TwofoldVectorStore(embed_model="hashing")
    with pytest.raises(TypeError, match="in a temporary folder can't be pickled"):
        pickle.dumps(store)
    store.index.close()


@pytest.mark.parametrize("mode", list(VectorStoreQueryMode))
def test_a_mode_may_be_its_name(store, mode):
    def ask(given):
        query = VectorStoreQuery(
            query_str="green tea", mode=given, similarity_top_k=2, mmr_threshold=0.1
        )
        try:
            return store.query(query).ids
        except (NotImplementedError, QueryError) as error:
            return type(error), str(error).replace(str(mode), mode.value)

    assert ask(mode.value) == ask(mode)


def test_a_bm25_retriever_keeps_its_scores_where_nodes_have_no_terms():
    texts = ["green tea leaf", "black tea", "coffee beans roasted", "water", "the", "of"]
    nodes = [TextNode(id_=str(n), text=text) for n, text in enumerate(texts)]
    theirs = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=2)
    assert theirs.bm25.method == bm25s.BM25().method == "lucene"
    ours = from_bm25_retriever(theirs)
    wanted = [(found.node_id, pytest.approx(found.score)) for found in theirs.retrieve("green tea")]
    assert [(found.node_id, found.score) for found in ours.retrieve("green tea")] == wanted
