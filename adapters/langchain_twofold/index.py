"""A twofold index as a LangChain document index, for LangChain's ``index()``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.indexing import DeleteResponse, UpsertResponse
from langchain_core.indexing.base import DocumentIndex

from langchain_twofold.documents import as_document, as_passage
from langchain_twofold.options import refuse_unknown
from langchain_twofold.retriever import TwofoldRetriever


class TwofoldIndex(TwofoldRetriever, DocumentIndex):
    """A ``TwofoldRetriever`` that also adds, deletes and reads documents by id.

    LangChain's ``index()`` and ``aindex()`` with a record manager use it to follow a source.
    The arguments are those of ``TwofoldRetriever``.

    Example:
        >>> from langchain_core.indexing import InMemoryRecordManager, index
        >>> from twofold import Index
        >>> target = TwofoldIndex(index=Index.open(None, encoder="hashing"))
        >>> manager = InMemoryRecordManager(namespace="tea")
        >>> manager.create_schema()
        >>> index([Document("green tea")], manager, target, key_encoder="sha256")["num_added"]
        1
    """

    if TYPE_CHECKING:

        def __init__(self, *, index: Any = None, **settings: Any) -> None: ...

    def upsert(self, items: Sequence[Document], /, **kwargs: Any) -> UpsertResponse:
        """Add documents, replacing stored ones with the same ids; a batch is all or nothing.

        Raises what ``Index.upsert`` raises, such as PassageError; ``failed`` is always empty.
        """
        refuse_unknown(kwargs, ())
        stored = self.index.upsert([as_passage(item) for item in items])
        return UpsertResponse(succeeded=list(stored.ids), failed=[])

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> DeleteResponse:
        """Delete documents; unknown ids are ignored. Raises ValueError if ``ids`` is None."""
        refuse_unknown(kwargs, ("ids",))
        if ids is None:
            raise ValueError("delete needs ids: to delete all, call index.delete(where={})")
        known = [document_id for document_id in dict.fromkeys(ids) if document_id in self.index]
        self.index.delete(known)
        return DeleteResponse(num_deleted=len(known), succeeded=known, failed=[], num_failed=0)

    def get(self, ids: Sequence[str], /, **kwargs: Any) -> list[Document]:
        """Return the documents with these ids; unknown ids are ignored."""
        refuse_unknown(kwargs, ("ids",))
        return [as_document(passage) for passage in self.index.get(ids)]
