"""Moving over from langchain-community's retrievers: the same answers first."""

import warnings

import numpy as np
import pytest
from langchain_classic.retrievers import EnsembleRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_twofold import (
    TwofoldRetriever,
    TwofoldVectorStore,
    from_bm25_retriever,
    from_ensemble,
    from_faiss,
)
from twofold import HashingEncoder, Index
from twofold.errors import InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # langchain-community is being sunset
    from langchain_community.retrievers import BM25Retriever
    from langchain_community.vectorstores import FAISS
    from langchain_community.vectorstores.utils import DistanceStrategy


class Hashed(Embeddings):
    """Hashed words, so that near texts have near vectors."""

    def embed_documents(self, texts):
        return HashingEncoder().encode_passages(texts).tolist()

    def embed_query(self, text):
        return HashingEncoder().encode_queries([text])[0].tolist()


def lowered(text):
    return text.lower().split()


@pytest.fixture(scope="module")
def documents(abstracts):
    return [
        Document(id=each["_id"], page_content=each["text"], metadata={"year": 1990 + place % 30})
        for place, each in enumerate(abstracts[:200])
    ]


def ids(found):
    return [each.id for each in found]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"distance_strategy": DistanceStrategy.MAX_INNER_PRODUCT},
        {"normalize_L2": True},
    ],
)
def test_a_faiss_store_gives_the_same_documents(documents, claims, settings, tmp_path):
    store = FAISS.from_documents(documents, Hashed(), **settings)
    moved = from_faiss(store, path=tmp_path / "i")
    assert len(moved.index) == len(documents)
    for claim in claims[:20]:
        assert ids(moved.similarity_search(claim, k=8)) == ids(store.similarity_search(claim, k=8))
        vector = Hashed().embed_query(claim)
        assert ids(moved.similarity_search_by_vector(vector, k=8)) == (
            ids(store.similarity_search_by_vector(vector, k=8))
        )
    year = {"year": {"$gte": 2010, "$neq": 2011}}
    assert ids(moved.similarity_search(claims[0], k=5, filter=year)) == (
        ids(store.similarity_search(claims[0], k=5, filter=year, fetch_k=200))
    )
    both = TwofoldVectorStore(moved.index)
    assert ids(both.similarity_search(claims[0])) != ids(moved.similarity_search(claims[0]))
    assert moved.get_by_ids([documents[3].id]) == [documents[3]]
    moved.index.close()


def test_what_a_broken_faiss_store_still_has(documents):
    store = FAISS.from_documents(documents[:5], Hashed())
    with pytest.raises(ValueError, match="already exist"):
        store.add_documents(documents[:1])  # whose vectors it has added before
    moved = from_faiss(store)
    assert sorted(ids(moved.similarity_search("cells", k=10))) == sorted(ids(documents[:5]))
    moved.index.close()
    store.delete([each.id for each in documents[:5]])
    empty = from_faiss(store)
    assert empty.similarity_search("cells") == []
    empty.index.close()
    with pytest.raises(TypeError, match="a FAISS store is wanted, not int: 3"):
        from_faiss(3)


def test_a_bm25_retriever_gives_the_same_documents(documents, claims):
    retriever = BM25Retriever.from_documents(
        documents, bm25_params={"k1": 1.2, "epsilon": 0.1}, preprocess_func=lowered, k=6
    )
    moved = from_bm25_retriever(retriever)
    compared = 0
    for claim in claims[:40]:
        scores = retriever.vectorizer.get_scores(lowered(claim))
        best = np.sort(scores)[::-1][:7]
        found = moved.invoke(claim)
        assert [each.metadata["score"] for each in found] == pytest.approx(best[:6].tolist())
        if len(set(best.tolist())) == 7:  # its ties are in no order
            compared += 1
            assert ids(found) == ids(retriever.invoke(claim))
    assert compared > 30
    moved.index.close()


def test_bm25_s_default_is_plain_splitting(documents, claims):
    retriever = BM25Retriever.from_documents(documents)
    moved = from_bm25_retriever(retriever, encoder=Hashed())
    assert moved.index.analyzer == "langchain_twofold.moving:split_words"
    assert ids(moved.invoke(claims[1])) == ids(retriever.invoke(claims[1]))
    assert moved.invoke("zzz nothing") == []  # where it gives the last four documents
    assert len(retriever.invoke("zzz nothing")) == 4
    both = TwofoldRetriever(index=moved.index, k=4)
    assert both.mode == "hybrid"
    assert len(both.invoke("zzz nothing")) == 4
    moved.index.close()
    unnamed = BM25Retriever.from_documents(documents[:3], preprocess_func=lambda text: [text])
    with pytest.raises(InputError, match="has no import path"):
        from_bm25_retriever(unnamed)


@pytest.mark.parametrize("dense_first", [True, False])
def test_an_ensemble_gives_the_same_documents(documents, claims, dense_first):
    words = BM25Retriever.from_documents(documents, k=10, preprocess_func=lowered)
    store = FAISS.from_documents(documents, Hashed())
    near = store.as_retriever(search_kwargs={"k": 10})
    pair = [near, words] if dense_first else [words, near]
    ensemble = EnsembleRetriever(retrievers=pair, weights=[0.7, 0.3], c=20)
    moved = from_ensemble(ensemble)
    compared = 0
    for claim in claims[:40]:
        scores = np.sort(words.vectorizer.get_scores(lowered(claim)))[::-1][:11]
        if len(set(scores.tolist())) == 11:
            compared += 1
            assert ids(moved.invoke(claim)) == ids(ensemble.invoke(claim))[:10]
    assert compared > 30
    moved.index.close()


def test_an_ensemble_s_filter_holds_and_documents_of_one_leg_come_too(documents, claims):
    store = FAISS.from_documents(
        [*documents[:50], documents[3].model_copy(update={"id": "again"})], Hashed()
    )
    words = BM25Retriever.from_documents(documents[40:80], preprocess_func=lowered)
    near = store.as_retriever(search_kwargs={"k": 5, "filter": {"year": [1990, 1991, 2000]}})
    moved = from_ensemble(EnsembleRetriever(retrievers=[words, near]))
    assert len(moved.index) == 80
    assert moved.retriever.depth == 5
    found = moved.invoke(claims[0])
    assert found
    assert {each.metadata["year"] for each in found} <= {1990, 1991, 2000}
    moved.index.close()
    with pytest.raises(TypeError, match="not of BM25Retriever, BM25Retriever"):
        from_ensemble(EnsembleRetriever(retrievers=[words, words]))


def test_moved_indexes_are_kept(documents, claims, tmp_path):
    store = FAISS.from_documents(documents[:30], Hashed())
    moved = from_faiss(store, path=tmp_path / "i")
    before = ids(moved.similarity_search(claims[0]))
    moved.add_documents([Document(id="new", page_content=claims[0])])
    encoder = moved.index.encoder
    moved.index.close()
    with Index.open(tmp_path / "i", encoder=encoder) as index:
        after = TwofoldRetriever(index=index, mode="dense", k=5).invoke(claims[0])
        assert ids(after) == ["new", *before]
