"""A LlamaIndex retriever over a twofold index."""

import copy
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import llama_index.core.instrumentation as instrument
import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import BaseNode, IndexNode, NodeWithScore, QueryBundle
from typing_extensions import Self, Unpack

from llama_index_twofold.embedding import as_encoder, find_async_embed
from llama_index_twofold.nodes import as_passage, nodes_from_hits
from llama_index_twofold.options import QueryOptions, apply_query_options, configure, refuse_unknown
from llama_index_twofold.tracing import EncoderEvents, retrieval_events
from twofold import Encoder, Index, Metric, Retriever
from twofold.concurrency import run_write
from twofold.index import AS_STORED, AsStored
from twofold.integrations import (
    as_id,
    as_ids,
    create_filled_index,
    find_mode,
    log_warnings,
    run_embedded,
)
from twofold.lexical import AnalyzerLike
from twofold.types import Vectors

Found = TypeVar("Found")
logger = logging.getLogger(__name__)
dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]  # no __all__


class TwofoldRetriever(BaseRetriever):
    """Hybrid, dense or lexical retrieval from a twofold index.

    ``with_options`` changes options for single queries, and ``query_options`` those of
    retrievers inside engines. Returned nodes are new copies, best first, with Python floats as
    scores; higher is better.

    Args:
        index: A twofold ``Index``. Pass this, ``retriever`` or ``path``.
        retriever: A configured ``twofold.Retriever``.
        path: The folder of an index, which is opened.
        encoder: The encoder or embedding model of the index at ``path``, needed if no name finds
            it.
        confidence_key: Metadata field for ``hits.confidence``. None leaves it out.
        callback_manager: See ``BaseRetriever``, also for ``object_map`` and ``verbose``.
        objects: IndexNodes whose ``obj``, a node or a retriever, answers in their place.
        **options: See ``QueryOptions``.

    Example:
        >>> from llama_index.core.schema import TextNode
        >>> nodes = [TextNode(text="green tea"), TextNode(text="black coffee")]
        >>> retriever = TwofoldRetriever.from_nodes(nodes, encoder="hashing", similarity_top_k=1)
        >>> retriever.retrieve("a cup of tea")[0].text
        'green tea'
    """

    def __init__(
        self,
        index: Index | None = None,
        *,
        retriever: Retriever | None = None,
        path: str | os.PathLike[str] | None = None,
        encoder: Encoder | BaseEmbedding | str | AsStored | None = AS_STORED,
        confidence_key: str | None = None,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
        **options: Unpack[QueryOptions],
    ) -> None:
        if sum(source is not None for source in (index, retriever, path)) != 1:
            raise ValueError(
                "pass index= (a twofold Index), retriever= (a twofold Retriever) or path= (its "
                "folder)"
            )
        if path is not None:
            index = Index.open(path, encoder=as_encoder(encoder), create=False)
        elif not isinstance(encoder, AsStored):
            raise ValueError("encoder= needs path=: an index that is open has its encoder")
        if retriever is None:
            assert index is not None  # one of the two is given
            retriever = Retriever(index, mode=options.get("mode"))
        self._confidence_key = confidence_key
        self._use(configure(retriever, options))
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
        windows: bool | int | None = None,
        objects: Sequence[IndexNode] = (),
        replace: bool = False,
        **options: Unpack[QueryOptions],
    ) -> Self:
        """Index nodes in the folder ``path``, or a temporary one, and retrieve from it.

        ``encoder`` is a model name, a twofold encoder or a LlamaIndex embedding; with None, search
        is lexical only. ``metric``, ``analyzer`` and ``windows`` are those of ``Index.open``.
        ``objects`` are IndexNodes with an ``obj``, in addition to those in ``nodes``. An ``obj``
        that isn't a node is not stored, so pass it again after reopening the index. The index keeps
        what ``path`` already holds, such as the nodes of an earlier splitting; with ``replace``,
        the nodes replace all of it in one commit.
        """
        refuse_unknown(options)  # before any work
        linked = [node for node in nodes if isinstance(node, IndexNode) and node.obj is not None]
        passages = [as_passage(node) for node in nodes]
        index = create_filled_index(
            path,
            passages,
            encoder=as_encoder(encoder),
            metric=metric,
            analyzer=analyzer,
            windows=windows,
            replace=replace,
        )
        return cls(index, objects=[*linked, *objects], **options)

    @classmethod
    async def afrom_nodes(cls, *args: Any, **kwargs: Any) -> Self:
        """Run ``from_nodes`` without blocking the event loop."""
        return await run_write(cls.from_nodes, *args, **kwargs)

    @property
    def retriever(self) -> Retriever:
        """The ``twofold.Retriever`` with this object's settings."""
        return self._retriever

    @property
    def index(self) -> Any:
        """The index that is searched."""
        return self._retriever.index

    def add_nodes(self, nodes: Sequence[BaseNode]) -> list[str]:
        """Add nodes to the index, replacing stored ones with the same ids; return their ids.

        An IndexNode's ``obj`` answers in its place until this retriever is closed or copied by
        pickle; one that isn't a node is not stored.
        """
        stored = self.index.upsert([as_passage(node) for node in nodes])
        for node in nodes:
            if isinstance(node, IndexNode) and node.obj is not None:
                self.object_map[node.index_id] = node.obj
        return list(stored.ids)

    async def aadd_nodes(self, nodes: Sequence[BaseNode]) -> list[str]:
        """Run ``add_nodes`` without blocking the event loop."""
        return await run_write(self.add_nodes, nodes)

    def delete_nodes(
        self, node_ids: Sequence[str] | None = None, *, ref_doc_id: str | None = None
    ) -> int:
        """Delete nodes by id, or all nodes of a document; return how many were stored.

        Given both, the nodes with these ids that are of this document are deleted. Raises
        InputError if both are None.
        """
        where = None if ref_doc_id is None else {"ref_doc_id": as_id(ref_doc_id)}
        deleted: int = self.index.delete(as_ids(node_ids), where=where)
        return deleted

    async def adelete_nodes(
        self, node_ids: Sequence[str] | None = None, *, ref_doc_id: str | None = None
    ) -> int:
        """Run ``delete_nodes`` without blocking the event loop."""
        return await run_write(self.delete_nodes, node_ids, ref_doc_id=ref_doc_id)

    def with_options(self, **options: Unpack[QueryOptions]) -> "TwofoldRetriever":
        """Return a copy over the same index, with these options changed."""
        other = copy.copy(self)
        other._use(configure(self._retriever, options))
        return other

    def _use(self, retriever: Retriever) -> None:
        """Set the ``twofold.Retriever``; its observer, if any, replaces LlamaIndex's events."""
        self._retriever = retriever
        events = EncoderEvents(retriever.index)
        observer = retriever.observer if retriever.observer is not None else events
        self._observed = replace(retriever, observer=observer)

    def retrieve_many(self, queries: Sequence[str | QueryBundle]) -> list[list[NodeWithScore]]:
        """Return the nodes of each query, with one encoder call and one search for all."""
        bundles = [QueryBundle(query) if isinstance(query, str) else query for query in queries]
        with retrieval_events(self.callback_manager, queries) as report:
            results = [
                self._handle_recursive_retrieval(bundle, nodes)
                for bundle, nodes in zip(bundles, self._search(bundles), strict=True)
            ]
            report(results)
        return results

    async def aretrieve_many(
        self, queries: Sequence[str | QueryBundle]
    ) -> list[list[NodeWithScore]]:
        """Run ``retrieve_many`` without blocking the event loop."""
        bundles = [QueryBundle(query) if isinstance(query, str) else query for query in queries]
        return await self._run(bundles, self.retrieve_many, queries)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._search([query_bundle])[0]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        (nodes,) = await self._run([query_bundle], self._search, [query_bundle])
        return nodes

    async def _run(
        self, bundles: Sequence[QueryBundle], function: Callable[..., Found], queries: Sequence[Any]
    ) -> Found:
        """Await the embeddings of bundles without a vector, then call ``function`` in a thread."""
        retriever = apply_query_options(self._retriever)
        rest = [bundle for bundle in bundles if not _has_vector(bundle)]
        texts = [bundle.query_str.strip() for bundle in rest]
        return await run_embedded(find_async_embed(retriever), texts, function, queries)

    def _search(self, bundles: Sequence[QueryBundle]) -> list[list[NodeWithScore]]:
        """Search for all texts at once, and for bundles with vectors one by one."""
        retriever = apply_query_options(self._observed)
        texts = [bundle.query_str.strip() for bundle in bundles]
        with_vector = [i for i, bundle in enumerate(bundles) if _has_vector(bundle)]
        if with_vector and find_mode(retriever) == "lexical":
            with_vector = []
        rest = [i for i in range(len(bundles)) if i not in with_vector]
        found = retriever.retrieve_many([texts[i] for i in rest])
        answers = dict(zip(rest, found, strict=True))
        for i in with_vector:
            answers[i] = retriever.retrieve(texts[i], vector=_query_vector(bundles[i], retriever))
        for hits in answers.values():
            log_warnings(logger, self.index, hits)
        return [nodes_from_hits(answers[i], self._confidence_key) for i in range(len(bundles))]


def _has_vector(bundle: QueryBundle) -> bool:
    """Return whether a dense search uses a bundle's vector or custom strings, not its text."""
    return bundle.embedding is not None or bool(bundle.custom_embedding_strs)


def _query_vector(bundle: QueryBundle, retriever: Retriever) -> Vectors:
    """Return a bundle's vector (dim,), or the mean vector of its custom strings."""
    with retriever.index.open_search() as scope:
        if bundle.embedding is not None:
            return scope.adapt(np.asarray(bundle.embedding, np.float32))
        assert bundle.custom_embedding_strs is not None  # one of the two is given
        vectors = scope.encode_queries(bundle.custom_embedding_strs)
    return np.asarray(vectors.mean(axis=0), np.float32)
