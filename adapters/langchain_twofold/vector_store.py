"""A LangChain vector store over a twofold index."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from typing_extensions import Self

from langchain_twofold.documents import (
    as_document,
    documents_from_hits,
    passages_from_documents,
    passages_from_texts,
)
from langchain_twofold.embeddings import as_encoder, embeddings_of, find_async_embed
from langchain_twofold.options import configure_search, refuse_unknown
from twofold import Encoder, Index, Metric, Passage, ReciprocalRank, Retriever, WeightedSum
from twofold.backends.remote_index import RemoteIndex
from twofold.concurrency import run_in_thread, run_write
from twofold.fusion import Fusion, GuardedFusion, MinMax, Rank, TheoreticalMinMax
from twofold.index import AS_STORED, AsStored
from twofold.integrations import (
    as_ids,
    copy_index,
    create_filled_index,
    find_mode,
    run_embedded,
)
from twofold.lexical import AnalyzerLike
from twofold.results.hits import Hits
from twofold.retriever import plan_search
from twofold.types import Vectors

Folder = str | os.PathLike[str] | None
Model = Embeddings | Encoder | str | None
Found = TypeVar("Found")
ScoredDocuments = list[tuple[Document, float]]

_OPEN_OPTIONS = ("ids", "path", "metric", "analyzer", "windows", "replace")
_FUSION_OPTIONS = ("mode", "weights", "preset", "reranker")
_MERGE_BATCH = 4096  # passages with vectors copied at a time


class TwofoldVectorStore(VectorStore):
    """Hybrid search with the interface of LangChain's FAISS store.

    Searches by text use both legs if the index has them. They take the options of
    ``TwofoldRetriever.invoke``, and ``filter`` may use FAISS's syntax. Searches by vector use the
    dense leg, and so do searches by relevance score or ``score_threshold`` unless ``mode`` is set.
    Higher scores are better under every metric; a Euclidean score is the negative distance.

    Async searches run in the adapter's own threads, and async writes in others, so that a long
    write never delays a search. A write that is cancelled before its commit stores nothing.

    Args:
        index: A twofold ``Index``, or one on a server. Pass this or ``retriever``.
        retriever: A configured ``twofold.Retriever``, whose settings apply to all searches.

    Example:
        >>> store = TwofoldVectorStore.from_texts(["green tea", "black coffee"], "hashing")
        >>> store.similarity_search("a cup of tea", k=1)[0].page_content
        'green tea'
    """

    def __init__(
        self,
        index: Index | RemoteIndex | None = None,
        *,
        retriever: Retriever | None = None,
    ) -> None:
        if (index is None) == (retriever is None):
            raise ValueError("pass index= (a twofold Index) or retriever= (a twofold Retriever)")
        if retriever is None and index is not None:
            retriever = Retriever(index, mode=None, k=4)
        self.retriever: Any = retriever

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Model = None,
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        path: Folder = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        windows: bool | int | None = None,
        replace: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Index texts in the folder ``path``, or a temporary one, and return the store.

        ``embedding`` is LangChain ``Embeddings``, a twofold encoder or a model name; None uses the
        default model. An id of None is derived from text and metadata, so that equal texts are one
        document. ``metric``, ``analyzer`` and ``windows`` are those of ``Index.open``.

        The index keeps what ``path`` already holds, such as the chunks of an earlier splitting.
        With ``replace``, the texts replace all of it in one commit.
        """
        encoder = as_encoder(embedding) if embedding is not None else AS_STORED
        passages = passages_from_texts(texts, metadatas, ids)
        options = {"path": path, "metric": metric, "analyzer": analyzer, "replace": replace}
        return cls._fill(passages, encoder, {**options, "windows": windows, **kwargs})

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        embedding: Model = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Index documents; the other arguments are those of ``from_texts``.

        Chunks of an earlier splitting stay in ``path`` beside the new ones, unless ``replace``.
        """
        encoder = as_encoder(embedding) if embedding is not None else AS_STORED
        return cls._fill(passages_from_documents(documents, ids), encoder, kwargs)

    @classmethod
    async def afrom_texts(cls, *args: Any, **kwargs: Any) -> Self:
        """Run ``from_texts`` without blocking the event loop."""
        return await run_write(cls.from_texts, *args, **kwargs)

    @classmethod
    async def afrom_documents(cls, *args: Any, **kwargs: Any) -> Self:
        """Run ``from_documents`` without blocking the event loop."""
        return await run_write(cls.from_documents, *args, **kwargs)

    @classmethod
    def from_embeddings(
        cls,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        embedding: Model,
        metadatas: Iterable[dict[str, Any]] | None = None,
        ids: Iterable[str | None] | None = None,
        *,
        path: Folder = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        replace: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Index (text, vector) pairs; the other arguments are those of ``from_texts``.

        ``embedding`` is the model that encoded the texts, and encodes the queries. With None, dense
        searches need a query vector.
        """
        passages, vectors = _split_pairs(text_embeddings, metadatas, ids)
        options = {"path": path, "metric": metric, "analyzer": analyzer, "replace": replace}
        return cls._fill(passages, as_encoder(embedding), {**options, **kwargs}, vectors)

    @classmethod
    def _fill(
        cls,
        passages: list[Passage],
        encoder: Any,
        options: dict[str, Any],
        vectors: Vectors | None = None,
    ) -> Self:
        refuse_unknown(options, _OPEN_OPTIONS)
        options = {**options, "encoder": encoder, "dim": "first" if encoder is None else None}
        return cls(create_filled_index(passages=passages, vectors=vectors, **options))

    @classmethod
    async def afrom_embeddings(cls, *args: Any, **kwargs: Any) -> Self:
        """Run ``from_embeddings`` without blocking the event loop."""
        return await run_write(cls.from_embeddings, *args, **kwargs)

    @property
    def index(self) -> Any:
        """The index that is searched."""
        return self.retriever.index

    @property
    def embeddings(self) -> Embeddings | None:
        """The index's encoder as LangChain ``Embeddings``, or None without an encoder."""
        return embeddings_of(self.index)

    def add_documents(
        self,
        documents: Iterable[Document],
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add documents, replacing stored ones with the same ids, and return the ids.

        ``ids`` take precedence over the documents' ids; a document without one gets an id derived
        from text and metadata, so that equal documents are one, in one call or in several.
        """
        refuse_unknown(kwargs, ("ids", "batch_size"))
        return list(self.index.upsert(passages_from_documents(documents, ids)).ids)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts with metadata; the rest is as in ``add_documents``."""
        refuse_unknown(kwargs, ("ids", "batch_size"))
        return list(self.index.upsert(passages_from_texts(texts, metadatas, ids)).ids)

    async def aadd_documents(self, *args: Any, **kwargs: Any) -> list[str]:
        """Run ``add_documents`` without blocking the event loop."""
        return await run_write(self.add_documents, *args, **kwargs)

    async def aadd_texts(self, *args: Any, **kwargs: Any) -> list[str]:
        """Run ``add_texts`` without blocking the event loop."""
        return await run_write(self.add_texts, *args, **kwargs)

    def add_embeddings(
        self,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
    ) -> list[str]:
        """Add (text, vector) pairs; the rest is as in ``add_documents``."""
        passages, vectors = _split_pairs(text_embeddings, metadatas, ids)
        return list(self.index.upsert(passages, vectors=vectors).ids) if passages else []

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete documents; unknown ids are ignored. Raises ValueError if ``ids`` is None."""
        refuse_unknown(kwargs, ("ids",))
        if ids is None:
            raise ValueError("delete needs ids: to delete all, call index.delete(where={})")
        self.index.delete(as_ids(ids))
        return True

    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Run ``delete`` without blocking the event loop."""
        return await run_write(self.delete, ids, **kwargs)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents with these ids; unknown ids are ignored."""
        return [as_document(passage) for passage in self.index.get(as_ids(ids))]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Run ``get_by_ids`` without blocking the event loop."""
        return await run_in_thread(self.get_by_ids, ids)

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the ``k`` best documents for a text."""
        return documents_from_hits(self._search_text(query, k, kwargs))

    async def asimilarity_search(self, *args: Any, **kwargs: Any) -> list[Document]:
        """Run ``similarity_search`` without blocking the event loop."""
        return await self._run_embedded(self.similarity_search, *args, **kwargs)

    def similarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> ScoredDocuments:
        """Return the ``k`` best documents for a text with their scores."""
        return _pair_with_scores(self._search_text(query, k, kwargs))

    async def asimilarity_search_with_score(self, *args: Any, **kwargs: Any) -> ScoredDocuments:
        """Run ``similarity_search_with_score`` without blocking the event loop."""
        return await self._run_embedded(self.similarity_search_with_score, *args, **kwargs)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """Return the ``k`` documents nearest to a vector."""
        return documents_from_hits(self._search_vector(embedding, k, kwargs))

    async def asimilarity_search_by_vector(self, *args: Any, **kwargs: Any) -> list[Document]:
        """Run ``similarity_search_by_vector`` without blocking the event loop."""
        return await run_in_thread(self.similarity_search_by_vector, *args, **kwargs)

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> ScoredDocuments:
        """Return the ``k`` documents nearest to a vector with their scores."""
        return _pair_with_scores(self._search_vector(embedding, k, kwargs))

    async def asimilarity_search_with_score_by_vector(
        self, *args: Any, **kwargs: Any
    ) -> ScoredDocuments:
        """Run ``similarity_search_with_score_by_vector`` without blocking the event loop."""
        return await run_in_thread(self.similarity_search_with_score_by_vector, *args, **kwargs)

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return ``k`` diverse documents out of the ``fetch_k`` best for a text.

        ``lambda_mult`` is the weight of relevance: 1 - ``diversity`` of ``twofold.Retriever``.
        """
        options = {"fetch_k": fetch_k, "lambda_mult": lambda_mult, **kwargs}
        return documents_from_hits(self._search_text(query, k, options))

    async def amax_marginal_relevance_search(self, *args: Any, **kwargs: Any) -> list[Document]:
        """Run ``max_marginal_relevance_search`` without blocking the event loop."""
        return await self._run_embedded(self.max_marginal_relevance_search, *args, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Return ``k`` diverse documents out of the ``fetch_k`` nearest to a vector."""
        options = {"fetch_k": fetch_k, "lambda_mult": lambda_mult, **kwargs}
        return documents_from_hits(self._search_vector(embedding, k, options))

    async def amax_marginal_relevance_search_by_vector(
        self, *args: Any, **kwargs: Any
    ) -> list[Document]:
        """Run ``max_marginal_relevance_search_by_vector`` without blocking the event loop."""
        return await run_in_thread(self.max_marginal_relevance_search_by_vector, *args, **kwargs)

    def max_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: list[float],
        *,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> ScoredDocuments:
        """Return ``k`` diverse documents near a vector with their similarity scores."""
        options = {"fetch_k": fetch_k, "lambda_mult": lambda_mult, **kwargs}
        return _pair_with_scores(self._search_vector(embedding, k, options))

    async def amax_marginal_relevance_search_with_score_by_vector(
        self, *args: Any, **kwargs: Any
    ) -> ScoredDocuments:
        """Run the synchronous method of this name without blocking the event loop."""
        search = self.max_marginal_relevance_search_with_score_by_vector
        return await run_in_thread(search, *args, **kwargs)

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> ScoredDocuments:
        """Return the ``k`` best documents with scores from 0 to 1.

        Uses the dense leg, whose scores are comparable across queries, so that a threshold is
        meaningful. With ``mode="hybrid"`` the best document of each leg scores 1, however good it
        is. A retriever without a dense leg or with a reranker keeps its mode.
        """
        retriever = self._comparable_retriever(kwargs)
        relevance = select_relevance_score_fn(retriever)
        scored = _pair_with_scores(retriever.retrieve(query, k=k))
        return [(document, relevance(score)) for document, score in scored]

    async def _asimilarity_search_with_relevance_scores(
        self, *args: Any, **kwargs: Any
    ) -> ScoredDocuments:
        search = self._similarity_search_with_relevance_scores
        return await self._run_embedded(search, *args, **kwargs)

    async def _run_embedded(self, search: Callable[..., Found], *args: Any, **kwargs: Any) -> Found:
        """Await the embedding of a query, then search in a thread."""
        queries = args[:1] or [kwargs.get("query")]
        embed = find_async_embed(self.retriever, kwargs.get("mode"))
        return await run_embedded(embed, queries, search, *args, **kwargs)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return select_relevance_score_fn(self._comparable_retriever({}))

    def _search_text(self, query: str, k: int, options: dict[str, Any]) -> Hits:
        return configure_search(self.retriever, options).retrieve(query, k=k)

    def _search_vector(self, vector: list[float], k: int, options: dict[str, Any]) -> Hits:
        """Search the dense leg for a query vector, without settings that need a query text."""
        dense = replace(self.retriever, mode="dense", min_lexical=None, reranker=None)
        with self.retriever.index.open_search() as scope:
            adapted = scope.adapt(np.asarray(vector, np.float32))
        return configure_search(dense, options).retrieve(vector=adapted, k=k)

    def _comparable_retriever(self, options: dict[str, Any]) -> Retriever:
        """Return a retriever whose scores are comparable across queries."""
        retriever: Retriever = self.retriever
        fuses = any(options.get(name) is not None for name in _FUSION_OPTIONS)
        if not fuses and retriever.reranker is None and find_mode(retriever) == "hybrid":
            retriever = replace(retriever, mode="dense", min_lexical=None)
        return configure_search(retriever, options)

    def save_local(self, folder_path: str | os.PathLike[str], index_name: str = "index") -> None:
        """Copy the index to a folder, replacing an earlier copy there."""
        _check_index_name(index_name)
        copy_index(self.index, folder_path)

    @classmethod
    def load_local(
        cls,
        folder_path: str | os.PathLike[str],
        embeddings: Embeddings | Encoder | str | None = None,
        index_name: str = "index",
        *,
        read_only: bool = False,
        allow_dangerous_deserialization: bool = False,  # noqa: ARG003  # nothing is unpickled
        **kwargs: Any,
    ) -> Self:
        """Open an index folder, the target of ``save_local`` or the ``path`` of ``from_texts``.

        ``embeddings`` must be the model that filled the index; None loads the model that the index
        names. ``read_only`` refuses writes. Raises IndexNotFoundError if the folder has no index.
        """
        refuse_unknown(kwargs, ("embeddings", "read_only", "allow_dangerous_deserialization"))
        _check_index_name(index_name)
        encoder = as_encoder(embeddings) if embeddings is not None else AS_STORED
        return cls(Index.open(folder_path, encoder=encoder, create=False, read_only=read_only))

    @classmethod
    async def aload_local(cls, *args: Any, **kwargs: Any) -> Self:
        """Run ``load_local`` without blocking the event loop."""
        return await run_in_thread(cls.load_local, *args, **kwargs)

    def merge_from(self, target: "TwofoldVectorStore") -> None:
        """Add another store's documents with their vectors, replacing those with the same ids.

        Raises ValueError if the vectors of the two stores differ in model, dimension or metric.
        """
        if not isinstance(target, TwofoldVectorStore):
            raise TypeError(
                f"target must be a TwofoldVectorStore, got {type(target).__name__}: from_faiss "
                "converts a FAISS store"
            )
        stored, added = _describe_vectors(self.index), _describe_vectors(target.index)
        if stored != added:
            raise ValueError(
                f"can't merge vectors of (model, dimension, metric) {added} into {stored}: use "
                "add_documents, which encodes the documents anew"
            )
        with target.index.session() as session:
            rows = session.list_keys()
            for start in range(0, len(rows), _MERGE_BATCH):
                batch = session.fetch(rows[start : start + _MERGE_BATCH], vectors=True)
                assert batch.vectors is not None
                assert batch.has_vector is not None
                pairs = list(zip(batch.passages, batch.has_vector, strict=True))
                self.index.upsert(
                    [passage for passage, has_vector in pairs if has_vector],
                    vectors=batch.vectors[batch.has_vector],
                )
                self.index.upsert([passage for passage, has_vector in pairs if not has_vector])


def select_relevance_score_fn(retriever: Retriever) -> Callable[[float], float]:
    """Return a monotonic function from a retriever's scores to [0, 1].

    A cosine c becomes (1 + c) / 2, a Euclidean distance d becomes 1 / (1 + d), and a lexical score
    s becomes s / (1 + s). Fused scores that lie in [0, 1], such as the default's, stay as they are.
    Unbounded scores, such as dot products, become (1 + s / (1 + abs(s))) / 2.
    """
    with retriever.index.open_search() as scope:
        metric, plan = scope.session.corpus.metric, plan_search(scope, retriever.options)
    if retriever.reranker is not None:
        return _squash
    if plan.mode == "lexical":
        return lambda score: max(score, 0.0) / (1 + max(score, 0.0))
    if plan.mode == "dense" and metric is Metric.COSINE:
        return lambda score: (1 + score) / 2
    if plan.mode == "dense" and metric is Metric.EUCLIDEAN:
        return lambda score: 1 / (1 - score)
    if plan.mode == "hybrid" and _is_within_unit_interval(plan.fusion):
        return lambda score: min(max(score, 0.0), 1.0)
    return _squash


def _squash(score: float) -> float:
    return (1 + score / (1 + abs(score))) / 2


def _is_within_unit_interval(fusion: Fusion) -> bool:
    """Return whether a fusion's scores lie in [0, 1]."""
    fusion = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
    if isinstance(fusion, WeightedSum):
        return isinstance(fusion.normalizer, TheoreticalMinMax | MinMax | Rank)
    return isinstance(fusion, ReciprocalRank)


def _split_pairs(
    pairs: Iterable[tuple[str, Sequence[float]]],
    metadatas: Iterable[dict[str, Any]] | None,
    ids: Iterable[str | None] | None,
) -> tuple[list[Passage], Vectors]:
    """Return the passages of (text, vector) pairs, and the vectors (n, dim)."""
    pairs = list(pairs)
    passages = passages_from_texts((text for text, _ in pairs), metadatas, ids)
    return passages, np.array([vector for _, vector in pairs], np.float32)


def _pair_with_scores(hits: Hits) -> ScoredDocuments:
    return list(zip(documents_from_hits(hits), hits.scores.tolist(), strict=True))


def _describe_vectors(index: Any) -> tuple[Any, ...]:
    """Return the model, dimension and metric of an index's vectors."""
    encoder = index.encoder
    return (encoder.name if encoder is not None else None, index.dim, index.metric)


def _check_index_name(index_name: str) -> None:
    if index_name != "index":
        raise ValueError(
            f"index_name must be 'index', got {index_name!r}: give each index its own folder"
        )
