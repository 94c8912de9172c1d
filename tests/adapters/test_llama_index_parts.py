"""The reranker, the embeddings and what a tracer hears."""

import asyncio

import numpy as np
import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from sentence_transformers import SentenceTransformer

from llama_index_twofold import (
    EmbeddingEncoder,
    TwofoldEmbedding,
    TwofoldReranker,
    TwofoldRetriever,
)
from tiny_models import cross_encoder_folder, finished_folder, transformer_folder
from twofold import HashingEncoder, Retriever, SentenceTransformerEncoder
from twofold.evaluation import evaluate
from twofold.rerank import CrossEncoderReranker


class Heard(BaseEventHandler):
    told: list

    @classmethod
    def class_name(cls):
        return "Heard"

    def handle(self, event, **kwargs):
        self.told.append(event)

    def of(self, *kinds):
        return [each for each in self.told if isinstance(each, kinds)]


@pytest.fixture
def heard():
    handler, root = Heard(told=[]), get_dispatcher()
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


class Lengths:
    """Prefers long texts."""

    candidates, threshold, name = 10, 8.0, "lengths"

    def rerank(self, queries, texts, progress=None):
        return [np.array([float(len(text)) for text in each]) for each in texts]


def found(*texts):
    return [
        NodeWithScore(node=TextNode(id_=text, text=text, metadata={"k": 1}), score=0.5)
        for text in texts
    ]


def test_a_reranker_orders_cuts_and_leaves_what_it_was_given():
    given = found("a short", "a longer text", "the longest of all")
    before = [each.model_dump() for each in given]
    reranker = TwofoldReranker(reranker=Lengths(), top_n=1, score_key="retrieval_score")
    (best,) = reranker.postprocess_nodes(given, query_str="q")
    searched = "k: 1\n\nthe longest of all"  # what LlamaIndex would embed
    assert (best.node_id, best.score) == ("the longest of all", float(len(searched)))
    assert best.node.metadata == {"k": 1, "retrieval_score": 0.5}
    assert [each.model_dump() for each in given] == before
    every = TwofoldReranker(reranker=Lengths()).postprocess_nodes(given, QueryBundle("q"))
    assert [each.node_id for each in every] == ["the longest of all", "a longer text", "a short"]
    assert asyncio.run(reranker.apostprocess_nodes(given, query_str="q")) == [best]
    assert reranker.postprocess_nodes([], query_str="q") == []
    assert TwofoldReranker.class_name() == "TwofoldReranker"


def test_a_reranker_leaves_out_what_is_below_its_threshold():
    class Strict(Lengths):
        threshold = 20.0

    kept = TwofoldReranker(reranker=Strict()).postprocess_nodes(
        found("a short", "the longest of all"), query_str="q"
    )
    assert [each.node_id for each in kept] == ["the longest of all"]


def test_a_reranker_without_a_query_or_a_model_says_so():
    with pytest.raises(ValueError, match="pass query_bundle= or query_str="):
        TwofoldReranker(reranker=Lengths()).postprocess_nodes(found("a"))
    with pytest.raises(ValueError, match="a cross-encoder's name, got"):
        TwofoldReranker(reranker=object())


def test_a_cross_encoder_by_its_folder(tmp_path):
    folder = str(cross_encoder_folder(tmp_path / "model"))
    texts = ["red apple", "how cells divide", "plants make food"]
    reranker = TwofoldReranker(reranker=folder)
    best = reranker.postprocess_nodes(found(*texts), query_str="plants")
    contents = [f"k: 1\n\n{each.node_id}" for each in best]
    (scores,) = CrossEncoderReranker(folder).rerank(["plants"], [contents])
    np.testing.assert_allclose([each.score for each in best], scores, atol=1e-6)
    assert list(scores) == sorted(scores, reverse=True)


def test_what_a_reranker_does_is_heard(heard):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    reranker = TwofoldReranker(
        reranker=Lengths(), top_n=1, callback_manager=CallbackManager([debug])
    )
    reranker.postprocess_nodes(found("a longer text", "the longest of all"), query_str="q")
    start, end = heard.of(ReRankStartEvent, ReRankEndEvent)
    assert (start.model_name, start.top_n, len(start.nodes)) == ("lengths", 1, 2)
    assert [each.node_id for each in end.nodes] == ["the longest of all"]
    assert len(debug.get_event_pairs(CBEventType.RERANKING)) == 1


def test_a_query_engine_takes_the_reranker():
    retriever = TwofoldRetriever.from_nodes(
        [each.node for each in found("an apple", "an apple and some more")], encoder="hashing"
    )
    engine = RetrieverQueryEngine.from_args(
        retriever, llm=MockLLM(), node_postprocessors=[TwofoldReranker(reranker=Lengths())]
    )
    sources = engine.query("apple").source_nodes
    assert [each.node_id for each in sources] == ["an apple and some more", "an apple"]
    retriever.index.close()


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    """A model that was saved with prompts for queries and passages."""
    folder = tmp_path_factory.mktemp("prompted")
    plain = transformer_folder(folder / "plain")
    prompts = {"query": "query : ", "document": "passage : "}
    return str(finished_folder(folder / "model", plain, prompts=prompts))


def test_embeddings_use_the_prompts_that_the_model_was_saved_with(prompted):
    """LlamaIndex's own wrapper puts an empty prompt in their place."""
    embedding = TwofoldEmbedding(prompted)
    model = SentenceTransformer(prompted, device="cpu")
    query, text = embedding.get_query_embedding("red apple"), embedding.get_text_embedding("light")
    np.testing.assert_allclose(query, model.encode_query("red apple"), atol=1e-5)
    np.testing.assert_allclose(text, model.encode_document("light"), atol=1e-5)
    assert not np.allclose(query, model.encode("red apple"), atol=1e-3)


def test_embeddings_sync_async_and_many_are_one():
    embedding = TwofoldEmbedding(HashingEncoder())
    texts = [f"text number {at}" for at in range(7)]
    wanted = [embedding.get_text_embedding(text) for text in texts]
    assert embedding.get_text_embedding_batch(texts) == wanted
    assert asyncio.run(embedding.aget_text_embedding_batch(texts)) == wanted
    assert asyncio.run(embedding.aget_text_embedding(texts[0])) == wanted[0]
    query = embedding.get_query_embedding("text")
    assert asyncio.run(embedding.aget_query_embedding("text")) == query
    assert type(query[0]) is float
    nodes = embedding([TextNode(text=texts[0])])
    assert nodes[0].embedding == wanted[0]
    assert embedding.model_name == HashingEncoder().name


def test_an_index_takes_them_as_they_are_and_wraps_others():
    inside = TwofoldRetriever.from_nodes(
        [TextNode(text="a")], encoder=TwofoldEmbedding(HashingEncoder())
    )
    assert isinstance(inside.index.encoder, HashingEncoder)
    wrapped = TwofoldRetriever.from_nodes([TextNode(text="a")], encoder=MockEmbedding(embed_dim=4))
    assert isinstance(wrapped.index.encoder, EmbeddingEncoder)
    inside.index.close()
    wrapped.index.close()


@pytest.mark.parametrize("encoder", [HashingEncoder(), TwofoldEmbedding(HashingEncoder())])
def test_encoding_a_query_is_heard_once(heard, encoder):
    retriever = TwofoldRetriever.from_nodes([TextNode(text="an apple")], encoder=encoder)
    heard.told.clear()
    retriever.retrieve("apple")
    start, end = heard.of(EmbeddingStartEvent, EmbeddingEndEvent)
    assert isinstance(end, EmbeddingEndEvent)
    assert start.model_dict["model_name"] == HashingEncoder().name
    retriever.index.close()


def test_llama_indexs_embeddings_tell_of_themselves_alone(heard):
    model = MockEmbedding(embed_dim=4)
    retriever = TwofoldRetriever.from_nodes([TextNode(text="an apple")], encoder=model)
    heard.told.clear()
    retriever.retrieve("apple")
    assert len(heard.of(EmbeddingEndEvent)) == 1
    retriever.index.close()


def test_spans_and_callbacks_of_many_queries(heard):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    retriever = TwofoldRetriever.from_nodes(
        [TextNode(id_="a", text="an apple")],
        encoder="hashing",
    )
    retriever.callback_manager = CallbackManager([debug])
    retriever.retrieve_many(["apple", "an"])
    pairs = debug.get_event_pairs(CBEventType.RETRIEVE)
    assert len(pairs) == 2
    names = [type(each).__name__ for each in heard.told if "Retrieval" in type(each).__name__]
    assert names == ["RetrievalStartEvent"] * 2 + ["RetrievalEndEvent"] * 2
    retriever.index.close()


async def test_the_evaluator_agrees_with_our_measures(abstracts, claims):
    nodes = [TextNode(id_=each["_id"], text=each["text"]) for each in abstracts[:80]]
    retriever = TwofoldRetriever.from_nodes(nodes, encoder="hashing", similarity_top_k=5)
    queries = {f"q{at}": claim for at, claim in enumerate(claims[:25])}
    qrels = {
        query: {nodes[(at * 7 + n) % 80].node_id: 1 for n in range(1, 40, 13)}
        for at, query in enumerate(queries)
    }
    names = ["mrr", "precision", "recall", "ap", "ndcg"]
    evaluator = RetrieverEvaluator.from_metric_names(names, retriever=retriever)
    core = Retriever(retriever.index, k=5)
    ours = evaluate(core, queries, qrels, ["RR@5", "P@5", "R@5", "nDCG@5"], k=5)
    found = 0
    for query, text in queries.items():
        result = await evaluator.aevaluate(query=text, expected_ids=list(qrels[query]))
        values = ours.per_query[query]
        wanted = [values["RR@5"], values["P@5"], values["R@5"]]
        given = result.metric_vals_dict
        assert [given["mrr"], given["precision"], given["recall"]] == pytest.approx(wanted)
        found += given["recall"] > 0
    assert found > 3
    retriever.index.close()


def test_an_embedding_model_serves_llama_indexs_own_index():
    embedding = TwofoldEmbedding(SentenceTransformerEncoder("all-MiniLM-L6-v2"))
    texts = ["Plants make food from light", "A printing press", "Cars on a road"]
    index = VectorStoreIndex([TextNode(text=each) for each in texts], embed_model=embedding)
    (best,) = index.as_retriever(similarity_top_k=1).retrieve("photosynthesis")
    assert best.text == texts[0]
