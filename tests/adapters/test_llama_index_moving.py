"""Moving over from LlamaIndex's own retrievers and stores: the same answers, then better ones."""

import json
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
import Stemmer
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters
from llama_index.retrievers.bm25 import BM25Retriever
from llama_index.vector_stores.faiss import FaissVectorStore
from llama_index.vector_stores.faiss.map_store import FaissMapVectorStore

from llama_index_twofold import (
    TwofoldEmbedding,
    TwofoldRetriever,
    TwofoldVectorStore,
    finetune_data,
    from_bm25_retriever,
    from_faiss,
    from_index,
)
from twofold import HashingEncoder, Retriever
from twofold.errors import InputError
from twofold.evaluation import evaluate

DIM = 256
MODEL = TwofoldEmbedding(HashingEncoder())
COUNT = 60


@pytest.fixture(scope="module")
def nodes(abstracts):
    return [
        TextNode(id_=each["_id"], text=each["text"], metadata={"n": at})
        for at, each in enumerate(abstracts[:COUNT])
    ]


@pytest.fixture(scope="module")
def asked(claims):
    return claims[:40]


def answer(retriever, query):
    return [(each.node_id, each.score) for each in retriever.retrieve(query)]


def same(found, wanted):
    """Whether two answers are one, but for the order of what ties."""
    scores = [score for _, score in wanted]
    np.testing.assert_allclose([score for _, score in found], scores, rtol=1e-5, atol=1e-5)
    last = scores[-1] if scores else 0.0
    kept = {own for own, score in wanted if score > last + 1e-5}
    assert kept <= {own for own, _ in found}


def index_over(store, nodes):
    context = StorageContext.from_defaults(vector_store=store) if store is not None else None
    return VectorStoreIndex(nodes, embed_model=MODEL, storage_context=context)


def test_from_an_index_over_the_simple_store(nodes, asked, tmp_path):
    index = index_over(None, nodes)
    index.delete_nodes([nodes[3].node_id])
    store = from_index(index, path=tmp_path / "moved")
    assert len(store.index) == COUNT - 1
    again = VectorStoreIndex.from_vector_store(store, embed_model=MODEL)
    before, after = (each.as_retriever(similarity_top_k=5) for each in (index, again))
    for query in asked:
        same(answer(after, query), answer(before, query))
    assert store.get_nodes([nodes[0].node_id])[0].metadata == nodes[0].metadata
    better = TwofoldRetriever(index=store.index, similarity_top_k=5)
    assert better.retriever.retrieve(asked[0]).info.mode == "hybrid"
    assert any(answer(better, query) != answer(before, query) for query in asked)


@pytest.mark.filterwarnings("ignore:the index uses metric")
@pytest.mark.parametrize("kind", [faiss.IndexFlatL2, faiss.IndexFlatIP])
def test_from_a_faiss_store_the_nearest_come_first(nodes, asked, kind):
    index = index_over(FaissVectorStore(kind(DIM)), nodes)
    moved = from_index(index)
    by_order = from_faiss(index.vector_store, nodes)
    before = index.as_retriever(similarity_top_k=5)
    for store in (moved, by_order):
        after = VectorStoreIndex.from_vector_store(store, embed_model=MODEL)
        retriever = after.as_retriever(similarity_top_k=5)
        for query in asked:
            wanted, found = answer(before, query), answer(retriever, query)
            scores = [score for _, score in found]
            assert scores == sorted(scores, reverse=True)
            sign = -1 if kind is faiss.IndexFlatL2 else 1  # squared distances there
            as_there = [score**2 if sign < 0 else score for score in scores]
            np.testing.assert_allclose(as_there, [score for _, score in wanted], atol=1e-5)
            assert found[0][0] == wanted[0][0] or wanted[0][1] == pytest.approx(wanted[1][1])
    assert moved.index.encoder is MODEL.encoder


@pytest.mark.filterwarnings("ignore:the index uses metric")
def test_from_a_map_store_ids_stay_what_they_were(nodes):
    store = FaissMapVectorStore(faiss.IndexIDMap2(faiss.IndexFlatL2(DIM)))
    vectors = MODEL.get_text_embedding_batch([each.text for each in nodes[:4]])
    made = [
        node.model_copy(update={"embedding": vector})
        for node, vector in zip(nodes, vectors, strict=False)
    ]
    store.add(made)
    store.delete_nodes([made[1].node_id])
    moved = from_faiss(store, made, embed_model=MODEL)
    assert sorted(each.id for each in moved.index) == sorted(made[at].node_id for at in (0, 2, 3))
    found = Retriever(moved.index, mode="dense", k=1).retrieve(vector=np.array(vectors[2], "f4"))
    assert found.ids == [made[2].node_id]


def test_what_cant_be_moved_says_why(nodes):
    with pytest.raises(TypeError, match="expected a VectorStoreIndex, got list"):
        from_index([])
    with pytest.raises(TypeError, match="expected a FaissVectorStore"):
        from_faiss(TwofoldVectorStore(), nodes)
    with pytest.raises(TypeError, match="doesn't expose its vectors"):
        from_index(index_over(TwofoldVectorStore(), nodes[:2]))
    with pytest.raises(TypeError, match="expected a BM25Retriever"):
        from_bm25_retriever(object())
    hashes = faiss.IndexLSH(8, 16)
    hashes.add(np.ones((2, 8), np.float32))
    with pytest.raises(ValueError, match="IndexLSH doesn't store the original vectors"):
        from_faiss(FaissVectorStore(hashes), nodes)


@pytest.mark.parametrize("skip", [True, False])
def test_from_a_bm25_retriever(nodes, asked, skip):
    theirs = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=5, skip_stemming=skip)
    ours = from_bm25_retriever(theirs)
    for query in [*asked, "the of and", "cells cells cells"]:
        wanted = [(own, score) for own, score in answer(theirs, query) if score > 0]
        same(answer(ours, query), wanted)
    both = TwofoldRetriever(index=from_bm25_retriever(theirs, embed_model=MODEL).index)
    assert both.retriever.retrieve(asked[0]).info.mode == "hybrid"


def test_a_filter_of_a_bm25_retriever_leaks_nothing(nodes, asked):
    filters = MetadataFilters(
        filters=[MetadataFilter(key="n", operator=FilterOperator.LT, value=4)]
    )
    theirs = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=10, filters=filters)
    ours = from_bm25_retriever(theirs)
    allowed = {each.node_id for each in nodes[:4]}
    assert any(own not in allowed for query in asked for own, _ in answer(theirs, query))
    for query in asked:
        assert {own for own, _ in answer(ours, query)} <= allowed
        wanted = [pair for pair in answer(theirs, query) if pair[0] in allowed and pair[1] > 0]
        same(answer(ours, query), wanted)


def test_another_language_needs_its_analyzer():
    texts = ("Die Häuser der Stadt", "Ein Garten")
    nodes = [TextNode(id_=str(at), text=text) for at, text in enumerate(texts)]
    theirs = BM25Retriever.from_defaults(
        nodes=nodes, stemmer=Stemmer.Stemmer("german"), language="de", similarity_top_k=2
    )
    with pytest.raises(ValueError, match="pass analyzer=, such as 'de'"):
        from_bm25_retriever(theirs)
    ours = from_bm25_retriever(theirs, analyzer="de")
    assert [own for own, _ in answer(ours, "Haus")] == ["0"]


def test_what_was_moved_is_reopened_with_its_words(nodes, asked, tmp_path):
    """LlamaIndex's own retriever loses its stemmer and its stop words on the way."""
    theirs = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=5)
    ours = from_bm25_retriever(theirs, path=tmp_path / "words")
    core = ours.retriever
    before = [answer(ours, query) for query in asked]
    ours.index.close()
    again = TwofoldVectorStore.from_persist_path(str(tmp_path / "words")).index
    reopened = Retriever(again, mode="lexical", k=5, scorer=core.scorer)
    assert [answer(TwofoldRetriever(retriever=reopened), query) for query in asked] == before


DATASET = {
    "queries": {"q1": "apples"},
    "corpus": {"a": "apples and pears", "b": "cars"},
    "relevant_docs": {"q1": ["a"]},
    "mode": "text",
}


@pytest.mark.parametrize("as_file", [True, False])
def test_a_finetune_dataset_is_read(index, tmp_path, as_file):
    given = SimpleNamespace(**DATASET)
    if as_file:
        given = tmp_path / "pairs.json"
        given.write_text(json.dumps(DATASET), encoding="utf-8")
    data = finetune_data(given)
    index.upsert(data.passages)
    found = evaluate(Retriever(index), data.queries, data.qrels, ["RR@10"], k=10)
    assert found.measures == {"RR@10": 1.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relevant_docs": {"q1": ["x"]}}, "1 relevant passages aren't in the corpus: 'x'"),
        ({"queries": None}, "queries of an EmbeddingQAFinetuneDataset must be a mapping, got None"),
    ],
)
def test_a_wrong_dataset_is_refused(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        finetune_data(SimpleNamespace(**{**DATASET, **changes}))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(InputError, match="can't be read as JSON"):
        finetune_data(broken)
    with pytest.raises(InputError, match="can't be read as JSON"):
        finetune_data(tmp_path / "missing.json")
