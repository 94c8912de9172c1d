"""A reranker of the core as LlamaIndex's postprocessor."""

from typing import Any

import llama_index.core.instrumentation as instrument
import numpy as np
from llama_index.core.bridge.pydantic import Field, field_validator
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from twofold.protocols import Reranker
from twofold.rerank import as_reranker

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # no __all__


class TwofoldReranker(BaseNodePostprocessor):
    """Orders nodes by a reranker, whose scores take the place of those that they came with.

    ``reranker`` is one of ``twofold.rerank``, or a cross-encoder's name or folder; it reads what
    LlamaIndex would embed. Nodes below its threshold are left out, and all but the best ``top_n``.
    Under ``score_key``, if it is set, a copy of the node's metadata keeps the score from before.
    The nodes given are never changed. Equal scores stay in order. A ``TwofoldRetriever`` takes the
    core's reranker itself and so reads its own candidates.
    """

    reranker: Any
    top_n: int | None = Field(default=None, ge=1)
    score_key: str | None = None

    @field_validator("reranker")
    @classmethod
    def _named(cls, given: Any) -> Reranker:
        return as_reranker(given)

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex shows."""
        return "TwofoldReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("a reranker reads the query: give query_bundle= or query_str=")
        if not nodes:
            return []
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
            best = self._best(nodes, query_bundle.query_str.strip(), count)
            event.on_end(payload={EventPayload.NODES: best})
        dispatcher.event(ReRankEndEvent(nodes=best))
        return best

    def _best(self, nodes: list[NodeWithScore], query: str, count: int) -> list[NodeWithScore]:
        """Return copies of the nodes that are left, best first."""
        texts = [each.node.get_content(metadata_mode=MetadataMode.EMBED) for each in nodes]
        (scores,) = self.reranker.rerank([query], [texts])
        least = self.reranker.threshold
        order = np.argsort(-scores, kind="stable").tolist()
        kept = [place for place in order if least is None or scores[place] >= least]
        return [self._copy(nodes[place], float(scores[place])) for place in kept[:count]]

    def _copy(self, found: NodeWithScore, score: float) -> NodeWithScore:
        node = found.node.model_copy(deep=True)
        if self.score_key is not None:
            node.metadata[self.score_key] = found.score
        return NodeWithScore(node=node, score=score)
