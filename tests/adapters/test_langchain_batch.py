"""Many queries at once, their callbacks, and what can be said at each call."""

import asyncio
import os
import threading
from contextvars import ContextVar
from uuid import uuid4

import numpy as np
import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import ConfigurableField, RunnableLambda

from langchain_twofold import EmbeddingsEncoder, TwofoldRetriever
from twofold import HashingEncoder, Index, Retriever
from twofold.concurrency import caller_pool
from twofold.errors import InputError, QueryError
from twofold.fusion import EnsembleFusion, QueryFusion

QUERIES = ["cells and growth", "heart disease risk", "gene expression in mice"]


class Runs(BaseCallbackHandler):
    """Notes what a tracer would see."""

    def __init__(self):
        self.started, self.ended, self.failed = {}, {}, {}
        self.children, self.stages = {}, {}
        self.described = []

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, **kwargs):
        self.children[run_id] = (parent_run_id, inputs["query"], kwargs.get("name"))

    def on_chain_end(self, outputs, *, run_id, **kwargs):
        self.stages[run_id] = [(each["id"], each["score"]) for each in outputs.get("found", [])]

    def on_chain_error(self, error, *, run_id, **kwargs):
        self.failed[run_id] = error

    def on_retriever_start(self, serialized, query, *, run_id, metadata=None, **kwargs):
        self.started[run_id] = (query, kwargs.get("name"), tuple(kwargs.get("tags") or ()))
        self.described.append(metadata or {})

    def on_retriever_end(self, documents, *, run_id, **kwargs):
        self.ended[run_id] = [each.id for each in documents]

    def on_retriever_error(self, error, *, run_id, **kwargs):
        self.failed[run_id] = error


class AsyncRuns(AsyncCallbackHandler):
    """The same for handlers that are awaited."""

    def __init__(self):
        self.queries, self.found = [], []

    async def on_retriever_start(self, serialized, query, **kwargs):
        self.queries.append(query)

    async def on_retriever_end(self, documents, **kwargs):
        self.found.append([each.id for each in documents])


class Counted:
    """Counts the calls of an encoder."""

    def __init__(self, encoder):
        self.encoder, self.calls = encoder, []
        self.name = encoder.name

    def encode_queries(self, texts):
        self.calls.append(len(texts))
        return self.encoder.encode_queries(texts)

    def encode_passages(self, texts):
        return self.encoder.encode_passages(texts)


class Busy(Embeddings):
    """Hashed words, and no answer for one of them."""

    def embed_documents(self, texts):
        return HashingEncoder().encode_passages(texts).tolist()

    def embed_query(self, text):
        if text == "boom":
            raise RuntimeError("429")
        return HashingEncoder().encode_queries([text])[0].tolist()


FRUIT = [Document(id=name, page_content=name) for name in ("apple", "pear")]


def ids(documents):
    return [each.id for each in documents]


@pytest.fixture
def retriever(library):
    return TwofoldRetriever(index=library, k=4)


async def test_a_batch_is_one_call_with_a_run_for_each_query(retriever):
    alone = [ids(retriever.invoke(query)) for query in QUERIES]
    assert all(len(each) == 4 for each in alone)
    runs = Runs()
    config = {"callbacks": [runs], "tags": ["mine"], "run_name": "own name"}
    assert [ids(each) for each in retriever.batch(QUERIES, config)] == alone
    assert [runs.started[run][0] for run in runs.started] == QUERIES
    assert [runs.ended[run] for run in runs.started] == alone
    assert {each[1:] for each in runs.started.values()} == {("own name", ("mine",))}
    awaited = AsyncRuns()
    found = await retriever.abatch(QUERIES, {"callbacks": [awaited]})
    assert [ids(each) for each in found] == awaited.found == alone
    assert awaited.queries == QUERIES


def test_a_batch_encodes_once(library, tmp_path):
    encoder = Counted(HashingEncoder())
    with Index.open(tmp_path / "i", encoder=encoder) as index:
        index.upsert(["a red apple", "a green pear"])
        retriever = TwofoldRetriever(index=index, k=1)
        retriever.batch(["warm"])
        encoder.calls.clear()
        chain = retriever | RunnableLambda(ids)
        assert len(chain.batch(["apple", "pear", "red"])) == 3
        assert encoder.calls == [3]


def test_each_query_may_have_a_configuration_of_its_own(retriever):
    runs, others = Runs(), Runs()
    own = uuid4()
    configs = [{"callbacks": [runs], "run_id": own}, {"callbacks": [others]}]
    retriever.batch(QUERIES[:2], configs)
    assert list(runs.started) == list(runs.ended) == [own]
    assert [each[0] for each in others.started.values()] == [QUERIES[1]]
    assert retriever.batch([]) == []


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", ["batch", "abatch"])
async def test_a_bad_query_fails_alone(retriever, name, apart):
    wanted, runs = ids(retriever.invoke("cells")), Runs()

    async def asked():
        given = getattr(retriever, name)(
            ["cells", 3], {"callbacks": [runs]}, return_exceptions=apart
        )
        return await given if name == "abatch" else given

    if apart:
        found, error = await asked()
        assert ids(found) == wanted
        assert isinstance(error, QueryError)
    else:
        with pytest.raises(QueryError, match="a query must be a string, got int: 3"):
            await asked()
    good, bad = runs.started
    assert runs.ended == {good: wanted}
    assert list(runs.failed) == [bad]
    assert {parent for parent, _, _ in runs.children.values()} == {good}


def test_a_query_that_the_encoder_can_t_take_fails_alone():
    retriever = TwofoldRetriever.from_documents(FRUIT, encoder=Busy(), k=1)
    runs = Runs()
    with pytest.raises(RuntimeError, match="429"):
        retriever.batch(["apple", "boom", "pear"], {"callbacks": [runs]})
    first, second, third = runs.started
    assert runs.ended == {first: ["apple"], third: ["pear"]}
    assert second in runs.failed
    names = [name for _, _, name in runs.children.values()]
    assert names == ["twofold encoder"] * 3  # of the one call for all, and no second time
    given = retriever.batch((each for each in ["boom", "pear"]), return_exceptions=True)
    assert isinstance(given[0], RuntimeError)
    assert ids(given[1]) == ["pear"]
    with pytest.raises(TypeError, match="unknown argument 'kk'"):
        retriever.batch(["apple", "pear"], kk=3)
    retriever.index.close()


def test_a_batch_s_queries_are_embedded_side_by_side_and_in_order():
    together = threading.Barrier(8, timeout=30)  # breaks where they come one after the other
    asked = ContextVar("asked", default="nothing")
    seen = []

    class Slow(Busy):
        def embed_query(self, text):
            if asked.get() != "nothing":
                together.wait()
                seen.append(asked.get())
            return super().embed_query(text)

    encoder = EmbeddingsEncoder(Slow())
    asked.set("by me")
    texts = [f"apple {n}" for n in range(16)]
    vectors = encoder.encode_queries(texts)
    assert vectors.tolist() == HashingEncoder().encode_queries(texts).tolist()
    assert seen == ["by me"] * 16
    asked.set("nothing")
    with pytest.raises(RuntimeError, match="429"):
        encoder.encode_queries(["apple", "boom", "pear"])


async def test_every_option_at_every_call(library, retriever):
    query = QUERIES[1]
    cases = {
        "k": (2, Retriever(library, k=2)),
        "filter": (
            {"year": {"$gte": 2000}},
            Retriever(library, k=4, where={"year": {"$gte": 2000}}),
        ),
        "mode": ("lexical", Retriever(library, k=4, mode="lexical")),
        "weights": ((1, 0), Retriever(library, k=4, dense_weight=1.0)),
        "min_score": (0.75, Retriever(library, k=4, min_score=0.75)),
        "reranker": (Backwards(), Retriever(library, k=4, reranker=Backwards())),
        "preset": ("langchain", Retriever(library, k=4, preset="langchain")),
        "exact": (True, Retriever(library, k=4, exact=True)),
    }
    for name, (value, core) in cases.items():
        wanted = core.retrieve(query).ids
        assert wanted
        given = {name: value}
        assert ids(retriever.invoke(query, **given)) == wanted
        assert ids(await retriever.ainvoke(query, **given)) == wanted
        assert ids(retriever.bind(**given).invoke(query)) == wanted
        assert [ids(each) for each in retriever.batch([query], **given)] == [wanted]
        assert [ids(each) for each in await retriever.abatch([query], **given)] == [wanted]
        if name == "exact":
            continue
        assert ids(TwofoldRetriever(index=library, **{"k": 4, **given}).invoke(query)) == wanted
        flexible = retriever.configurable_fields(**{name: ConfigurableField(id="own")})
        assert ids(flexible.invoke(query, config={"configurable": {"own": value}})) == wanted
    assert cases["weights"][1].retrieve(query).ids != Retriever(library, k=4).retrieve(query).ids


def test_like_and_weights_at_a_call_take_the_place_of_what_was_set(library):
    query = QUERIES[1]
    fused = TwofoldRetriever(retriever=Retriever(library, k=4, depth=4, fusion=EnsembleFusion(0.9)))
    weighted = TwofoldRetriever(index=library, k=4, weights=(1, 0))
    usual = Retriever(library, k=4, preset="llamaindex").retrieve(query)
    alone = [hit.score for hit in Retriever(library, k=4, dense_weight=1.0).retrieve(query)]
    assert [each.metadata["score"] for each in weighted.invoke(query)] == alone
    for retriever in (weighted, TwofoldRetriever(index=library, k=4)):
        found = retriever.invoke(query, preset="llamaindex")
        assert ids(found) == usual.ids
        assert [each.metadata["score"] for each in found] == usual.scores.tolist()
    named = Retriever(library, k=4, depth=4, preset="llamaindex").retrieve(query)
    assert ids(fused.invoke(query, preset="llamaindex")) == named.ids
    other = Retriever(library, k=4, depth=4, fusion=EnsembleFusion(0.2)).retrieve(query)
    for weights in (0.2, (0.2, 0.8), (np.float32(1), np.float32(4)), np.array([0.2, 0.8])):
        found = fused.invoke(query, weights=weights)
        assert ids(found) == other.ids
        told = [each.metadata["score"] for each in found]
        assert told == pytest.approx(other.scores.tolist(), abs=1e-7)
    assert other.ids != ids(fused.invoke(query))
    scaled = QueryFusion("relative_score")
    assert scaled.with_dense_weight(0.3) == QueryFusion("relative_score", 0.3)
    for mode in ("simple", "reciprocal_rerank"):
        with pytest.raises(InputError, match="has no weights"):
            QueryFusion(mode).with_dense_weight(0.3)


def test_options_that_no_query_takes_are_refused_at_once(library, retriever):
    for given, words in [
        ({"weights": (1, 2, 3)}, "the shares of the dense and the lexical leg"),
        ({"weights": (0, 0)}, "the shares of the dense"),
    ]:
        with pytest.raises(TypeError, match=words):
            retriever.invoke("cells", **given)
        with pytest.raises((TypeError, ValueError), match=words):
            TwofoldRetriever(index=library, **given)
    with pytest.raises(InputError, match="a number >= 0 and <= 1, got"):
        retriever.invoke("cells", weights=1.5)
    with pytest.raises(QueryError, match="min_score"):
        retriever.invoke("cells", min_score="high")


def test_why_each_document_came_back(retriever):
    told = TwofoldRetriever(index=retriever.index, k=3, explanation_key="why").invoke(QUERIES[0])
    assert len(told) == 3
    for place, document in enumerate(told):
        why = document.metadata["why"]
        shares = sum(each["contribution"] for each in why["legs"].values())
        assert shares == pytest.approx(document.metadata["score"], abs=1e-9)
        assert (why["id"], why["rank"]) == (document.id, place + 1)
    assert "why" not in retriever.invoke(QUERIES[0])[0].metadata


def test_a_tracer_learns_what_searched(retriever):
    runs = Runs()
    retriever.invoke("cells", config={"callbacks": [runs], "metadata": {"mine": 1}})
    retriever.batch(["cells"], config={"callbacks": [runs]})
    for described in runs.described:
        assert described["ls_retriever_name"] == "twofold"
        assert described["ls_vector_store_provider"] == "twofold"
        assert described["ls_embedding_model"] == retriever.index.encoder.name
    assert runs.described[0]["mine"] == 1


class Backwards:
    """Turns the order around."""

    candidates, threshold = 10, None

    def rerank(self, queries, texts, progress=None):
        import numpy as np

        return [np.arange(len(each), dtype=float) for each in texts]


async def test_a_trace_shows_what_each_leg_and_the_reranker_gave(library, retriever):
    query = QUERIES[0]
    legs = {
        "twofold dense leg": Retriever(library, mode="dense", k=100).retrieve(query),
        "twofold lexical leg": Retriever(library, mode="lexical", k=100).retrieve(query),
    }
    for calls in ("invoke", "ainvoke", "batch", "abatch"):
        runs = Runs()
        asked = [query] if calls.endswith("batch") else query
        given = getattr(retriever, calls)(asked, {"callbacks": [runs]}, reranker=Backwards())
        found = await given if calls.startswith("a") else given
        found = found[0] if calls.endswith("batch") else found
        (parent,) = runs.started
        names = {name: run for run, (_, _, name) in runs.children.items()}
        assert set(names) == {*legs, "twofold encoder", "twofold reranker"}
        assert runs.stages[names["twofold encoder"]] == []
        assert {(each[0], each[1]) for each in runs.children.values()} == {(parent, query)}
        for name, hits in legs.items():
            wanted = [(hit.id, hit.score) for hit in hits]
            assert runs.stages[names[name]] == wanted
            assert wanted
        reranked = runs.stages[names["twofold reranker"]]
        assert [own for own, _ in reranked[:4]] == ids(found)
        assert [score for _, score in reranked] == [float(9 - n) for n in range(10)]


def test_a_trace_shows_where_it_failed(retriever):
    class Broken(Backwards):
        def rerank(self, queries, texts, progress=None):
            raise RuntimeError("no model")

    runs = Runs()
    with pytest.raises(RuntimeError, match="no model"):
        retriever.invoke(QUERIES[0], {"callbacks": [runs]}, reranker=Broken())
    assert len(runs.failed) == 2  # the reranker's run and the query's
    assert len(runs.stages) == 3


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_queries_beside_a_loop_run_in_as_many_threads_as_there_are_cores(library):
    """They are the core's, run under the caller's context variables, and end in a fork's child."""
    whose, names = ContextVar("whose", default="nobody"), set()

    class Watched(Runs):
        def on_chain_start(self, serialized, inputs, **kwargs):
            names.add((threading.current_thread().name.rpartition("_")[0], whose.get()))

        def on_chain_end(self, outputs, **kwargs):
            threads.add(threading.get_ident())

    threads = set()
    retriever = TwofoldRetriever(index=library, k=2)
    whose.set("me")
    await asyncio.gather(
        *(retriever.ainvoke("cells", {"callbacks": [Watched()]}) for _ in range(9))
    )
    assert names == {("twofold-caller", "me")}
    assert 1 <= len(threads) <= os.cpu_count()
    child = os.fork()
    if not child:
        os._exit(caller_pool().submit(int, "7").result(timeout=30))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
