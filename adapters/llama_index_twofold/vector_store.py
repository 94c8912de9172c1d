"""A LlamaIndex vector store over a twofold index."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    DEFAULT_PERSIST_DIR,
    DEFAULT_PERSIST_FNAME,
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from typing_extensions import Self

from llama_index_twofold.embedding import as_encoder
from llama_index_twofold.filters import restrict_where
from llama_index_twofold.nodes import as_node, as_passage, is_reference, stack_embeddings
from twofold import Encoder, Index, Metric, Passage, Retriever
from twofold.backends.remote_index import RemoteIndex
from twofold.concurrency import run_in_thread, run_write
from twofold.errors import InputError, QueryError, VectorError
from twofold.index import AS_STORED, AsStored
from twofold.integrations import (
    as_id,
    as_ids,
    copy_index,
    log_warnings,
    refuse_unknown,
    select_passages,
    stored_vectors,
)
from twofold.lexical import AnalyzerLike
from twofold.results.hits import Hits
from twofold.retriever import DEPTH
from twofold.types import Mode, Vectors
from twofold.validation import check_integer, check_number

logger = logging.getLogger(__name__)

_MODES: dict[VectorStoreQueryMode, Mode] = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.MMR: "dense",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SEMANTIC_HYBRID: "hybrid",
    VectorStoreQueryMode.SPARSE: "lexical",
    VectorStoreQueryMode.TEXT_SEARCH: "lexical",
}
_QUERY_ARGUMENTS = ("mmr_threshold", "mmr_prefetch_k", "mmr_prefetch_factor", "include_embeddings")
_MMR_THRESHOLD = 0.5
_MAX_CANDIDATES = 2**31 - 1


class TwofoldVectorStore(BasePydanticVectorStore):
    """Nodes, vectors and words in one folder, for ``VectorStoreIndex`` and ingestion pipelines.

    Writes are on disk when the call returns. The query modes ``default`` and ``mmr`` search the
    dense leg, ``sparse`` and ``text_search`` the lexical leg, and ``hybrid`` both.
    ``semantic_hybrid`` is hybrid with the retriever's reranker. Higher similarities are better
    under every metric.

    Args:
        index: A twofold ``Index``, or one on a server. Pass this, ``retriever`` or ``path``.
        retriever: A configured ``twofold.Retriever``, whose settings apply to all queries.
        path: The index folder; created if missing. None creates a temporary one.
        embed_model: The model that encodes nodes without an embedding. It must be the model that
            encoded the stored nodes.
        metric: See ``Index.open``.
        analyzer: See ``Index.open``.
        windows: See ``Index.open``. Nodes that have an embedding get no windows.
        read_only: Whether to refuse writes to the folder ``path``.
        strict_node_ids: Whether ``node_ids`` always restrict a query. By default, ids of IndexNodes
            and ImageNodes alone don't, because ``VectorStoreIndex.as_retriever`` always passes
            them.
        **fields: Fields of the base class.

    Example:
        >>> from llama_index.core.schema import TextNode
        >>> store = TwofoldVectorStore(embed_model="hashing")
        >>> _ = store.add([TextNode(text="green tea"), TextNode(text="black coffee")])
        >>> query = VectorStoreQuery(query_str="tea", mode="hybrid", similarity_top_k=1)
        >>> store.query(query).nodes[0].text
        'green tea'
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    path: str | None = None
    strict_node_ids: bool = False
    _retriever: Any = PrivateAttr()

    def __init__(
        self,
        index: Index | RemoteIndex | None = None,
        *,
        retriever: Retriever | None = None,
        path: str | os.PathLike[str] | None = None,
        embed_model: Encoder | BaseEmbedding | str | None = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        windows: bool | int | None = None,
        read_only: bool = False,
        strict_node_ids: bool = False,
        **fields: Any,
    ) -> None:
        if sum(source is not None for source in (index, retriever, path)) > 1:
            raise ValueError("pass only one of index=, retriever= and path=")
        if read_only and path is None:
            raise ValueError("read_only=True needs path=: otherwise pass it to Index.open")
        if retriever is None and index is None:
            index = Index.open(
                path,
                encoder=as_encoder(embed_model) if embed_model is not None else AS_STORED,
                dim="first" if embed_model is None else None,
                metric=metric,
                analyzer=analyzer,
                windows=windows,
                read_only=read_only,
            )
        if retriever is None:
            assert index is not None  # given, or just opened
            retriever = Retriever(index, mode=None)
        searched: Any = retriever.index
        path = "" if isinstance(searched, RemoteIndex) else str(searched.path)
        super().__init__(**{**fields, "path": path, "strict_node_ids": strict_node_ids})
        self._retriever = retriever

    @classmethod
    async def aopen(cls, *args: Any, **kwargs: Any) -> Self:
        """Construct a store, such as that of a ``path``, without blocking the event loop."""
        return await run_in_thread(cls, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the retriever, whose index is opened again."""
        fields = {name: getattr(self, name) for name in type(self).model_fields if name != "path"}
        return _restore_store, (type(self), self.retriever, fields)

    @classmethod
    def class_name(cls) -> str:
        """Return the name for LlamaIndex's serialization."""
        return "TwofoldVectorStore"

    @property
    def client(self) -> Any:
        """The twofold index, under the name that LlamaIndex uses."""
        return self.index

    @property
    def index(self) -> Any:
        """The twofold index that holds the nodes."""
        return self._retriever.index

    @property
    def retriever(self) -> Retriever:
        """The ``twofold.Retriever`` whose settings apply to all queries."""
        retriever: Retriever = self._retriever
        return retriever

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes, replacing stored ones with the same ids, and return their ids.

        Of several nodes with one id, the last is stored. Raises VectorError, before anything is
        written, if a node has no embedding and the store has no model.
        """
        refuse_unknown(list(kwargs), (), {})
        last = {passage.id: (passage, node) for node in nodes for passage in [as_passage(node)]}
        dense = "dense" in self.index.modes
        embedded = [pair for pair in last.values() if dense and pair[1].embedding is not None]
        others = [pair for pair in last.values() if not dense or pair[1].embedding is None]
        if others and dense and self.index.encoder is None:
            raise VectorError(
                f"node {others[0][0].id!r} has no embedding, and the store has no model: pass "
                "nodes with embeddings, as VectorStoreIndex does, or the store's embed_model="
            )
        if embedded:
            vectors = stack_embeddings([node for _, node in embedded])
            self.index.upsert([passage for passage, _ in embedded], vectors=vectors)
        if others:
            self.index.upsert([passage for passage, _ in others])
        return [node.node_id for node in nodes]

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Run ``add`` without blocking the event loop."""
        return await run_write(self.add, nodes, **kwargs)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete all nodes of a document; an unknown id is ignored."""
        refuse_unknown(list(delete_kwargs), (), {})
        name = as_id(ref_doc_id)
        if not isinstance(name, str) or not name:
            raise InputError(f"ref_doc_id must be the id of a document, got {ref_doc_id!r}")
        self.index.delete(where={"ref_doc_id": name})

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Run ``delete`` without blocking the event loop."""
        await run_write(self.delete, ref_doc_id, **delete_kwargs)

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete nodes that match both ids and filters. Raises InputError if both are None."""
        refuse_unknown(list(delete_kwargs), (), {})
        self.index.delete(as_ids(node_ids), where=restrict_where(filters))

    async def adelete_nodes(self, *args: Any, **delete_kwargs: Any) -> None:
        """Run ``delete_nodes`` without blocking the event loop."""
        await run_write(self.delete_nodes, *args, **delete_kwargs)

    def clear(self) -> None:
        """Delete all nodes."""
        self.index.delete(where={})

    async def aclear(self) -> None:
        """Run ``clear`` without blocking the event loop."""
        await run_write(self.clear)

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        *,
        include_embeddings: bool = False,
    ) -> list[BaseNode]:
        """Return nodes that match both ids and filters; None matches all. Ignores unknown ids.

        ``include_embeddings`` sets the nodes' embeddings to the stored vectors, which have length 1
        under the cosine metric.
        """
        passages = self.index.get(as_ids(node_ids), where=restrict_where(filters) or {})
        return self._as_nodes(passages, include_embeddings)

    def _as_nodes(self, passages: Sequence[Passage], include_embeddings: bool) -> list[BaseNode]:
        nodes, ids = [as_node(passage) for passage in passages], [p.id for p in passages]
        if include_embeddings:
            for node, vector in zip(nodes, stored_vectors(self.index, ids), strict=True):
                node.embedding = vector
        return nodes

    async def aget_nodes(self, *args: Any, **kwargs: Any) -> list[BaseNode]:
        """Run ``get_nodes`` without blocking the event loop."""
        return await run_in_thread(self.get_nodes, *args, **kwargs)

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the best nodes with their similarities and ids.

        Filters, ``doc_ids`` and ``node_ids`` apply before the search, beside the retriever's own
        ``where``. Without a text (None or blank) and an embedding, they alone select: all nodes
        that match, in the order of ``node_ids`` or else as stored, up to ``similarity_top_k``,
        without similarities. In hybrid mode ``alpha`` is the
        dense share; None leaves it to the fusion. For ``mmr``, ``kwargs`` may have
        ``mmr_threshold``, which overrides the query's, and the number of candidates as
        ``mmr_prefetch_k`` or ``mmr_prefetch_factor``. For ``include_embeddings`` see ``get_nodes``.
        Raises NotImplementedError for other modes.
        """
        refuse_unknown(list(kwargs), _QUERY_ARGUMENTS, {"lambda_mult": "mmr_threshold"})
        passages, similarities = self._search(query, kwargs)
        nodes = self._as_nodes(passages, bool(kwargs.get("include_embeddings")))
        ids = [passage.id for passage in passages]
        return VectorStoreQueryResult(nodes=nodes, similarities=similarities, ids=ids)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Run ``query`` without blocking the event loop."""
        return await run_in_thread(self.query, query, **kwargs)

    def _search(
        self, query: VectorStoreQuery, arguments: Mapping[str, Any]
    ) -> tuple[Sequence[Passage], list[float] | None]:
        """Return the passages that a query finds, and their similarities if it has any."""
        if query.mode not in _MODES:
            supported = ", ".join(mode.value for mode in _MODES)
            name = getattr(query.mode, "value", query.mode)
            raise NotImplementedError(
                f"query mode {name!r} is not supported: use one of {supported}"
            )
        query = replace(query, mode=VectorStoreQueryMode(query.mode))  # may be a string
        ids = query.node_ids or None  # VectorStoreIndex.as_retriever passes [] for no restriction
        selects = any(value is not None for value in (query.filters, query.doc_ids, ids))
        if selects and not (query.query_str or "").strip() and query.query_embedding is None:
            check_integer("similarity_top_k", query.similarity_top_k, error=QueryError)
            where = restrict_where(
                query.filters, documents=query.doc_ids, where=self.retriever.where
            )
            return select_passages(self.index, ids, where or {}, query.similarity_top_k), None
        hits = self._find_hits(query, arguments)
        if hits is None:
            return [], []
        log_warnings(logger, self.index, hits)
        return hits.passages, hits.scores.tolist()

    def _find_hits(self, query: VectorStoreQuery, arguments: Mapping[str, Any]) -> Hits | None:
        """Return the hits of a query, or None if it has neither a vector nor words."""
        text = (query.query_str or "").strip()
        vector = _query_vector(self.retriever, query)
        if vector is None and not text:
            return None
        mode, node_ids = _MODES[query.mode], self._restricting_ids(query.node_ids)
        where = restrict_where(
            query.filters, ids=node_ids, documents=query.doc_ids, where=self.retriever.where
        )
        k = {"hybrid": query.hybrid_top_k, "lexical": query.sparse_top_k}.get(mode)
        k = k if k is not None else query.similarity_top_k
        retriever = replace(self.retriever, mode=mode, k=k, where=where)
        if mode == "hybrid":
            retriever = _configure_hybrid(retriever, query)
        if query.mode is VectorStoreQueryMode.MMR:
            retriever = _configure_mmr(retriever, query, arguments)
        if mode == "lexical":
            return retriever.retrieve(text) if text else None
        return retriever.retrieve(text or None, vector=vector)

    def _restricting_ids(self, node_ids: list[str] | None) -> list[str] | None:
        """Return the ids that a query is restricted to, or None for no restriction."""
        if not node_ids:
            return None
        if self.strict_node_ids:
            return node_ids
        passages: list[Passage] = self.index.get(as_ids(node_ids))
        return None if passages and all(map(is_reference, passages)) else node_ids

    def persist(self, persist_path: str, fs: Any = None) -> None:
        """Copy the index to a folder, replacing an earlier copy there.

        An index on a server stays there: nothing is copied.
        """
        _check_local(fs)
        if not isinstance(self.index, RemoteIndex):
            copy_index(self.index, persist_path)

    @classmethod
    def from_persist_path(
        cls,
        persist_path: str,
        fs: Any = None,
        *,
        embed_model: Encoder | BaseEmbedding | str | None = None,
        read_only: bool = False,
    ) -> Self:
        """Open a folder that ``persist`` wrote. Raises IndexNotFoundError if it has no index.

        ``read_only`` refuses writes.
        """
        _check_local(fs)
        encoder = as_encoder(embed_model) if embed_model is not None else AS_STORED
        return cls(Index.open(persist_path, encoder=encoder, create=False, read_only=read_only))

    @classmethod
    async def afrom_persist_path(cls, *args: Any, **kwargs: Any) -> Self:
        """Run ``from_persist_path`` without blocking the event loop."""
        return await run_in_thread(cls.from_persist_path, *args, **kwargs)

    @classmethod
    def from_persist_dir(
        cls,
        persist_dir: str = DEFAULT_PERSIST_DIR,
        namespace: str = "default",
        fs: Any = None,
        *,
        embed_model: Encoder | BaseEmbedding | str | None = None,
        read_only: bool = False,
    ) -> Self:
        """Open a folder that ``StorageContext.persist(persist_dir)`` wrote."""
        path = Path(persist_dir) / f"{namespace}__{DEFAULT_PERSIST_FNAME}"
        return cls.from_persist_path(str(path), fs, embed_model=embed_model, read_only=read_only)

    @classmethod
    async def afrom_persist_dir(cls, *args: Any, **kwargs: Any) -> Self:
        """Run ``from_persist_dir`` without blocking the event loop."""
        return await run_in_thread(cls.from_persist_dir, *args, **kwargs)


def _check_local(fs: Any) -> None:
    """Raise ValueError for a remote file system."""
    if fs is not None and "file" not in getattr(fs, "protocol", ()):
        raise ValueError(f"fs must be None or a local file system, got {type(fs).__name__}")


def _query_vector(retriever: Retriever, query: VectorStoreQuery) -> Vectors | None:
    """Return the query's embedding, mapped by the index's active query adapter."""
    if query.query_embedding is None or _MODES.get(query.mode) == "lexical":
        return None
    with retriever.index.open_search() as scope:
        return scope.adapt(np.asarray(query.query_embedding, np.float32))


def _configure_hybrid(retriever: Retriever, query: VectorStoreQuery) -> Retriever:
    """Set the dense share; set the depth to at least the number of nodes to return."""
    if query.mode is VectorStoreQueryMode.SEMANTIC_HYBRID and retriever.reranker is None:
        raise QueryError(
            "query mode 'semantic_hybrid' reranks, and the store has no reranker: pass "
            "retriever=Retriever(index, reranker=...), or use mode 'hybrid'"
        )
    count = max(query.similarity_top_k, query.sparse_top_k or 0)
    default = retriever.depth if retriever.depth is not None else DEPTH
    depth = retriever.depth if count <= default else count
    share = query.alpha if query.alpha is not None else retriever.dense_weight
    return replace(retriever, depth=depth, dense_weight=share)


def _configure_mmr(
    retriever: Retriever, query: VectorStoreQuery, arguments: Mapping[str, Any]
) -> Retriever:
    """Set the diversity to 1 - ``mmr_threshold``, and the number of candidates."""
    thresholds = [arguments.get("mmr_threshold"), query.mmr_threshold, _MMR_THRESHOLD]
    threshold = next(value for value in thresholds if value is not None)
    check_number("mmr_threshold", threshold, 0, 1, error=QueryError)
    depth, factor = arguments.get("mmr_prefetch_k"), arguments.get("mmr_prefetch_factor")
    if depth is not None and factor is not None:
        raise QueryError(
            "pass mmr_prefetch_k or mmr_prefetch_factor, not both, got "
            f"mmr_prefetch_k={depth!r} and mmr_prefetch_factor={factor!r}"
        )
    if factor is not None:
        check_number("mmr_prefetch_factor", factor, 1, error=QueryError)
        depth = int(min(factor * retriever.k, _MAX_CANDIDATES))
    depth = depth if depth is not None else retriever.depth
    return replace(retriever, diversity=1 - threshold, depth=depth)


def _restore_store(
    store_type: type[TwofoldVectorStore], retriever: Retriever, fields: dict[str, Any]
) -> TwofoldVectorStore:
    return store_type(retriever=retriever, **fields)
