"""LlamaIndex instrumentation events for encoding and retrieval."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import llama_index.core.instrumentation as instrument
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index_twofold.embedding import EmbeddingEncoder
from twofold.protocols import Report, Stage

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # no __all__


class EncoderEvents:
    """Observer that sends embedding events of twofold encoders; LlamaIndex's send their own."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def stage(self, name: Stage) -> AbstractContextManager[Report | None]:
        """Return the context of a search stage; only the stage "encode" sends events."""
        encoder = getattr(self._index, "encoder", None) if name == "encode" else None
        sends_events = encoder is not None and not isinstance(encoder, EmbeddingEncoder)
        return self._encoding_events(encoder) if sends_events else nullcontext()

    @contextmanager
    def _encoding_events(self, encoder: Any) -> Iterator[None]:
        model = {"class_name": type(encoder).__name__, "model_name": str(encoder.name)}
        dispatcher.event(EmbeddingStartEvent(model_dict=model))
        yield
        dispatcher.event(EmbeddingEndEvent(chunks=[], embeddings=[]))


@contextmanager
def retrieval_events(
    manager: CallbackManager, queries: Sequence[str | QueryBundle]
) -> Iterator[Callable[[Sequence[list[NodeWithScore]]], None]]:
    """Send the events of ``BaseRetriever.retrieve`` for each query.

    Yields a function to call once, with the list of result nodes of every query.
    """
    for query in queries:
        dispatcher.event(RetrievalStartEvent(str_or_query_bundle=query))
    texts = [query if isinstance(query, str) else query.query_str for query in queries]
    results: list[list[NodeWithScore]] = []
    with manager.as_trace("query"), ExitStack() as stack:
        payloads: list[dict[str, Any]] = [{EventPayload.QUERY_STR: text} for text in texts]
        events = [
            stack.enter_context(manager.event(CBEventType.RETRIEVE, payload=payload))
            for payload in payloads
        ]
        yield results.extend
        for event, nodes in zip(events, results, strict=True):
            event.on_end(payload={EventPayload.NODES: nodes})
    for query, nodes in zip(queries, results, strict=True):
        dispatcher.event(RetrievalEndEvent(str_or_query_bundle=query, nodes=nodes))
