"""Copies and pickles of retrievers, stores and models of both adapters."""

import copy
import pickle

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

import langchain_twofold as langchain
import llama_index_twofold as llama
from twofold import BM25, HashingEncoder, Index, Retriever, WeightedSum
from twofold.rerank import CrossEncoderReranker

COPIES = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
TEXTS = {"1": "plants make food from light", "2": "how do cells divide", "3": "a red apple"}
QUERY = "how do plants make food?"


@pytest.fixture
def index(tmp_path):
    with Index.open(tmp_path / "index", encoder=HashingEncoder()) as opened:
        opened.upsert(
            [{"id": key, "text": text, "metadata": {"n": key}} for key, text in TEXTS.items()]
        )
        yield opened


def _core(retriever):
    hits = retriever.retrieve(QUERY)
    return hits.ids, hits.scores.tolist()


def _langchain(retriever):
    return [(found.id, found.metadata["score"]) for found in retriever.invoke(QUERY)]


def _langchain_store(store):
    return [(found.id, score) for found, score in store.similarity_search_with_score(QUERY)]


def _llama(retriever):
    return [(found.node_id, found.score) for found in retriever.retrieve(QUERY)]


MADE = {
    "core": (
        lambda index: Retriever(
            index,
            k=2,
            where={"n": {"$ne": "3"}},
            scorer=BM25(b=0.5),
            fusion=WeightedSum(dense_weight=0.3),
        ),
        _core,
    ),
    "langchain retriever": (lambda index: langchain.TwofoldRetriever(index=index, k=2), _langchain),
    "langchain index": (lambda index: langchain.TwofoldIndex(index=index, k=2), _langchain),
    "langchain store": (lambda index: langchain.TwofoldVectorStore(index), _langchain_store),
    "langchain store retriever": (
        lambda index: langchain.TwofoldVectorStore(index).as_retriever(search_kwargs={"k": 2}),
        lambda retriever: [found.id for found in retriever.invoke(QUERY)],
    ),
    "llama retriever": (
        lambda index: llama.TwofoldRetriever(index=index, similarity_top_k=2),
        _llama,
    ),
    "llama store": (
        lambda index: llama.TwofoldVectorStore(index=index),
        lambda store: [node.node_id for node in store.get_nodes(node_ids=["1", "2"])],
    ),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("kind", MADE)
def test_a_copy_answers_as_the_original_does(index, kind, copied):
    make, ask = MADE[kind]
    original = make(index)
    expected = ask(original)
    assert expected
    assert ask(copied(original)) == expected
    assert ask(original) == expected


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_of_embeddings_embed_as_the_original_does(copied):
    theirs = langchain.TwofoldEmbeddings("hashing")
    assert copied(theirs).embed_query(QUERY) == theirs.embed_query(QUERY)
    ours = llama.TwofoldEmbedding("hashing")
    assert copied(ours).get_query_embedding(QUERY) == ours.get_query_embedding(QUERY)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_of_rerankers_rerank_as_the_original_does(trained_cross_encoder, copied):
    reranker = CrossEncoderReranker(trained_cross_encoder)
    documents = [Document(text, id=key) for key, text in TEXTS.items()]
    theirs = langchain.TwofoldReranker(reranker=reranker, top_n=2)
    kept = [found.id for found in theirs.compress_documents(documents, QUERY)]
    assert [found.id for found in copied(theirs).compress_documents(documents, QUERY)] == kept
    nodes = [NodeWithScore(node=TextNode(id_=key, text=text)) for key, text in TEXTS.items()]
    ours = llama.TwofoldReranker(reranker=reranker, top_n=2)
    bundle = QueryBundle(QUERY)
    order = [found.node_id for found in ours.postprocess_nodes(nodes, bundle)]
    assert [found.node_id for found in copied(ours).postprocess_nodes(nodes, bundle)] == order
