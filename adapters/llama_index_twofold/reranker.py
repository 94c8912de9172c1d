"""A twofold reranker as a LlamaIndex node postprocessor."""

from typing import Any

import llama_index.core.instrumentation as instrument
import numpy as np
from llama_index.core.bridge.pydantic import Field, field_validator
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from twofold.integrations import add_field, check_reranker
from twofold.protocols import Reranker
from twofold.rerank import as_reranker

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # no __all__


class TwofoldReranker(BaseNodePostprocessor):
    """Reorders nodes with a reranker, and replaces their scores.

    Returns copies; nodes with equal scores keep their order. With a ``TwofoldRetriever``, pass
    ``reranker=`` to the retriever instead.

    Args:
        reranker: A reranker of ``twofold.rerank``, or the name or folder of a cross-encoder. It
            reads the text that LlamaIndex would embed. Scores below its threshold drop a node.
        top_n: The number of nodes to return. None returns all.
        score_key: Metadata field for the previous score. None leaves it out.

    Example:
        >>> reranker = TwofoldReranker(reranker="cross-encoder/ms-marco-MiniLM-L6-v2", top_n=3)
    """

    reranker: Any
    top_n: int | None = Field(default=None, ge=1)
    score_key: str | None = None

    @field_validator("reranker")
    @classmethod
    def _load(cls, reranker: Any) -> Reranker | str:
        return check_reranker(reranker)

    @classmethod
    def class_name(cls) -> str:
        """Return the name for LlamaIndex's serialization."""
        return "TwofoldReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("a reranker needs the query: pass query_bundle= or query_str=")
        if not nodes:
            return []
        self.reranker = as_reranker(self.reranker)
        count = self.top_n if self.top_n is not None else len(nodes)
        model = str(getattr(self.reranker, "name", type(self.reranker).__name__))
        dispatcher.event(
            ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=count, model_name=model)
        )
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: model,
            EventPayload.QUERY_STR: query_bundle.query_str,
            EventPayload.TOP_K: count,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            best = self._rerank(nodes, query_bundle.query_str.strip(), count)
            event.on_end(payload={EventPayload.NODES: best})
        dispatcher.event(ReRankEndEvent(nodes=best))
        return best

    def _rerank(self, nodes: list[NodeWithScore], query: str, count: int) -> list[NodeWithScore]:
        """Return copies of the best nodes that reach the threshold."""
        texts = [found.node.get_content(metadata_mode=MetadataMode.EMBED) for found in nodes]
        (scores,) = self.reranker.rerank([query], [texts])
        threshold = self.reranker.threshold
        order = np.argsort(-scores, kind="stable").tolist()
        kept = [i for i in order if threshold is None or scores[i] >= threshold]
        return [self._copy(nodes[i], float(scores[i])) for i in kept[:count]]

    def _copy(self, found: NodeWithScore, score: float) -> NodeWithScore:
        node = found.node.model_copy(deep=True)
        if self.score_key is not None:
            add_field(node, self.score_key, found.score)
        return NodeWithScore(node=node, score=score)
