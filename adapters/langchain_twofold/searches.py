"""The searches of a LangChain vector store."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from langchain_twofold.documents import as_documents
from langchain_twofold.options import PER_CALL, configured, refuse
from langchain_twofold.relevance import relevance_of
from twofold import Retriever
from twofold.results.hits import Hits

_SEARCH = (*PER_CALL, "score_threshold", "fetch_k", "lambda_mult")
_FUSING = ("mode", "weights", "preset", "reranker")


class SearchedStore(VectorStore):
    """Searches by text, as ``retriever`` does them, and by vector, by the dense leg alone.

    Filters are twofold's ``where`` or of the FAISS store's dialect. In scores, higher is better
    under every metric; a Euclidean one is the negative distance. ``score_threshold`` keeps scores
    of at least that.
    """

    retriever: Any
    """A configured Retriever of the core."""

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the best ``k`` documents for a text."""
        return as_documents(self._by_text(query, k, kwargs), None, None)

    def similarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the best ``k`` documents and their scores, higher is better."""
        return _scored(self._by_text(query, k, kwargs))

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """Return the documents whose vectors are nearest to one."""
        return as_documents(self._by_vector(embedding, k, kwargs), None, None)

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the documents whose vectors are nearest to one, and their scores."""
        return _scored(self._by_vector(embedding, k, kwargs))

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return ``k`` of the best ``fetch_k`` documents, unlike each other.

        ``lambda_mult`` is the weight of relevance, 1 - the retriever's ``diversity``.
        """
        own = {"fetch_k": fetch_k, "lambda_mult": lambda_mult, **kwargs}
        return as_documents(self._by_text(query, k, own), None, None)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Return the same for a vector."""
        own = {"fetch_k": fetch_k, "lambda_mult": lambda_mult, **kwargs}
        return as_documents(self._by_vector(embedding, k, own), None, None)

    def max_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: list[float],
        *,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Return the same with each document's own score."""
        own = {"fetch_k": fetch_k, "lambda_mult": lambda_mult, **kwargs}
        return _scored(self._by_vector(embedding, k, own))

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the best ``k`` documents, and their scores on a scale from 0 to 1.

        The dense leg is asked alone, since its scale is the same in every query, so that a
        threshold means something. With ``mode="hybrid"`` the best of each leg counts as 1, however
        good it is. A retriever without a dense leg, or with a reranker, is asked as it is.
        """
        asked = self._by_relevance(kwargs)
        relevance = relevance_of(asked)
        return [(each, relevance(score)) for each, score in _scored(asked.retrieve(query, k=k))]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Return what maps the scores of searches by relevance into [0, 1]."""
        return relevance_of(self._by_relevance({}))

    def _by_text(self, query: str, k: int, options: dict[str, Any]) -> Hits:
        return _asked(self.retriever, options).retrieve(query, k=k)

    def _by_vector(self, vector: list[float], k: int, options: dict[str, Any]) -> Hits:
        """Ask the dense leg for a query's embedding, without what only texts are measured by."""
        dense = replace(self.retriever, mode="dense", min_lexical=None, reranker=None)
        with self.retriever.index.view() as view:
            own = view.adapted(np.asarray(vector, np.float32))
        return _asked(dense, options).retrieve(vector=own, k=k)

    def _by_relevance(self, options: dict[str, Any]) -> Retriever:
        """Return the retriever whose scores are on one scale in every query."""
        own: Retriever = self.retriever
        fuses = any(options.get(name) is not None for name in _FUSING)
        if own.mode == "hybrid" and own.reranker is None and not fuses:
            own = replace(own, mode="dense", min_lexical=None)
        return _asked(own, options)


def _asked(retriever: Retriever, options: dict[str, Any]) -> Retriever:
    """Return a retriever with the options of one call."""
    refuse(options, _SEARCH)
    own = {name: value for name, value in options.items() if name in PER_CALL}
    if options.get("score_threshold") is not None:
        own["min_score"] = options["score_threshold"]
    asked = configured(retriever, own)
    if options.get("fetch_k") is not None:
        asked = replace(asked, depth=options["fetch_k"])
    if options.get("lambda_mult") is not None:
        asked = replace(asked, diversity=1 - options["lambda_mult"])
    return asked


def _scored(hits: Hits) -> list[tuple[Document, float]]:
    return list(zip(as_documents(hits, None, None), hits.scores.tolist(), strict=True))
