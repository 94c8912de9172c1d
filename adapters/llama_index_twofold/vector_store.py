"""A LlamaIndex vector store over a twofold index: both legs, one folder."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from llama_index_twofold.embedding import as_encoder
from llama_index_twofold.filters import restricted
from llama_index_twofold.nodes import as_node, as_passage, is_reference, vectors_of
from llama_index_twofold.persistence import PersistedStore
from llama_index_twofold.searches import search
from twofold import Encoder, Index, Metric, Passage, Retriever
from twofold.errors import VectorError
from twofold.index import AS_STORED, AsStored
from twofold.integrations.options import log_warnings, refuse_unknown
from twofold.lexical import AnalyzerLike

logger = logging.getLogger(__name__)


class TwofoldVectorStore(PersistedStore):
    """Nodes, their vectors and their words in one folder, for ``VectorStoreIndex`` and pipelines.

    ``TwofoldVectorStore(path="papers.twofold")`` opens the folder or makes it (None: a temporary
    one); what is added is on disk when the call returns. Vectors are the nodes' own; with
    ``embed_model`` nodes without are encoded, and another model than before is refused. Over what
    exists: ``index=``, or ``retriever=`` with settings for all queries.

    Modes: ``default`` and ``mmr`` ask the dense leg, ``sparse`` and ``text_search`` the lexical
    one, ``hybrid`` both; ``alpha`` is the dense leg's share there, None leaves it to the fusion.
    In scores higher is better under every metric. ``node_ids`` that name IndexNodes and ImageNodes
    alone are taken for what ``VectorStoreIndex.as_retriever`` passes by itself, and restrict
    nothing unless ``strict_node_ids`` is set.
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    path: str | None = None
    strict_node_ids: bool = False
    _retriever: Any = PrivateAttr()

    def __init__(
        self,
        index: Index | None = None,
        *,
        retriever: Retriever | None = None,
        path: str | os.PathLike[str] | None = None,
        embed_model: Encoder | BaseEmbedding | str | None = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        strict_node_ids: bool = False,
        **fields: Any,
    ) -> None:
        """Open the folder, or serve what is given; ``fields`` are those of the base class."""
        given = [each for each in (index, retriever, path) if each is not None]
        if len(given) > 1:
            raise ValueError("give one of index=, retriever= and path=")
        if retriever is None and index is None:
            index = Index.open(
                path,
                encoder=as_encoder(embed_model) if embed_model is not None else AS_STORED,
                dim="first" if embed_model is None else None,
                metric=metric,
                analyzer=analyzer,
            )
        if retriever is None:
            assert index is not None  # given, or just opened
            retriever = Retriever(index, mode=index.modes[0])
        held: Any = retriever.index
        super().__init__(**{**fields, "path": str(held.path), "strict_node_ids": strict_node_ids})
        self._retriever = retriever

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex shows."""
        return "TwofoldVectorStore"

    @property
    def client(self) -> Any:
        """The index."""
        return self.index

    @property
    def index(self) -> Any:
        """The index that holds everything."""
        return self._retriever.index

    @property
    def retriever(self) -> Retriever:
        """The core's retriever, whose settings hold for all queries."""
        kept: Retriever = self._retriever
        return kept

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes, and replace those whose ids are stored; return their ids.

        Of two with one id the last counts. Raises VectorError where a node has no vector and the
        store no model, before anything is written.
        """
        refuse_unknown(list(kwargs), (), {})
        last = {each.id: (each, node) for node in nodes for each in [as_passage(node)]}
        dense = "dense" in self.index.modes
        given = [pair for pair in last.values() if dense and pair[1].embedding is not None]
        others = [pair for pair in last.values() if not dense or pair[1].embedding is None]
        if others and dense and self.index.encoder is None:
            raise VectorError(
                f"node {others[0][0].id!r} has no embedding, and the store no model: give nodes "
                "with embeddings, as VectorStoreIndex does, or TwofoldVectorStore(embed_model=...)"
            )
        if given:
            vectors = vectors_of([node for _, node in given])
            self.index.upsert([each for each, _ in given], vectors=vectors)
        if others:
            self.index.upsert([each for each, _ in others])
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete all nodes of a document; nothing happens if there are none."""
        refuse_unknown(list(delete_kwargs), (), {})
        self.index.delete(where={"ref_doc_id": ref_doc_id})

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete nodes by id, by filter, or what is in both; raise InputError for neither."""
        refuse_unknown(list(delete_kwargs), (), {})
        self.index.delete(node_ids, where=restricted(filters))

    def clear(self) -> None:
        """Delete all nodes."""
        self.index.delete(where={})

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Return nodes by id, by filter, by both, or all; ids that aren't stored are left out."""
        where = restricted(filters)
        passages = self.index.get(
            node_ids, where={} if where is None and node_ids is None else where
        )
        return [as_node(each) for each in passages]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the best nodes for a query, with their similarities and ids.

        Filters, ``doc_ids`` and ``node_ids`` hold before the best are chosen. For ``mmr``,
        ``mmr_threshold`` is taken as an argument or of the query, and ``mmr_prefetch_k`` or
        ``mmr_prefetch_factor`` say among how many. Raises NotImplementedError for other modes.
        """
        hits = search(self.retriever, query, self._restriction(query.node_ids), kwargs)
        if hits is None:
            return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])
        log_warnings(logger, self.index, hits)
        return VectorStoreQueryResult(
            nodes=[as_node(each) for each in hits.passages],
            similarities=hits.scores.tolist(),
            ids=hits.ids,
        )

    def _restriction(self, node_ids: list[str] | None) -> list[str] | None:
        """Return the ids that a query is restricted to, None for no restriction."""
        if not node_ids:
            return None
        if self.strict_node_ids:
            return node_ids
        named: list[Passage] = self.index.get(node_ids)
        return None if named and all(map(is_reference, named)) else node_ids
