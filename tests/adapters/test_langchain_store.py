"""What code written against LangChain's stores and indexes finds."""

import asyncio

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, aindex, index

from langchain_twofold import TwofoldIndex, TwofoldRetriever, TwofoldVectorStore
from langchain_twofold.vector_store import select_relevance_score_fn
from twofold import HashingEncoder, Index, Retriever
from twofold.errors import DegradedWarning, FilterError, IndexNotFoundError
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
    with pytest.raises(TypeError, match="filter must be a mapping, got a function"):
        store.similarity_search("apple", filter=lambda metadata: True)
    with pytest.raises(FilterError, match="unknown operator"):
        store.similarity_search("apple", filter={"n": {"$near": 3}})
    with pytest.raises(TypeError, match="unknown argument 'filters'; did you mean 'filter'"):
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
                relevance = select_relevance_score_fn(store.retriever)
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


def test_relevance_is_on_one_scale_in_every_query(library):
    """The dense leg's: fused, the best of each query counts as 1, however bad it is."""
    store = TwofoldVectorStore(library)
    for query in ("gene expression in mice", "zzzz qqqq"):
        dense = Retriever(library, mode="dense", k=4).retrieve(query)
        told = store.similarity_search_with_relevance_scores(query)
        assert ids([each for each, _ in told]) == dense.ids
        scale = [(1 + score) / 2 for score in dense.scores]
        if library.metric == "cosine":
            assert [score for _, score in told] == pytest.approx(scale)
    best = {
        (query, mode): store.similarity_search_with_relevance_scores(query, k=1, mode=mode)[0][1]
        for query in ("gene expression in mice", "zzzz qqqq")
        for mode in (None, "hybrid", "dense")
    }
    for query in ("gene expression in mice", "zzzz qqqq"):
        assert best[query, None] == best[query, "dense"] != best[query, "hybrid"]
    least = best["gene expression in mice", None]
    assert least > best["zzzz qqqq", None]
    assert store.similarity_search_with_relevance_scores("zzzz qqqq", score_threshold=least) == []
    words = TwofoldVectorStore(retriever=Retriever(library, mode="lexical", k=4))
    found = words.similarity_search_with_relevance_scores("gene expression in mice")
    assert [each for each, _ in found] == words.similarity_search("gene expression in mice")
    read = TwofoldVectorStore(retriever=Retriever(library, k=4, reranker=Lengths()))
    found = read.similarity_search_with_relevance_scores("gene expression in mice")
    assert [each for each, _ in found] == read.similarity_search("gene expression in mice")


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


class Lengths:
    """Prefers long texts."""

    candidates, threshold = 10, None

    def rerank(self, queries, texts, progress=None):
        return [np.array([float(len(text)) for text in each]) for each in texts]


async def test_by_vector_nothing_is_asked_that_needs_a_text(store):
    vector = store.embeddings.embed_query("apple juice")
    near = ids(store.similarity_search_by_vector(vector))
    for settings in ({"reranker": Lengths()}, {"min_lexical": 0.1}, {"mode": "lexical"}):
        shaped = TwofoldVectorStore(retriever=Retriever(store.index, k=4, **settings))
        assert ids(shaped.similarity_search_by_vector(vector)) == near
        scored = shaped.similarity_search_with_score_by_vector(vector)
        assert await shaped.asimilarity_search_with_score_by_vector(vector) == scored
        assert ids([each for each, _ in scored]) == near
    told = store.max_marginal_relevance_search_with_score_by_vector(vector, k=2, fetch_k=5)
    assert told == await store.amax_marginal_relevance_search_with_score_by_vector(
        vector, k=2, fetch_k=5
    )
    own = {
        each.id: score for each, score in store.similarity_search_with_score_by_vector(vector, 5)
    }
    assert [score for _, score in told] == [own[each.id] for each, _ in told]
    plain = store.max_marginal_relevance_search_by_vector(vector, k=2, fetch_k=5)
    assert ids([each for each, _ in told]) == ids(plain)


def test_a_threshold_of_scores_keeps_the_higher(store):
    for mode in ("hybrid", "dense", "lexical"):
        scored = store.similarity_search_with_score("apple juice", k=5, mode=mode)
        least = scored[1][1]
        kept = store.similarity_search_with_score(
            "apple juice", k=5, mode=mode, score_threshold=least
        )
        assert kept == [(each, score) for each, score in scored if score >= least]
        assert len(kept) >= 2


async def test_async_searches_are_those_of_their_twins(store):
    vector = store.embeddings.embed_query("apple juice")
    for name, asked in [
        ("similarity_search", "apple"),
        ("similarity_search_with_score", "apple"),
        ("similarity_search_by_vector", vector),
        ("similarity_search_with_score_by_vector", vector),
        ("similarity_search_with_relevance_scores", "apple"),
        ("max_marginal_relevance_search", "apple"),
        ("max_marginal_relevance_search_by_vector", vector),
        ("max_marginal_relevance_search_with_score_by_vector", vector),
    ]:
        found = getattr(store, name)(asked, k=3, filter={"n": [0, 1, 2, 3]})
        assert len(found) == 3
        again = await getattr(store, f"a{name}")(asked, k=3, filter={"n": [0, 1, 2, 3]})
        assert again == found
    assert await store.aget_by_ids(["b"]) == store.get_by_ids(["b"]) != []


def test_adding_again_replaces_in_both_legs(store):
    store.add_texts(["a bicycle"], [{"n": 9}], ids=["a"])
    assert len(store.index) == 5
    assert "a" not in ids(store.similarity_search("day", k=5, mode="lexical"))
    assert ids(store.similarity_search("bicycle", k=1)) == ["a"]
    with pytest.raises(ValueError, match="1 ids for 2 texts"):
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
        with pytest.raises(TypeError, match="expected a Document"):
            target.upsert([Document(id="9", page_content="new"), "text"])
        assert "9" not in opened


def test_wrong_settings_are_refused_before_anything_is_indexed(tmp_path):
    path = tmp_path / "i"
    for given, words in [
        ({"metadatas": [{}]}, "1 metadatas for 5 texts"),
        ({"ids": ["a"]}, "1 ids for 5 texts"),
        ({"distance_strategy": "COSINE"}, "did you mean 'metric'"),
        ({"metadatas": [{"_payload": 1}] * 5}, "a field '_payload'"),
    ]:
        with pytest.raises((TypeError, ValueError), match=words):
            TwofoldVectorStore.from_texts(TEXTS, "hashing", path=path, **given)
    assert not path.exists()


async def test_what_is_given_may_come_from_generators(tmp_path):
    documents = [
        Document(id=own, page_content=text) for own, text in zip("abcde", TEXTS, strict=True)
    ]

    def each(items):
        return (item for item in items)

    def sorted_ids(made):
        with made.index as index:
            return sorted(passage.id for passage in index)

    store = TwofoldVectorStore
    made = store.from_documents(each(documents), "hashing")
    assert made.add_documents(each(documents[:2]), ids=each(["x", None])) == ["x", "b"]
    assert made.add_texts(each(["new"]), each([{"n": 1}]), ids=each(["y"])) == ["y"]
    assert await made.aadd_documents(each(documents[:1])) == ["a"]
    assert sorted_ids(made) == [*"abcdexy"]
    assert sorted_ids(await store.afrom_documents(each(documents), "hashing")) == [*"abcde"]
    texts = store.from_texts(each(TEXTS), "hashing", each(METADATAS), ids=each("abcde"))
    assert texts.get_by_ids(["e"])[0].metadata == METADATAS[4]
    assert sorted_ids(texts) == [*"abcde"]


async def test_a_notebook_cell_can_be_run_twice(tmp_path):
    pairs = [(text, HashingEncoder().encode_passages([text])[0].tolist()) for text in TEXTS]
    for _ in range(2):
        one = TwofoldVectorStore.from_texts(
            TEXTS, "hashing", ids=list("abcde"), path=tmp_path / "1"
        )
        two = TwofoldVectorStore.from_embeddings(
            iter(pairs), HashingEncoder(), METADATAS, list("abcde"), path=tmp_path / "2"
        )
    found = one.similarity_search_with_score("apple juice")
    assert [(each.id, score) for each, score in found] == [
        (each.id, score) for each, score in two.similarity_search_with_score("apple juice")
    ]
    three = await TwofoldVectorStore.afrom_embeddings(pairs, None)
    assert three.embeddings is None
    assert ids(three.similarity_search_by_vector(pairs[3][1], k=1)) == ids(
        three.similarity_search("pear and plum", k=1, mode="lexical")
    )
    for each in (one, two, three):
        each.index.close()


def test_saving_and_loading_in_one_line(tmp_path, store):
    store.save_local(tmp_path / "saved")
    store.delete(["a"])
    store.save_local(str(tmp_path / "saved"))  # again, over the first
    store.save_local(store.index.path)  # where it is already
    wanted = store.similarity_search_with_score("apple juice")
    again = TwofoldVectorStore.load_local(
        tmp_path / "saved", HashingEncoder(), allow_dangerous_deserialization=True
    )
    assert again.similarity_search_with_score("apple juice") == wanted
    assert len(again.index) == 4
    again.index.close()
    embedding = DeterministicFakeEmbedding(size=12)
    TwofoldVectorStore.from_texts(TEXTS, embedding, path=tmp_path / "other").index.close()
    loaded = TwofoldVectorStore.load_local(tmp_path / "other", embedding)
    assert len(TwofoldRetriever(index=loaded.index).invoke("apple")) == 5
    loaded.index.close()
    with pytest.raises(ValueError, match="index_name must be 'index', got 'mine'"):
        store.save_local(tmp_path / "saved", "mine")
    with pytest.raises(IndexNotFoundError):
        TwofoldVectorStore.load_local(tmp_path / "nothing", embedding)


def test_merging_keeps_vectors_and_replaces_equal_ids(tmp_path, store):
    encoder = HashingEncoder()
    vectors = np.eye(2, encoder.identity.dim, dtype=np.float32)  # which no encoder gives
    pairs = list(zip(["one", "two"], vectors.tolist(), strict=True))
    other = TwofoldVectorStore.from_embeddings(pairs, encoder, ids=["a", "x"])
    with pytest.warns(DegradedWarning, match="1 passages have no words"):
        other.add_texts([""], ids=["y"])  # which has no vector
    with pytest.warns(DegradedWarning, match="1 passages have no words"):
        store.merge_from(other)
    assert sorted(each.id for each in store.index) == [*"abcdexy"]
    assert store.get_by_ids(["a"])[0].page_content == "one"
    (nearest,) = store.similarity_search_with_score_by_vector(vectors[1].tolist(), k=1)
    assert nearest[0].id == "x"
    assert nearest[1] == pytest.approx(1.0)
    strange = TwofoldVectorStore.from_texts(["a"], DeterministicFakeEmbedding(size=4))
    with pytest.raises(ValueError, match="use add_documents, which encodes"):
        store.merge_from(strange)
    with pytest.raises(TypeError, match="target must be a TwofoldVectorStore, got int"):
        store.merge_from(3)
    other.index.close()
    strange.index.close()


def test_the_indexing_api_by_its_own_key_encoder(tmp_path):
    """Ids are hashes of text and metadata, so another value is another document."""
    with Index.open(tmp_path / "i", encoder="hashing") as opened:
        target, manager = TwofoldIndex(index=opened), InMemoryRecordManager("all")
        manager.create_schema()
        with pytest.warns(UserWarning, match="SHA-1"):
            index(corpus(0), InMemoryRecordManager("other"), target)
        opened.delete(where={})
        how = {"cleanup": "incremental", "source_id_key": "source", "key_encoder": "sha256"}
        assert index(corpus(0, 1), manager, target, **how)["num_added"] == 2
        before = {each.id for each in opened}
        changed = corpus(0, 1)
        changed[1].metadata["year"] = 2026
        done = index(changed, manager, target, **how)
        assert (done["num_added"], done["num_skipped"], done["num_deleted"]) == (1, 1, 1)
        assert len(before & {each.id for each in opened}) == 1
        found = target.invoke("apple pear")
        assert index(corpus(0), manager, target, **how)["num_skipped"] == 1
        scored = index(found[:1], manager, target, **how)  # a score among the metadata counts too
        assert scored["num_added"] == 1
