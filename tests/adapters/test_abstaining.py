"""Confidence and abstaining through both adapters."""

import pytest
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine

from langchain_twofold import TwofoldRetriever as LangChainRetriever
from llama_index_twofold import TwofoldRetriever as LlamaIndexRetriever
from llama_index_twofold import query_options
from llama_index_twofold.nodes import as_passage
from twofold import Index, Retriever
from twofold.errors import QueryError
from twofold.tuning import calibrate

WORDS = [f"word{at}" for at in range(120)]


def fill(calibrated=True):
    index = Index.open(None, encoder=None)
    index.upsert([{"id": word, "text": f"a text of {word}"} for word in WORDS])
    if calibrated:
        queries = {word: f"a text of {word}" for word in WORDS}
        result = calibrate(index, queries, {word: {word: 1} for word in WORDS})
        index.profiles.save("calibrated", result.profile, use=True)
    return index


@pytest.fixture(scope="module")
def index():
    with fill() as index:
        yield index


def test_langchain_answers_nothing_without_confidence(index):
    retriever = LangChainRetriever(index=index, abstain=0.05, confidence_key="confidence", k=1)
    (found,) = retriever.invoke("word7")
    wanted = Retriever(index, mode="lexical").retrieve("word7").confidence
    assert found.page_content == "a text of word7"
    assert found.metadata["confidence"] == wanted > 0.5
    assert retriever.invoke("a text of nothing") == []
    assert LangChainRetriever(index=index, k=1).invoke("a text of nothing")
    assert retriever.invoke("a text of nothing", abstain=0.9)
    assert [len(one) for one in retriever.batch(["word7", "a text of nothing"])] == [1, 0]


async def test_llama_index_answers_nothing_without_confidence(index):
    retriever = LlamaIndexRetriever(
        index=index, abstain=0.05, confidence_key="confidence", similarity_top_k=1
    )
    (found,) = retriever.retrieve("word7")
    assert (
        found.node.metadata["confidence"]
        == Retriever(index, mode="lexical").retrieve("word7").confidence
        > 0.5
    )
    assert retriever.retrieve("a text of nothing") == []
    assert await retriever.aretrieve("a text of nothing") == []
    with query_options(abstain=0.9):
        assert retriever.retrieve("a text of nothing")
    assert "confidence" not in as_passage(found.node).metadata
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    assert engine.query("a text of nothing").source_nodes == []
    assert len(engine.query("word7").source_nodes) == 1


def test_a_bound_needs_a_calibration():
    with fill(calibrated=False) as index:
        with pytest.raises(QueryError, match="the active profile has no calibration"):
            LangChainRetriever(index=index, abstain=0.05).invoke("word7")
        with pytest.raises(QueryError, match="the active profile has no calibration"):
            LlamaIndexRetriever(index=index, abstain=0.05).retrieve("word7")
        (found,) = LangChainRetriever(index=index, confidence_key="c", k=1).invoke("word7")
        assert found.metadata["c"] is None
