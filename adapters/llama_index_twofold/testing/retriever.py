"""Tests of a retriever, alone and inside LlamaIndex's engines, tools and evaluators."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import BaseNode, IndexNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import RetrieverTool

TEXTS = {
    "food": "plants make their food from light",
    "press": "a history of the printing press",
    "market": "a market where plants and food are sold",
}
QUERY = "how do plants make food"


class RetrieverSuite:
    """Tests a retriever over three short texts, the first of which answers ``QUERY``."""

    def make_retriever(self, nodes: Sequence[BaseNode], count: int) -> BaseRetriever:
        """Return a retriever of the best ``count`` of these nodes, which have no vectors."""
        raise NotImplementedError("override make_retriever to return your retriever")

    @pytest.fixture
    def retriever(self) -> BaseRetriever:
        """A retriever over three texts of your choice that returns two nodes."""
        return self.make_retriever([TextNode(id_=id_, text=t) for id_, t in TEXTS.items()], 2)

    def test_nodes_come_best_first_with_plain_scores(self, retriever: BaseRetriever) -> None:
        found = retriever.retrieve(QUERY)
        assert node_ids(found) == ["food", "market"]
        scores = [node.score for node in found]
        assert all(type(score) is float for score in scores)
        assert scores == sorted(scores, key=float, reverse=True)  # type: ignore[arg-type]  # floats
        assert json.loads(json.dumps(scores)) == scores

    def test_text_bundle_and_async_give_the_same_nodes(self, retriever: BaseRetriever) -> None:
        wanted = ids_and_scores(retriever.retrieve(QUERY))
        assert ids_and_scores(retriever.retrieve(QueryBundle(QUERY))) == wanted
        assert ids_and_scores(retriever.retrieve(f" {QUERY}\n\n")) == wanted
        assert ids_and_scores(asyncio.run(retriever.aretrieve(QUERY))) == wanted

    def test_an_empty_query_is_no_error(self, retriever: BaseRetriever) -> None:
        assert isinstance(retriever.retrieve(""), list)

    def test_a_bundle_is_never_changed(self, retriever: BaseRetriever) -> None:
        bundle = QueryBundle(QUERY, custom_embedding_strs=["plants", "food"])
        before = QueryBundle(**vars(bundle))
        retriever.retrieve(bundle)
        asyncio.run(retriever.aretrieve(bundle))
        assert bundle == before

    def test_returned_nodes_are_independent_copies(self, retriever: BaseRetriever) -> None:
        first = retriever.retrieve(QUERY)
        before = ids_and_scores(first)
        first[0].score = 99.0
        first[0].node.metadata["retrieval_score"] = 1
        again = retriever.retrieve(QUERY)
        assert ids_and_scores(again) == before
        assert again[0].node.metadata == {}

    def test_retrieval_events_are_sent(self, retriever: BaseRetriever) -> None:
        recorder = EventRecorder(events=[])
        root = get_dispatcher()
        root.add_event_handler(recorder)
        try:
            retriever.retrieve(QUERY)
            asyncio.run(retriever.aretrieve(QUERY))
        finally:
            root.event_handlers.remove(recorder)
        sent = [type(event) for event in recorder.events if isinstance(event, RETRIEVALS)]
        assert sent == [*RETRIEVALS, *RETRIEVALS]

    def test_index_nodes_lead_to_their_objects(self) -> None:
        inner = TextNode(id_="inner", text="what it leads to")
        outer = IndexNode(id_="outer", text=TEXTS["food"], index_id="inner", obj=inner)
        linked = self.make_retriever([outer, TextNode(id_="press", text=TEXTS["press"])], 1)
        assert node_ids(linked.retrieve(QUERY)) == ["inner"]
        assert node_ids(asyncio.run(linked.aretrieve(QUERY))) == ["inner"]
        assert outer.obj is inner

    def test_inside_a_query_engine(self, retriever: BaseRetriever) -> None:
        engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
        for response in (engine.query(QUERY), asyncio.run(engine.aquery(QUERY))):
            assert node_ids(response.source_nodes) == ["food", "market"]

    @pytest.mark.parametrize("kind", [CondensePlusContextChatEngine, ContextChatEngine])
    def test_inside_a_chat_engine(self, retriever: BaseRetriever, kind: Any) -> None:
        engine = kind.from_defaults(retriever=retriever, llm=MockLLM())
        assert engine.chat(QUERY).source_nodes[0].node_id == "food"
        engine.reset()
        assert asyncio.run(engine.achat(QUERY)).source_nodes[0].node_id == "food"

    @pytest.mark.parametrize("mode", list(FUSION_MODES))
    @pytest.mark.parametrize("use_async", [True, False])
    def test_inside_a_fusion(
        self, retriever: BaseRetriever, mode: FUSION_MODES, use_async: bool
    ) -> None:
        settings: dict[str, Any] = {"mode": mode, "num_queries": 1, "use_async": use_async}
        fused = QueryFusionRetriever([retriever, retriever], llm=MockLLM(), **settings)
        wanted = ["food", "market"]
        assert node_ids(fused.retrieve(QUERY)) == wanted
        assert node_ids(asyncio.run(fused.aretrieve(QUERY))) == wanted

    def test_a_threshold_keeps_the_best(self, retriever: BaseRetriever) -> None:
        found = retriever.retrieve(QUERY)
        scores = [float(node.score or 0.0) for node in found]
        cut = SimilarityPostprocessor(similarity_cutoff=sum(scores) / 2)
        assert node_ids(cut.postprocess_nodes(found)) == ["food"]

    def test_inside_a_tool(self, retriever: BaseRetriever) -> None:
        tool = RetrieverTool.from_defaults(retriever, description="texts")
        for output in (tool(QUERY), asyncio.run(tool.acall(QUERY))):
            assert TEXTS["food"] in str(output)

    def test_inside_the_evaluator(self, retriever: BaseRetriever) -> None:
        evaluator = RetrieverEvaluator.from_metric_names(["hit_rate", "mrr"], retriever=retriever)
        result = evaluator.evaluate(query=QUERY, expected_ids=["market"])
        assert result.metric_vals_dict == {"hit_rate": 1.0, "mrr": 0.5}


RETRIEVALS = (RetrievalStartEvent, RetrievalEndEvent)


class EventRecorder(BaseEventHandler):
    """Records all events."""

    events: list[Any]

    @classmethod
    def class_name(cls) -> str:
        """Return the handler's name."""
        return "EventRecorder"

    def handle(self, event: Any, **kwargs: Any) -> None:  # noqa: ARG002  # LlamaIndex's contract
        """Record an event."""
        self.events.append(event)


def ids_and_scores(found: Sequence[NodeWithScore]) -> list[tuple[str, float | None]]:
    """Return the ids and scores of nodes."""
    return [(node.node_id, node.score) for node in found]


def node_ids(found: Sequence[NodeWithScore]) -> list[str]:
    """Return the ids of nodes."""
    return [node.node_id for node in found]
