"""Moving over from langchain-community's retrievers: the same answers first."""

import warnings
from functools import partial

import faiss
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
from twofold.lexical.analysis.bm25_retrievers import split_words

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
    with pytest.raises(TypeError, match="expected a FAISS store, got int: 3"):
        from_faiss(3)


def embedded(text):
    return Hashed().embed_query(text)


def test_a_faiss_store_s_function_encodes_on(documents, claims, tmp_path):
    made = FAISS.from_documents(documents[:40], Hashed())
    store = FAISS(embedded, made.index, made.docstore, made.index_to_docstore_id)
    moved = from_faiss(store, path=tmp_path / "i")
    assert moved.index.dim == HashingEncoder().identity.dim
    assert moved.index.encoder.name == "FunctionEmbeddings(embedded)"
    assert ids(moved.similarity_search(claims[0])) == ids(store.similarity_search(claims[0]))
    assert len(moved.add_documents([Document(id="new", page_content=claims[0])])) == 1
    assert ids(moved.similarity_search(claims[0], k=1)) == ["new"]
    moved.index.close()
    silent = FAISS(None, made.index, made.docstore, made.index_to_docstore_id)
    moved = from_faiss(silent)
    assert moved.embeddings is None
    vector = Hashed().embed_query(claims[0])
    assert ids(moved.similarity_search_by_vector(vector)) == (
        ids(store.similarity_search_by_vector(vector))
    )
    moved.index.close()


def test_a_faiss_store_of_another_metric_is_refused(documents, tmp_path):
    made = FAISS.from_documents(documents[:5], Hashed())
    vectors = made.index.reconstruct_n(0, 5)
    other = faiss.IndexFlat(made.index.d, faiss.METRIC_L1)
    other.add(vectors)
    store = FAISS(Hashed(), other, made.docstore, made.index_to_docstore_id)
    with pytest.raises(ValueError, match="has FAISS's metric 2, and only inner product"):
        from_faiss(store, path=tmp_path / "i")
    assert not (tmp_path / "i").exists()


def test_a_cell_that_moves_can_be_run_twice(documents, claims, tmp_path):
    store = FAISS.from_documents(documents[:30], Hashed())
    words = BM25Retriever.from_documents(documents[:30], preprocess_func=lowered)
    ensemble = EnsembleRetriever(retrievers=[words, store.as_retriever()])
    kept = []
    for _ in range(2):
        kept += [
            from_faiss(store, path=tmp_path / "1").index,
            from_bm25_retriever(words, path=tmp_path / "2").index,
            from_ensemble(ensemble, path=tmp_path / "3").index,
        ]
    assert [len(each) for each in kept] == [30] * 6
    for each in kept:
        each.close()


class Terms:
    """Terms by an object that can be called."""

    def __call__(self, text):
        return text.lower().split()


def default_preprocessing_func(text):
    """Lower-case words, by the name of BM25Retriever's own."""
    return text.lower().split()


called = Terms()
partly = partial(str.split, maxsplit=-1)


def test_whatever_gives_bm25_its_terms(documents, claims):
    for given in (called, default_preprocessing_func):
        retriever = BM25Retriever.from_documents(documents, preprocess_func=given)
        moved = from_bm25_retriever(retriever)
        found = moved.invoke(claims[0].upper())
        assert ids(found) == ids(retriever.invoke(claims[0].upper()))
        assert len(found) == 4
        moved.index.close()
    retriever = BM25Retriever.from_documents(documents, preprocess_func=partly)
    with pytest.raises(InputError, match="has no import path"):
        from_bm25_retriever(retriever)
    moved = from_bm25_retriever(retriever, analyzer=split_words)
    assert ids(moved.invoke(claims[1])) == ids(retriever.invoke(claims[1]))
    moved.index.close()


def test_ids_that_come_again_are_of_the_content(tmp_path):
    own = [
        Document(id="1", page_content="red apple"),
        Document(id="1", page_content="green pear"),
        Document(page_content="blue plum"),
        Document(id="1", page_content="red apple"),
    ]
    for _ in range(2):
        moved = from_bm25_retriever(BM25Retriever.from_documents(own), path=tmp_path / "i")
        assert sorted(each.text for each in moved.index) == [
            "blue plum", "green pear", "red apple", "red apple",
        ]  # fmt: skip
        assert moved.invoke("green")[0].id != "1"
        assert moved.index.get(["1"])[0].text == "red apple"
        moved.index.close()


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
    assert moved.index.analyzer == "twofold.lexical.analysis.bm25_retrievers:split_words"
    assert ids(moved.invoke(claims[1])) == ids(retriever.invoke(claims[1]))
    assert moved.invoke("zzz nothing") == []  # where it gives the last four documents
    assert len(retriever.invoke("zzz nothing")) == 4
    both = TwofoldRetriever(index=moved.index, k=4)
    assert both.retriever.retrieve(claims[1]).info.mode == "hybrid"
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
    with pytest.warns(UserWarning, match="has 50 texts, the BM25Retriever 40, and 10 are in both"):
        moved = from_ensemble(EnsembleRetriever(retrievers=[words, near]))
    assert len(moved.index) == 80
    assert moved.retriever.depth == 5
    found = moved.invoke(claims[0])
    assert found
    assert {each.metadata["year"] for each in found} <= {1990, 1991, 2000}
    moved.index.close()
    with pytest.raises(TypeError, match="got BM25Retriever, BM25Retriever"):
        from_ensemble(EnsembleRetriever(retrievers=[words, words]))


def test_an_ensemble_loses_no_document_of_an_id_that_both_have():
    store = FAISS.from_texts(["red apple", "green pear"], Hashed(), ids=["0", "1"])
    words = BM25Retriever.from_texts(
        ["blue plum", "green pear", "grey nut", "grey nut"], ids=["0", "1", "2", "2"]
    )
    with pytest.warns(UserWarning, match="has 2 texts, the BM25Retriever 3, and 1 are in both"):
        moved = from_ensemble(EnsembleRetriever(retrievers=[words, store.as_retriever()]))
    assert sorted(each.text for each in moved.index) == [
        "blue plum", "green pear", "grey nut", "red apple",
    ]  # fmt: skip
    assert moved.index.get(["0", "1", "2"])[0].text == "red apple"
    assert moved.invoke("plum")[0].page_content == "blue plum"
    moved.index.close()


def test_what_an_ensemble_does_that_a_fusion_of_legs_can_t_is_refused(documents, tmp_path):
    store = FAISS.from_documents(documents[:5], Hashed())
    words = BM25Retriever.from_documents(documents[:5])
    threshold = {"score_threshold": 0.5}
    for near, more, said in [
        (store.as_retriever(search_type="mmr"), {}, "search_type 'mmr': set it to 'similarity'"),
        (
            store.as_retriever(search_type="similarity_score_threshold", search_kwargs=threshold),
            {},
            "min_dense",
        ),
        (store.as_retriever(search_kwargs=threshold), {}, "search_kwargs .'score_threshold'."),
        (store.as_retriever(search_kwargs={"lambda_mult": 1}), {}, "search_kwargs .'lambda_mult'."),
        (store.as_retriever(), {"id_key": "year"}, "id_key='year'"),
    ]:
        with pytest.raises(ValueError, match=said):
            from_ensemble(EnsembleRetriever(retrievers=[words, near], **more), path=tmp_path / "i")
    assert not (tmp_path / "i").exists()
    deep = store.as_retriever(search_kwargs={"k": 2, "fetch_k": 50})  # which no filter needs here
    moved = from_ensemble(EnsembleRetriever(retrievers=[words, deep]))
    assert len(moved.index) == 5
    moved.index.close()


async def test_another_fusion_at_a_call_of_what_an_ensemble_became(documents, claims):
    store = FAISS.from_documents(documents, Hashed())
    words = BM25Retriever.from_documents(documents, k=6, preprocess_func=lowered)
    near = store.as_retriever(search_kwargs={"k": 6})
    moved = from_ensemble(EnsembleRetriever(retrievers=[words, near], weights=[0.5, 0.5]))
    other = from_ensemble(EnsembleRetriever(retrievers=[words, near], weights=[0.1, 0.9]))
    wanted = ids(other.invoke(claims[2]))
    assert ids(moved.invoke(claims[2])) != wanted
    assert ids(moved.invoke(claims[2], weights=(0.9, 0.1))) == wanted
    assert ids(await moved.ainvoke(claims[2], weights=np.float32(0.9))) == wanted
    assert ids(moved.batch([claims[2]], preset="langchain")[0]) == ids(moved.invoke(claims[2]))
    for each in (moved, other):
        each.index.close()


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


def test_a_faiss_store_that_keeps_codes_is_refused(documents, tmp_path):
    """Other vectors would come back than went in."""
    made = FAISS.from_documents(documents[:5], Hashed())
    codes = faiss.IndexLSH(made.index.d, 16)
    codes.add(made.index.reconstruct_n(0, 5))
    store = FAISS(Hashed(), codes, made.docstore, made.index_to_docstore_id)
    with pytest.raises(ValueError, match="IndexLSH doesn't store the original vectors"):
        from_faiss(store, path=tmp_path / "i")
    assert not (tmp_path / "i").exists()
