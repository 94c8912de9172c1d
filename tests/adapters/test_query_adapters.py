"""A trained query adapter is in use in both frameworks, however the query comes."""

from dataclasses import replace

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import QueryBundle
from llama_index.core.vector_stores.types import VectorStoreQuery

import langchain_twofold
import llama_index_twofold
from twofold import HashingEncoder, Retriever
from twofold.backend import SearchProfile
from twofold.encoders import QueryAdapter
from twofold.fusion import FUSIONS

TEXTS = ["apples and pears", "cars and trains", "ripe cherries", "hammers and apples", "pears"]
QUERY = "apples or trains"


@pytest.fixture
def adapted(index):
    """An index with a random map in use, and what the core finds by it."""
    index.upsert([{"id": str(n), "text": text} for n, text in enumerate(TEXTS)])
    plain = Retriever(index, mode="dense").retrieve(QUERY)
    rng = np.random.default_rng(3)
    index.query_adapters.save("mine", QueryAdapter(rng.normal(size=(256, 256)).astype(np.float32)))
    setting = SearchProfile(FUSIONS["z-score"].with_dense_weight(0.7), 50, None, 1)
    index.profiles.save("mine", replace(setting, query_adapter="mine"), use=True)
    found = Retriever(index, mode="dense").retrieve(QUERY)
    assert found.ids != plain.ids
    return index, list(zip(found.ids, found.scores.tolist(), strict=True))


def test_langchain_searches_by_adapted_vectors(adapted):
    index, found = adapted
    retriever = langchain_twofold.TwofoldRetriever(index=index, mode="dense")
    assert [(each.id, each.metadata["score"]) for each in retriever.invoke(QUERY)] == found
    store = langchain_twofold.TwofoldVectorStore(index)
    by_text = store.similarity_search_with_score(QUERY, k=5, mode="dense")
    assert [(each.id, score) for each, score in by_text] == found
    vector = HashingEncoder().encode_queries([QUERY])[0].tolist()
    assert [each.id for each in store.similarity_search_by_vector(vector, k=5)] == [
        own for own, _ in found
    ]


def test_llama_index_searches_by_adapted_vectors(adapted):
    index, found = adapted
    retriever = llama_index_twofold.TwofoldRetriever(index, mode="dense")
    vector = HashingEncoder().encode_queries([QUERY])[0].tolist()
    for query in (
        QUERY,
        QueryBundle(QUERY, embedding=vector),
        QueryBundle("else", custom_embedding_strs=[QUERY]),
    ):
        assert [(each.node_id, each.score) for each in retriever.retrieve(query)] == found
    store = llama_index_twofold.TwofoldVectorStore(index=index)
    answer = store.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=5))
    assert list(zip(answer.ids, answer.similarities, strict=True)) == found
    model = llama_index_twofold.TwofoldEmbedding(HashingEncoder())
    engine = VectorStoreIndex.from_vector_store(store, embed_model=model)
    nodes = engine.as_retriever(similarity_top_k=5).retrieve(QUERY)
    assert [(each.node_id, each.score) for each in nodes] == found
