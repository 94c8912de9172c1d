"""The async twins of a vector store's searches."""

from abc import ABC
from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document

from langchain_twofold.searches import SearchedStore
from twofold.concurrency import in_thread


class AsyncTwins(SearchedStore, ABC):
    """Searches in the adapter's own threads.

    What writes goes to the loop's own, as LangChain has it: a long write would keep searches
    waiting for its thread.
    """

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Do what ``similarity_search`` does, without blocking the loop."""
        return await in_thread(self.similarity_search, query, k, **kwargs)

    async def asimilarity_search_with_score(
        self, *args: Any, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Do what ``similarity_search_with_score`` does, without blocking the loop."""
        return await in_thread(self.similarity_search_with_score, *args, **kwargs)

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """Do what ``similarity_search_by_vector`` does, without blocking the loop."""
        return await in_thread(self.similarity_search_by_vector, embedding, k, **kwargs)

    async def asimilarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Do what ``similarity_search_with_score_by_vector`` does, without blocking the loop."""
        return await in_thread(self.similarity_search_with_score_by_vector, embedding, k, **kwargs)

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Do what ``max_marginal_relevance_search`` does, without blocking the loop."""
        return await in_thread(
            self.max_marginal_relevance_search, query, k, fetch_k, lambda_mult, **kwargs
        )

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Do what ``max_marginal_relevance_search_by_vector`` does, without blocking the loop."""
        return await in_thread(
            self.max_marginal_relevance_search_by_vector,
            embedding,
            k,
            fetch_k,
            lambda_mult,
            **kwargs,
        )

    async def amax_marginal_relevance_search_with_score_by_vector(
        self, embedding: list[float], **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Do what the twin of this name does, without blocking the loop."""
        return await in_thread(
            self.max_marginal_relevance_search_with_score_by_vector, embedding, **kwargs
        )

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        return await in_thread(self._similarity_search_with_relevance_scores, query, k, **kwargs)

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Do what ``get_by_ids`` does, without blocking the loop."""
        return await in_thread(self.get_by_ids, ids)
