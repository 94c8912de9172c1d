"""The async twins of a vector store's methods."""

from abc import ABC
from collections.abc import Sequence
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from twofold.concurrency import in_thread


class AsyncTwins(BasePydanticVectorStore, ABC):
    """Does in another thread what the base class would do on the event loop."""

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Do what ``add`` does, without blocking the loop."""
        return await in_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Do what ``delete`` does, without blocking the loop."""
        await in_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Do what ``delete_nodes`` does, without blocking the loop."""
        await in_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Do what ``get_nodes`` does, without blocking the loop."""
        return await in_thread(self.get_nodes, node_ids, filters)

    async def aclear(self) -> None:
        """Do what ``clear`` does, without blocking the loop."""
        await in_thread(self.clear)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Do what ``query`` does, without blocking the loop."""
        return await in_thread(self.query, query, **kwargs)
