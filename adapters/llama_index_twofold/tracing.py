"""LlamaIndex's events of what the core does by itself."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import llama_index.core.instrumentation as instrument
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index.core.instrumentation.events.retrieval import (
    RetrievalEndEvent,
    RetrievalStartEvent,
)
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index_twofold.embedding import EmbeddingEncoder
from twofold.protocols import Report, Stage

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # no __all__


class EncoderEvents:
    """Tells LlamaIndex when the core encodes queries; its own embeddings tell that themselves."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def stage(self, name: Stage) -> AbstractContextManager[Report | None]:
        """Open a stage; only encoding is told."""
        encoder = getattr(self._index, "encoder", None) if name == "encode" else None
        told = encoder is not None and not isinstance(encoder, EmbeddingEncoder)
        return self._encoding(encoder) if told else nullcontext()

    @contextmanager
    def _encoding(self, encoder: Any) -> Iterator[None]:
        model = {"class_name": type(encoder).__name__, "model_name": str(encoder.name)}
        dispatcher.event(EmbeddingStartEvent(model_dict=model))
        yield
        dispatcher.event(EmbeddingEndEvent(chunks=[], embeddings=[]))


@contextmanager
def retrieval_events(
    manager: CallbackManager, queries: Sequence[str | QueryBundle]
) -> Iterator[Callable[[Sequence[list[NodeWithScore]]], None]]:
    """Send what ``BaseRetriever.retrieve`` does, of each query; what is entered takes the nodes."""
    for each in queries:
        dispatcher.event(RetrievalStartEvent(str_or_query_bundle=each))
    texts = [each if isinstance(each, str) else each.query_str for each in queries]
    told: list[list[NodeWithScore]] = []
    with manager.as_trace("query"), ExitStack() as stack:
        payloads: list[dict[str, Any]] = [{EventPayload.QUERY_STR: text} for text in texts]
        events = [
            stack.enter_context(manager.event(CBEventType.RETRIEVE, payload=each))
            for each in payloads
        ]
        yield told.extend
        for event, nodes in zip(events, told, strict=True):
            event.on_end(payload={EventPayload.NODES: nodes})
    for each, nodes in zip(queries, told, strict=True):
        dispatcher.event(RetrievalEndEvent(str_or_query_bundle=each, nodes=nodes))
