import asyncio
import json
import time

import numpy as np
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import ConfigurableField, RunnableLambda

from langchain_twofold import TwofoldRetriever
from twofold import BM25, Index, Retriever
from twofold.dense import IVF
from twofold.errors import EncoderMismatchError, FilterError, PassageError

DOCUMENTS = [
    Document(id="1", page_content="Plants make food by photosynthesis", metadata={"year": 2020}),
    Document(id="2", page_content="The market sells food and plants", metadata={"year": 2021}),
    Document(id="3", page_content="A history of the printing press", metadata={"year": 2022}),
    Document(page_content="Ink for the printing press", metadata={"tags": ["ink"]}),
]


@pytest.fixture
def retriever():
    made = TwofoldRetriever.from_documents(DOCUMENTS, encoder="hashing", k=3)
    yield made
    made.index.close()


def ids(documents):
    return [document.id for document in documents]


def test_documents_may_come_from_a_generator():
    made = TwofoldRetriever.from_documents((each for each in DOCUMENTS), encoder="hashing")
    assert len(made.invoke("press")) == len(DOCUMENTS)
    made.index.close()


async def test_k_filter_and_mode_work_at_every_call_sync_and_async(retriever):
    assert len(retriever.invoke("plants food")) == 3
    calls = (
        {"k": 1},
        {"filter": {"year": {"$gt": 2020}}},
        {"mode": "lexical"},
        {"k": 2, "mode": "dense"},
    )
    for arguments in calls:
        found = ids(retriever.invoke("plants food", **arguments))
        assert ids(await retriever.ainvoke("plants food", **arguments)) == found
        assert ids(retriever.batch(["plants food"], **arguments)[0]) == found
        assert ids((await retriever.abatch(["plants food"], **arguments))[0]) == found
        assert ids(retriever.bind(**arguments).invoke("plants food")) == found
    assert ids(retriever.invoke("plants food", mode="lexical")) == ["1", "2"] or set(
        ids(retriever.invoke("plants food", mode="lexical"))
    ) == {"1", "2"}
    assert "1" not in ids(retriever.invoke("plants food", filter={"year": {"$gt": 2020}}))


async def test_an_exact_search_at_one_call(tmp_path):
    rng = np.random.default_rng(0)
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        vectors = rng.standard_normal((3000, 256)).astype(np.float32)
        index.upsert([f"text {n}" for n in range(3000)], vectors=vectors)
        index.reindex(IVF(lists=64, probes=1))
        retriever = TwofoldRetriever(index=index, mode="dense")
        wanted = Retriever(index, mode="dense", exact=True).retrieve("text 7").ids
        assert ids(retriever.invoke("text 7")) != wanted
        assert ids(retriever.invoke("text 7", exact=True)) == wanted
        assert ids(await retriever.ainvoke("text 7", exact=True)) == wanted
        with pytest.raises(TypeError, match="did you mean 'exact'"):
            retriever.invoke("text 7", exat=True)


def test_settings_at_construction(retriever):
    other = TwofoldRetriever(index=retriever.index, k=1, filter={"year": 2022}, mode="dense")
    assert ids(other.invoke("press")) == ["3"]
    core = Retriever(retriever.index, mode="lexical", k=2)
    assert TwofoldRetriever(retriever=core).mode == "lexical"
    assert len(TwofoldRetriever(retriever=core).invoke("press")) == 2
    for arguments in ({}, {"index": 3}, {"index": retriever.index, "retriever": core}):
        with pytest.raises((ValueError, AttributeError)):
            TwofoldRetriever(**arguments)
    with pytest.raises(ValueError, match="unknown argument 'kk'; did you mean 'k'"):
        TwofoldRetriever(index=retriever.index, kk=3)
    with pytest.raises(ValueError, match=r"pass retriever=Retriever\(index, depth=...\)"):
        TwofoldRetriever(index=retriever.index, depth=3)


def test_configurable_fields_keep_the_index(retriever):
    flexible = retriever.configurable_fields(k=ConfigurableField(id="k"))
    assert len(flexible.invoke("press food", config={"configurable": {"k": 2}})) == 2
    assert len(flexible.invoke("press food", config={"configurable": {"k": 1}})) == 1


def test_scores_are_plain_floats_and_documents_fresh_copies(retriever):
    first = retriever.invoke("ink press")
    assert all(type(document.metadata["score"]) is float for document in first)
    json.dumps([document.metadata for document in first])
    first[0].metadata["tags"] = ["changed"]
    first[0].page_content = "changed"
    again = retriever.invoke("ink press")
    assert again[0].page_content == "Ink for the printing press"
    assert again[0].metadata["tags"] == ["ink"]
    assert "score" not in DOCUMENTS[0].metadata
    silent = TwofoldRetriever(index=retriever.index, score_key=None)
    assert "score" not in silent.invoke("ink press")[0].metadata


def test_a_score_of_the_documents_own_is_kept():
    own = [Document(id="1", page_content="a text", metadata={"score": "high"})]
    made = TwofoldRetriever.from_documents(own, encoder="hashing")
    with pytest.warns(UserWarning, match="field 'score' exists already and is kept"):
        assert made.invoke("text")[0].metadata["score"] == "high"
    named = TwofoldRetriever(index=made.index, score_key="relevance")
    assert isinstance(named.invoke("text")[0].metadata["relevance"], float)
    made.index.close()


async def test_unknown_arguments_are_refused_with_the_near_name(retriever):
    retriever.invoke("food", verbose=True)
    with pytest.raises(TypeError, match="unknown argument 'filters'; did you mean 'filter'"):
        retriever.invoke("food", filters={})
    with pytest.raises(TypeError, match="use one of k, filter, mode"):
        await retriever.ainvoke("food", search_kwargs={})
    with pytest.raises(FilterError, match="unknown operator"):
        retriever.invoke("food", filter={"year": {"$near": 3}})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"year": [2020, 2022]}, "13"),
        ({"year": {"$neq": 2020, "$exists": True}}, "23"),
        ({"year": {"$not": {"$neq": 2021}}}, "2"),
        ({"$not": {"year": {"$not": {"$neq": 2021}}}, "year": {"$gt": 0}}, "13"),
    ],
)
async def test_filters_of_the_faiss_dialect(retriever, given, wanted):
    set_once = TwofoldRetriever(index=retriever.index, filter=given, k=5)
    for found in (
        retriever.invoke("press", filter=given),
        await retriever.ainvoke("press", filter=given),
        set_once.invoke("press"),
    ):
        assert sorted(ids(found)) == list(wanted)


def test_what_is_no_filter_is_refused_when_it_is_set_and_when_it_is_asked(retriever):
    for given in ({"$and": 3}, {"$or": "ab"}, {"$not": 3}, {"year": {"$near": 1}}, {"$and": [3]}):
        with pytest.raises(FilterError):
            retriever.invoke("press", filter=given)
        with pytest.raises(ValueError, match="filter|operator"):
            TwofoldRetriever(index=retriever.index, filter=given)


async def test_the_loop_is_not_blocked(retriever):
    """While searches run, the loop keeps turning: it gets many turns, not one at the end."""
    turns = 0

    async def heartbeat():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beat = asyncio.create_task(heartbeat())
    started = time.perf_counter()
    await asyncio.gather(*(retriever.ainvoke("plants food") for _ in range(400)))
    assert time.perf_counter() > started
    beat.cancel()
    assert turns > 40


def test_a_chain_and_its_callbacks(retriever):
    class Handler(BaseCallbackHandler):
        def __init__(self):
            self.events = []

        def on_retriever_start(self, serialized, query, **kwargs):
            self.events.append(("start", query, kwargs.get("name")))

        def on_retriever_end(self, documents, **kwargs):
            self.events.append(("end", len(documents)))

    handler = Handler()
    joined = RunnableLambda(lambda documents: " | ".join(d.page_content for d in documents))
    chain = retriever | joined | StrOutputParser()
    assert "photosynthesis" in chain.invoke("plants", config={"callbacks": [handler]})
    assert handler.events == [("start", "plants", "TwofoldRetriever"), ("end", 3)]


def test_langchain_embeddings_as_encoder(tmp_path):
    embeddings = DeterministicFakeEmbedding(size=16)
    made = TwofoldRetriever.from_documents(DOCUMENTS, encoder=embeddings, path=tmp_path / "i")
    assert made.index.dim == 16
    assert made.invoke(DOCUMENTS[2].page_content, mode="dense", k=1)[0].id == "3"
    made.index.close()
    from langchain_twofold import EmbeddingsEncoder

    with Index.open(tmp_path / "i", encoder=EmbeddingsEncoder(embeddings)) as index:
        assert len(TwofoldRetriever(index=index).invoke("press")) == 4
    other = EmbeddingsEncoder(DeterministicFakeEmbedding(size=8))
    with Index.open(tmp_path / "i", encoder=other) as index, pytest.raises(EncoderMismatchError):
        TwofoldRetriever(index=index).invoke("press")


def test_titles_of_an_existing_index_are_in_the_metadata(index):
    index.upsert([{"id": "t", "title": "A title", "text": "some text"}])
    assert TwofoldRetriever(index=index).invoke("text")[0].metadata["title"] == "A title"


def test_no_documents_give_no_answers():
    made = TwofoldRetriever.from_documents([], encoder="hashing")
    assert made.invoke("anything") == []
    made.index.close()


def test_wrong_settings_are_refused_before_anything_is_indexed(tmp_path):
    path = tmp_path / "i"
    for settings, words in [
        ({"embedding": 3}, "unknown argument 'embedding'; did you mean 'encoder'"),
        ({"top_k": 3}, "unknown argument 'top_k'; did you mean 'k'"),
        ({"mode": "lexcal"}, "mode must be one of .*; did you mean 'lexical'"),
        ({"k": 0}, "greater than or equal to 1"),
        ({"filter": {"year": {"$near": 3}}}, "unknown operator '\\$near'"),
        ({"preset": "langchian"}, "did you mean 'langchain'"),
        ({"weights": 2.0}, "a number >= 0 and <= 1, got 2.0"),
        ({"mode": "dense", "encoder": None}, "can't serve mode 'dense'"),
        ({"mode": "hybrid", "analyzer": None}, "can't serve mode 'hybrid'"),
    ]:
        with pytest.raises((TypeError, ValueError), match=words):
            TwofoldRetriever.from_documents(DOCUMENTS, path=path, **settings)
    hidden = Document(page_content="text", metadata={"_payload": 1})
    with pytest.raises(PassageError, match="a field '_payload', which twofold reserves"):
        TwofoldRetriever.from_documents([hidden], path=path, encoder="hashing")
    with pytest.raises(TypeError, match="expected a Document, got str"):
        TwofoldRetriever.from_documents(["text"], path=path, encoder="hashing")
    assert not path.exists()


def test_a_notebook_cell_can_be_run_twice(tmp_path):
    first = TwofoldRetriever.from_documents(DOCUMENTS, encoder="hashing", path=tmp_path / "i")
    second = TwofoldRetriever.from_documents(DOCUMENTS, encoder="hashing", path=tmp_path / "i")
    assert ids(first.invoke("press")) == ids(second.invoke("press"))
    first.index.upsert(["one more"])
    assert len(second.index) == len(DOCUMENTS) + 1
    first.index.close()
    second.index.close()


def test_what_a_leg_lacked_is_logged(retriever, caplog):
    assert retriever.invoke("zzzz")
    assert "no passage shares a word with the query" in caplog.text
    caplog.clear()
    assert retriever.invoke("zzzz")
    assert "no passage shares" not in caplog.text  # once an index, and then for debugging
    caplog.set_level("DEBUG")
    assert retriever.invoke("zzzz")
    assert "'zzzz': the lexical leg found nothing: no passage shares" in caplog.text


def test_analyzer_and_scoring_function_reach_the_lexical_leg():
    documents = [Document(id="1", page_content="Die H\u00e4user der Stadt")]
    made = TwofoldRetriever.from_documents(documents, encoder=None, analyzer="de", mode="lexical")
    (plain,) = made.invoke("Haus")
    core = Retriever(made.index, mode="lexical", scorer=BM25(k1=0.1))
    (other,) = TwofoldRetriever(retriever=core).invoke("Haus")
    assert plain.metadata["score"] != other.metadata["score"]
    assert other.metadata["score"] == core.retrieve("Haus")[0].score
    made.index.close()
