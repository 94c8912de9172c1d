"""A LlamaIndex retriever over a twofold index."""

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

import llama_index.core.instrumentation as instrument
import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import BaseNode, IndexNode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores import MetadataFilters

from llama_index_twofold.embedding import EmbeddingEncoder
from llama_index_twofold.filters import as_where
from llama_index_twofold.nodes import as_node, as_passage
from twofold import Encoder, Index, Metric, Retriever
from twofold.index import AS_STORED, AsStored, filled_index
from twofold.lexical import AnalyzerLike
from twofold.logs import log_warnings
from twofold.types import Mode, Vectors

logger = logging.getLogger(__name__)
dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # no __all__


class TwofoldRetriever(BaseRetriever):
    """Hybrid, dense or lexical retrieval as a LlamaIndex retriever.

    Over an existing index: ``TwofoldRetriever(index=index, similarity_top_k=5)``, or over a
    configured retriever: ``TwofoldRetriever(retriever=Retriever(index, depth=200))``. From nodes:
    ``TwofoldRetriever.from_nodes(nodes, path="papers.twofold")``. ``filters`` are LlamaIndex's
    or twofold's ``where``.
    """

    def __init__(
        self,
        index: Index | None = None,
        *,
        retriever: Retriever | None = None,
        similarity_top_k: int | None = None,
        mode: Mode | None = None,
        filters: MetadataFilters | dict[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
    ) -> None:
        if (index is None) == (retriever is None):
            raise ValueError("give index= (a twofold Index) or retriever= (a twofold Retriever)")
        if retriever is None:
            assert index is not None  # one of the two is given
            retriever = Retriever(index, mode=mode if mode is not None else index.modes[0])
        where = as_where(filters) if isinstance(filters, MetadataFilters) else filters
        self._engine = replace(
            retriever,
            mode=mode if mode is not None else retriever.mode,
            k=similarity_top_k if similarity_top_k is not None else retriever.k,
            where=where if where is not None else retriever.where,
        )
        super().__init__(callback_manager=callback_manager, objects=objects, verbose=verbose)

    @classmethod
    def from_nodes(
        cls,
        nodes: Sequence[BaseNode],
        *,
        encoder: Encoder | BaseEmbedding | str | AsStored | None = AS_STORED,
        path: str | os.PathLike[str] | None = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        **settings: Any,
    ) -> "TwofoldRetriever":
        """Index nodes in the folder ``path`` (a temporary one if None) and retrieve from it.

        ``encoder`` is a model's name, a twofold encoder or a LlamaIndex ``BaseEmbedding``; the
        other names are those of ``Index.open``, and ``settings`` are this class's arguments. The
        ``obj`` of an IndexNode stays in memory: give it again as ``objects`` after reopening.
        """
        signature(cls).bind_partial(**settings)  # a wrong name is a TypeError before any work
        if isinstance(encoder, BaseEmbedding):
            encoder = EmbeddingEncoder(encoder)
        objects = [each for each in nodes if isinstance(each, IndexNode) and each.obj is not None]
        settings.setdefault("objects", objects)
        passages = [as_passage(node) for node in nodes]
        index = filled_index(path, passages, encoder=encoder, metric=metric, analyzer=analyzer)
        return cls(index, **settings)

    @property
    def retriever(self) -> Retriever:
        """The core retriever, with this object's settings."""
        return self._engine

    @property
    def index(self) -> Any:
        """The index that is searched."""
        return self._engine.index

    @dispatcher.span
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        query = query_bundle.query_str.strip()
        hits = self._engine.retrieve(query, vector=self._vector(query_bundle))
        log_warnings(logger, self.index, hits)
        return [as_node(hit) for hit in hits]

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _vector(self, query_bundle: QueryBundle) -> Vectors | None:
        """Return the bundle's own vector, or the mean of its custom strings'."""
        if self._engine.mode == "lexical":
            return None
        if query_bundle.embedding is not None:
            return np.asarray(query_bundle.embedding, np.float32)
        if query_bundle.custom_embedding_strs:
            with self._engine.index.view() as view:
                vectors = view.encode_queries(query_bundle.custom_embedding_strs)
            return np.asarray(vectors.mean(axis=0), np.float32)
        return None
