"""Many queries at once, their callbacks, and what can be said at each call."""

from uuid import uuid4

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.runnables import ConfigurableField, RunnableLambda

from langchain_twofold import TwofoldRetriever
from twofold import Retriever
from twofold.errors import InputError, QueryError

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
    from twofold import HashingEncoder, Index

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


async def test_a_failure_is_told_to_each_run_and_returned_where_wanted(retriever):
    runs = Runs()
    with pytest.raises(QueryError, match="a query is a string, not int: 3"):
        retriever.batch(["cells", 3], {"callbacks": [runs]})
    assert len(runs.started) == len(runs.failed) == 2
    for given in (
        retriever.batch(["cells", 3], return_exceptions=True),
        await retriever.abatch(["cells", 3], return_exceptions=True),
    ):
        assert ids(given[0]) == ids(retriever.invoke("cells"))
        assert isinstance(given[1], QueryError)


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
        "like": ("langchain", Retriever(library, k=4, like="langchain")),
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


def test_options_that_no_query_takes_are_refused_at_once(library, retriever):
    for given, words in [
        ({"weights": (1, 2, 3)}, "the shares of the dense and of the lexical leg"),
        ({"weights": (0, 0)}, "the shares of the dense"),
    ]:
        with pytest.raises(TypeError, match=words):
            retriever.invoke("cells", **given)
        with pytest.raises((TypeError, ValueError), match=words):
            TwofoldRetriever(index=library, **given)
    with pytest.raises(InputError, match="between 0 and 1"):
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
