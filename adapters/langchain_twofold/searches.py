"""The searches of a LangChain vector store."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores import VectorStore

from langchain_twofold.documents import as_documents
from langchain_twofold.faiss_filter import where_of_faiss
from langchain_twofold.options import PER_CALL, configured, refuse
from langchain_twofold.relevance import relevance_of
from twofold import Retriever
from twofold.hits import Hits

_SEARCH = (*PER_CALL, "fetch_k", "lambda_mult")


class SearchedStore(VectorStore):
    """Searches by text, as ``retriever`` does them, and by vector, by the dense leg alone.

    Filters are twofold's ``where`` or of the FAISS store's dialect. In scores, higher is better
    under every metric; a Euclidean one is the negative distance.
    """

    retriever: Any
    """A configured Retriever of the core."""

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the best ``k`` documents for a text."""
        return as_documents(self._hits(query, None, k, kwargs), None, None)

    def similarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the best ``k`` documents and their scores, higher is better."""
        return _scored(self._hits(query, None, k, kwargs))

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """Return the documents whose vectors are nearest to one."""
        return as_documents(self._hits(None, embedding, k, kwargs), None, None)

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the documents whose vectors are nearest to one, and their scores."""
        return _scored(self._hits(None, embedding, k, kwargs))

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return ``k`` of the best ``fetch_k`` documents, unlike each other.

        ``lambda_mult`` is the weight of relevance, 1 - the retriever's ``diversity``.
        """
        own = {"fetch_k": fetch_k, "lambda_mult": lambda_mult, **kwargs}
        return as_documents(self._hits(query, None, k, own), None, None)

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
        return as_documents(self._hits(None, embedding, k, own), None, None)

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the best ``k`` documents, and their scores on a scale from 0 to 1."""
        relevance = relevance_of(self._asked(kwargs))
        return [
            (each, relevance(score)) for each, score in _scored(self._hits(query, None, k, kwargs))
        ]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the same, without blocking the loop."""
        return await run_in_executor(
            None, self._similarity_search_with_relevance_scores, query, k, **kwargs
        )

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Return what maps the scores of searches by text into [0, 1]."""
        return relevance_of(self.retriever)

    def _asked(self, options: dict[str, Any]) -> Retriever:
        """Return the retriever with the options of one call."""
        refuse(options, _SEARCH)
        own = {name: value for name, value in options.items() if name in PER_CALL}
        own["filter"] = where_of_faiss(own.get("filter"))
        asked = configured(self.retriever, own)
        if options.get("fetch_k") is not None:
            asked = replace(asked, depth=options["fetch_k"])
        if options.get("lambda_mult") is not None:
            asked = replace(asked, diversity=1 - options["lambda_mult"])
        return asked

    def _hits(
        self, query: str | None, vector: list[float] | None, k: int, options: dict[str, Any]
    ) -> Hits:
        """Ask with a text or a vector."""
        asked = self._asked(options)
        if vector is None:
            return asked.retrieve(query, k=k)
        return asked.retrieve(vector=np.asarray(vector, np.float32), k=k, mode="dense")


def _scored(hits: Hits) -> list[tuple[Document, float]]:
    return list(zip(as_documents(hits, None, None), hits.scores.tolist(), strict=True))
