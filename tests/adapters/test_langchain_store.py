"""What code written against LangChain's stores and indexes finds."""

import asyncio

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, aindex, index

from langchain_twofold import TwofoldIndex, TwofoldVectorStore
from twofold import HashingEncoder, Index, Retriever
from twofold.errors import FilterError
from twofold.fusion import LogOdds

TEXTS = ["an apple a day", "apple pie", "green apple tree", "pear and plum", "apple and pear juice"]
METADATAS = [{"n": n, "kind": "drink" if n == 4 else "food"} for n in range(5)]


@pytest.fixture
def store(tmp_path):
    made = TwofoldVectorStore.from_texts(
        TEXTS, "hashing", METADATAS, ids=list("abcde"), path=tmp_path / "i"
    )
    yield made
    made.index.close()


def ids(documents):
    return [each.id for each in documents]


def test_searches_are_those_of_the_core(store):
    hits = Retriever(store.index, k=4).retrieve("apple juice")
    assert len(hits) == 4
    assert ids(store.similarity_search("apple juice")) == hits.ids
    scored = store.similarity_search_with_score("apple juice", k=4)
    assert [(each.id, score) for each, score in scored] == [(hit.id, hit.score) for hit in hits]
    assert all(type(score) is float for _, score in scored)
    assert scored[0][0].metadata == METADATAS[4]
    vector = store.embeddings.embed_query("apple juice")
    near = Retriever(store.index, mode="dense", k=3).retrieve("apple juice")
    assert ids(store.similarity_search_by_vector(vector, k=3)) == near.ids
    by_vector = store.similarity_search_with_score_by_vector(vector, k=3)
    assert [score for _, score in by_vector] == pytest.approx(near.scores.tolist(), abs=1e-6)
    assert ids(store.similarity_search("apple", k=2, mode="lexical")) == (
        Retriever(store.index, mode="lexical", k=2).retrieve("apple").ids
    )


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"kind": "drink"}, "e"),
        ({"kind": {"$neq": "drink"}}, "abcd"),
        ({"n": [0, 3]}, "ad"),
        ({"n": {"$in": [1, 2], "$gt": 1}}, "c"),
        ({"$or": [{"n": 0}, {"n": {"$gte": 4}}]}, "ae"),
        ({"$and": [{"n": {"$lt": 3}}, {"n": {"$nin": [0]}}]}, "bc"),
        ({"$not": {"n": {"$lte": 2}}}, "de"),
        ({"$and": [{"n": {"$lt": 3}}], "kind": "drink"}, ""),  # FAISS leaves kind out
        ({"year": {"$gt": 3}}, ""),  # FAISS raises TypeError
        ({}, "abcde"),
        ({"kind": {"$exists": True}, "n": 2}, "c"),  # twofold's own
    ],
)
def test_filters_of_the_faiss_store(store, given, wanted):
    assert sorted(ids(store.similarity_search("apple pear", k=5, filter=given))) == list(wanted)


def test_filters_that_can_t_be_asked(store):
    with pytest.raises(TypeError, match="a function can't filter before the search"):
        store.similarity_search("apple", filter=lambda metadata: True)
    with pytest.raises(FilterError, match="unknown operator"):
        store.similarity_search("apple", filter={"n": {"$near": 3}})
    with pytest.raises(TypeError, match="unknown argument 'filters': did you mean 'filter'"):
        store.similarity_search("apple", filters={})


@pytest.mark.parametrize("metric", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
async def test_relevance_is_from_0_to_1_and_keeps_the_order(metric, mode):
    rng = np.random.default_rng(0)
    with Index.open(None, dim=8, metric=metric) as opened:
        texts = [f"{TEXTS[n % 5]} {n}" for n in range(40)]
        opened.upsert(texts, vectors=10 * rng.standard_normal((40, 8)).astype(np.float32))
        for fusion in (None, LogOdds()) if mode == "hybrid" else (None,):
            store = TwofoldVectorStore(retriever=Retriever(opened, mode=mode, fusion=fusion))
            vector = None
            if mode == "lexical":
                scored = store.similarity_search_with_score("apple pear", k=20)
                told = store.similarity_search_with_relevance_scores("apple pear", k=20)
                assert told == await store.asimilarity_search_with_relevance_scores(
                    "apple pear", k=20
                )
            else:
                vector = rng.standard_normal(8).astype(np.float32)
                hits = store.retriever.retrieve("apple pear", vector=vector, k=20)
                relevance = store._select_relevance_score_fn()
                scored = [(hit, hit.score) for hit in hits]
                told = [(hit, relevance(hit.score)) for hit in hits]
            raw, bounded = [score for _, score in scored], [score for _, score in told]
            assert len(raw) == 20
            assert all(0 <= each <= 1 for each in bounded)
            assert len(set(bounded)) == len(set(raw)) > 1
            assert (
                np.argsort(raw, kind="stable").tolist()
                == np.argsort(bounded, kind="stable").tolist()
            )


def test_a_threshold_of_relevance(store):
    told = store.similarity_search_with_relevance_scores("apple juice", k=5)
    least = told[1][1]
    kept = store.similarity_search_with_relevance_scores("apple juice", k=5, score_threshold=least)
    assert [each.id for each, _ in kept] == [each.id for each, score in told if score >= least]
    by_retriever = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": least, "k": 5}
    )
    assert ids(by_retriever.invoke("apple juice")) == [each.id for each, _ in kept]


async def test_mmr_and_its_twins(store):
    plain = store.max_marginal_relevance_search("apple", k=3, lambda_mult=1.0)
    assert ids(plain) == ids(store.similarity_search("apple", k=3))
    unlike = store.max_marginal_relevance_search("apple", k=3, fetch_k=5, lambda_mult=0.0)
    wanted = Retriever(store.index, k=3, depth=5, diversity=1.0).retrieve("apple")
    assert ids(unlike) == wanted.ids != ids(plain)
    again = await store.amax_marginal_relevance_search("apple", k=3, fetch_k=5, lambda_mult=0.0)
    assert ids(again) == ids(unlike)
    vector = store.embeddings.embed_query("apple")
    by_vector = store.max_marginal_relevance_search_by_vector(vector, k=3, lambda_mult=0.3)
    same = await store.amax_marginal_relevance_search_by_vector(vector, k=3, lambda_mult=0.3)
    assert ids(by_vector) == ids(same)
    assert len(by_vector) == 3
    picked = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 5})
    assert len(picked.invoke("apple")) == 2


def test_adding_again_replaces_in_both_legs(store):
    store.add_texts(["a bicycle"], [{"n": 9}], ids=["a"])
    assert len(store.index) == 5
    assert "a" not in ids(store.similarity_search("day", k=5, mode="lexical"))
    assert ids(store.similarity_search("bicycle", k=1)) == ["a"]
    with pytest.raises(ValueError, match="1 ids for 2 documents"):
        store.add_texts(["x", "y"], ids=["1"])
    with pytest.raises(ValueError, match="2 metadatas for 1 texts"):
        store.add_texts(["x"], [{}, {}])
    with pytest.raises(ValueError, match="delete needs ids"):
        store.delete()
    assert len(store.index) == 5


def test_known_vectors_and_reopening(tmp_path):
    embedding = DeterministicFakeEmbedding(size=12)
    first = TwofoldVectorStore.from_texts(
        TEXTS[:2], embedding, path=tmp_path / "i", metric="cosine"
    )
    pairs = [(text, embedding.embed_query(text)) for text in TEXTS[2:]]
    made = first.add_embeddings(pairs, METADATAS[2:], ids=["x", "y", "z"])
    assert made == ["x", "y", "z"]
    assert first.embeddings is embedding
    nearest = first.similarity_search(TEXTS[3], k=1, mode="dense")
    before = first.similarity_search_with_relevance_scores("apple", k=5)
    assert ids(nearest) == ["y"]
    first.index.close()
    again = TwofoldVectorStore.from_texts([], embedding, path=tmp_path / "i")
    assert again.index.metric == "cosine"
    assert again.similarity_search_with_relevance_scores("apple", k=5) == before
    again.index.close()


def corpus(*numbers):
    return [
        Document(page_content=f"{TEXTS[n]} {n}", metadata={"source": f"file {n}"}) for n in numbers
    ]


def in_step(target, numbers):
    """Both legs hold these documents, and no other."""
    for mode in ("dense", "lexical"):
        found = target.invoke("apple pear", k=10, mode=mode)
        assert sorted(each.metadata["source"] for each in found) == [f"file {n}" for n in numbers]


@pytest.mark.parametrize("cleanup", ["incremental", "full", "scoped_full"])
async def test_the_indexing_api_keeps_both_legs_in_step(tmp_path, cleanup):
    for number in range(2):
        with Index.open(tmp_path / f"i{number}", encoder=HashingEncoder()) as opened:
            target, manager = TwofoldIndex(index=opened), InMemoryRecordManager("all")
            manager.create_schema()
            settings = {"cleanup": cleanup, "source_id_key": "source", "key_encoder": "sha256"}

            async def run(documents, number=number, to=target, by=manager, how=settings, **more):
                if number:
                    return await aindex(documents, by, to, **how, **more)
                return await asyncio.to_thread(index, documents, by, to, **how, **more)

            assert (await run(corpus(0, 1, 2)))["num_added"] == 3
            in_step(target, [0, 1, 2])
            assert (await run(corpus(0, 1, 2)))["num_skipped"] == 3
            changed = corpus(0, 1)
            changed[0].page_content += " and pears"
            done = await run(changed)
            gone = cleanup == "full"
            assert (done["num_added"], done["num_deleted"]) == (1, 2 if gone else 1)
            in_step(target, [0, 1] if gone else [0, 1, 2])
            assert target.invoke("pears", mode="lexical")[0].metadata["source"] == "file 0"
            assert (await run(changed, force_update=True))["num_updated"] == 2
            in_step(target, [0, 1] if gone else [0, 1, 2])


def test_an_index_takes_what_a_retriever_takes(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing") as opened:
        target = TwofoldIndex(index=opened, k=2, score_key="relevance")
        target.upsert([Document(id=str(n), page_content=TEXTS[n]) for n in range(5)])
        assert len(target.invoke("apple")) == 2
        assert len(target.batch(["apple", "pear"], k=3)[0]) == 3
        assert "relevance" in target.invoke("apple")[0].metadata
        assert [each.page_content for each in target.get(["3", "nothing", "1"])] == [
            TEXTS[3], TEXTS[1],
        ]  # fmt: skip
        with pytest.raises(TypeError, match="a Document is wanted"):
            target.upsert([Document(id="9", page_content="new"), "text"])
        assert "9" not in opened
