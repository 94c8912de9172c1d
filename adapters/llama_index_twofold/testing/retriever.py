"""What every retriever must do, alone and inside what LlamaIndex builds of retrievers."""

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
from llama_index.core.instrumentation.events.retrieval import (
    RetrievalEndEvent,
    RetrievalStartEvent,
)
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import (
    BaseNode,
    IndexNode,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.core.tools import RetrieverTool

TEXTS = {
    "food": "plants make their food from light",
    "press": "a history of the printing press",
    "market": "a market where plants and food are sold",
}
QUERY = "how do plants make food"


class RetrieverSuite:
    """A retriever of three short texts, of which ``QUERY`` means the first."""

    def make_retriever(self, nodes: Sequence[BaseNode], count: int) -> BaseRetriever:
        """Return a retriever of the best ``count`` of these nodes, which have no vectors."""
        raise NotImplementedError("subclass the suite, and return your retriever")

    @pytest.fixture
    def retriever(self) -> BaseRetriever:
        """A retriever of two of the three texts."""
        return self.make_retriever([TextNode(id_=own, text=t) for own, t in TEXTS.items()], 2)

    def test_nodes_come_best_first_with_plain_scores(self, retriever: BaseRetriever) -> None:
        found = retriever.retrieve(QUERY)
        assert [each.node_id for each in found] == ["food", "market"]
        scores = [each.score for each in found]
        assert all(type(score) is float for score in scores)
        assert scores == sorted(scores, key=float, reverse=True)  # type: ignore[arg-type]  # floats
        assert json.loads(json.dumps(scores)) == scores

    def test_text_bundle_and_async_are_one(self, retriever: BaseRetriever) -> None:
        wanted = answer(retriever.retrieve(QUERY))
        assert answer(retriever.retrieve(QueryBundle(QUERY))) == wanted
        assert answer(retriever.retrieve(f" {QUERY}\n\n")) == wanted
        assert answer(asyncio.run(retriever.aretrieve(QUERY))) == wanted

    def test_an_empty_query_is_no_error(self, retriever: BaseRetriever) -> None:
        assert isinstance(retriever.retrieve(""), list)

    def test_a_bundle_is_never_changed(self, retriever: BaseRetriever) -> None:
        bundle = QueryBundle(QUERY, custom_embedding_strs=["plants", "food"])
        before = QueryBundle(**vars(bundle))
        retriever.retrieve(bundle)
        asyncio.run(retriever.aretrieve(bundle))
        assert bundle == before

    def test_what_comes_back_is_nobody_elses(self, retriever: BaseRetriever) -> None:
        first = retriever.retrieve(QUERY)
        before = answer(first)
        first[0].score = 99.0
        first[0].node.metadata["retrieval_score"] = 1
        again = retriever.retrieve(QUERY)
        assert answer(again) == before
        assert again[0].node.metadata == {}

    def test_the_start_and_the_end_are_told(self, retriever: BaseRetriever) -> None:
        heard = Heard(told=[])
        root = get_dispatcher()
        root.add_event_handler(heard)
        try:
            retriever.retrieve(QUERY)
            asyncio.run(retriever.aretrieve(QUERY))
        finally:
            root.event_handlers.remove(heard)
        kinds = [each for each in heard.told if isinstance(each, RETRIEVALS)]
        assert [type(each) for each in kinds] == [*RETRIEVALS, *RETRIEVALS]

    def test_index_nodes_lead_to_their_objects(self) -> None:
        inner = TextNode(id_="inner", text="what it leads to")
        outer = IndexNode(id_="outer", text=TEXTS["food"], index_id="inner", obj=inner)
        linked = self.make_retriever([outer, TextNode(id_="press", text=TEXTS["press"])], 1)
        assert [each.node_id for each in linked.retrieve(QUERY)] == ["inner"]
        assert [each.node_id for each in asyncio.run(linked.aretrieve(QUERY))] == ["inner"]
        assert outer.obj is inner

    def test_inside_a_query_engine(self, retriever: BaseRetriever) -> None:
        engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
        for said in (engine.query(QUERY), asyncio.run(engine.aquery(QUERY))):
            assert [each.node_id for each in said.source_nodes] == ["food", "market"]

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
        assert [each.node_id for each in fused.retrieve(QUERY)] == wanted
        assert [each.node_id for each in asyncio.run(fused.aretrieve(QUERY))] == wanted

    def test_a_threshold_keeps_the_best(self, retriever: BaseRetriever) -> None:
        found = retriever.retrieve(QUERY)
        scores = [float(each.score or 0.0) for each in found]
        cut = SimilarityPostprocessor(similarity_cutoff=sum(scores) / 2)
        assert [each.node_id for each in cut.postprocess_nodes(found)] == ["food"]

    def test_inside_a_tool(self, retriever: BaseRetriever) -> None:
        tool = RetrieverTool.from_defaults(retriever, description="texts")
        for said in (tool(QUERY), asyncio.run(tool.acall(QUERY))):
            assert TEXTS["food"] in str(said)

    def test_inside_the_evaluator(self, retriever: BaseRetriever) -> None:
        evaluator = RetrieverEvaluator.from_metric_names(["hit_rate", "mrr"], retriever=retriever)
        result = evaluator.evaluate(query=QUERY, expected_ids=["market"])
        assert result.metric_vals_dict == {"hit_rate": 1.0, "mrr": 0.5}


RETRIEVALS = (RetrievalStartEvent, RetrievalEndEvent)


class Heard(BaseEventHandler):
    """Keeps all events."""

    told: list[Any]

    @classmethod
    def class_name(cls) -> str:
        """Return its name."""
        return "Heard"

    def handle(self, event: Any, **kwargs: Any) -> None:  # noqa: ARG002  # LlamaIndex's contract
        """Keep an event."""
        self.told.append(event)


def answer(found: Sequence[NodeWithScore]) -> list[tuple[str, float | None]]:
    """Return ids and scores."""
    return [(each.node_id, each.score) for each in found]
