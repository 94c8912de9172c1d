"""A LlamaIndex retriever over a twofold index."""

import copy
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import llama_index.core.instrumentation as instrument
import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import BaseNode, IndexNode, NodeWithScore, QueryBundle
from typing_extensions import Unpack

from llama_index_twofold.embedding import as_encoder
from llama_index_twofold.nodes import as_passage, scored_nodes
from llama_index_twofold.options import QueryOptions, asked, check, configured
from llama_index_twofold.tracing import EncoderEvents, retrieval_events
from twofold import Encoder, Index, Metric, Retriever
from twofold.concurrency import in_thread
from twofold.index import AS_STORED, AsStored, create_filled_index
from twofold.integrations.options import log_warnings
from twofold.lexical import AnalyzerLike
from twofold.types import Vectors

logger = logging.getLogger(__name__)
dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # no __all__


class TwofoldRetriever(BaseRetriever):
    """Hybrid, dense or lexical retrieval as a LlamaIndex retriever.

    Over an existing index: ``TwofoldRetriever(index=index, similarity_top_k=5)``, or over a
    configured retriever: ``TwofoldRetriever(retriever=Retriever(index, depth=200))``. From nodes:
    ``TwofoldRetriever.from_nodes(nodes, path="papers.twofold")``.

    ``options`` are those of ``QueryOptions``. Single queries have others by ``with_options`` or,
    inside engines, by ``query_options``. Nodes are fresh copies, best first, with Python floats as
    scores, higher is better.
    """

    def __init__(
        self,
        index: Index | None = None,
        *,
        retriever: Retriever | None = None,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
        **options: Unpack[QueryOptions],
    ) -> None:
        """Retrieve from an index, or as a configured retriever does."""
        if (index is None) == (retriever is None):
            raise ValueError("give index= (a twofold Index) or retriever= (a twofold Retriever)")
        if retriever is None:
            assert index is not None  # one of the two is given
            mode = options.get("mode")
            retriever = Retriever(index, mode=mode if mode is not None else index.modes[0])
        self._use(configured(retriever, options))
        super().__init__(callback_manager, object_map, objects, verbose)

    @classmethod
    def from_nodes(
        cls,
        nodes: Sequence[BaseNode],
        *,
        encoder: Encoder | BaseEmbedding | str | AsStored | None = AS_STORED,
        path: str | os.PathLike[str] | None = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        objects: Sequence[IndexNode] = (),
        **options: Unpack[QueryOptions],
    ) -> "TwofoldRetriever":
        """Index nodes in the folder ``path`` (a temporary one if None) and retrieve from it.

        ``encoder`` is a model's name, a twofold encoder or a LlamaIndex ``BaseEmbedding``; the
        other names are those of ``Index.open``. ``objects`` are IndexNodes whose ``obj`` is what
        found ones lead to, beside those among the nodes. A live one stays in memory: give it again
        after reopening.
        """
        check(options)  # a wrong name is a TypeError before any work
        linked = [each for each in nodes if isinstance(each, IndexNode) and each.obj is not None]
        passages = [as_passage(node) for node in nodes]
        index = create_filled_index(
            path, passages, encoder=as_encoder(encoder), metric=metric, analyzer=analyzer
        )
        return cls(index, objects=[*linked, *objects], **options)

    @property
    def retriever(self) -> Retriever:
        """The core's retriever, with this object's settings."""
        return self._engine

    @property
    def index(self) -> Any:
        """The index that is searched."""
        return self._engine.index

    def with_options(self, **options: Unpack[QueryOptions]) -> "TwofoldRetriever":
        """Return a retriever over the same index with these options; this one stays as it is."""
        other = copy.copy(self)
        other._use(configured(self._engine, options))
        return other

    def _use(self, engine: Retriever) -> None:
        """Ask this engine from now on; an observer of the user's own goes before the events."""
        self._engine = engine
        observer = engine.observer if engine.observer is not None else EncoderEvents(engine.index)
        self._told = replace(engine, observer=observer)

    def retrieve_many(self, queries: Sequence[str | QueryBundle]) -> list[list[NodeWithScore]]:
        """Return ``retrieve`` of each query, by one encoder call and one search for all."""
        bundles = [QueryBundle(each) if isinstance(each, str) else each for each in queries]
        with retrieval_events(self.callback_manager, queries) as report:
            found = [
                self._handle_recursive_retrieval(bundle, nodes)
                for bundle, nodes in zip(bundles, self._search(bundles), strict=True)
            ]
            report(found)
        return found

    async def aretrieve_many(
        self, queries: Sequence[str | QueryBundle]
    ) -> list[list[NodeWithScore]]:
        """Return what ``retrieve_many`` does, without blocking the loop."""
        return await in_thread(self.retrieve_many, queries)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._search([query_bundle])[0]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        (nodes,) = await in_thread(self._search, [query_bundle])
        return nodes

    def _search(self, bundles: Sequence[QueryBundle]) -> list[list[NodeWithScore]]:
        """Ask the core, with all texts at once; bundles are never changed."""
        engine = asked(self._told)
        own = [at for at, each in enumerate(bundles) if _brings_vector(each, engine)]
        plain = [at for at in range(len(bundles)) if at not in own]
        texts = [each.query_str.strip() for each in bundles]
        answers = dict(zip(plain, engine.retrieve_many([texts[at] for at in plain]), strict=True))
        for at in own:
            answers[at] = engine.retrieve(texts[at], vector=_vector(bundles[at], engine))
        for hits in answers.values():
            log_warnings(logger, self.index, hits)
        return [scored_nodes(answers[at]) for at in range(len(bundles))]


def _brings_vector(bundle: QueryBundle, engine: Retriever) -> bool:
    """Whether a bundle has a vector of its own, or other strings to make it of."""
    own = bundle.embedding is not None or bool(bundle.custom_embedding_strs)
    return own and engine.mode != "lexical"


def _vector(bundle: QueryBundle, engine: Retriever) -> Vectors:
    """Return a bundle's own vector (dim,), or the mean of its custom strings', adapted."""
    with engine.index.view() as view:
        if bundle.embedding is not None:
            return view.adapted(np.asarray(bundle.embedding, np.float32))
        assert bundle.custom_embedding_strs is not None  # one of the two is given
        vectors = view.encode_queries(bundle.custom_embedding_strs)
    return np.asarray(vectors.mean(axis=0), np.float32)
