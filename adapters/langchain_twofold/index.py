"""A twofold index as LangChain's document index: what ``index()`` keeps in step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.indexing import DeleteResponse, UpsertResponse
from langchain_core.indexing.base import DocumentIndex

from langchain_twofold.documents import as_passage, stored_document
from langchain_twofold.options import refuse
from langchain_twofold.retriever import TwofoldRetriever


class TwofoldIndex(TwofoldRetriever, DocumentIndex):
    """A TwofoldRetriever that documents can be put into, taken from and read by id.

    LangChain's ``index()`` and ``aindex()`` with a record manager keep both legs in step with a
    source: ``index(documents, record_manager, TwofoldIndex(index=index), cleanup="full")``.
    """

    if TYPE_CHECKING:

        def __init__(self, *, index: Any = None, **settings: Any) -> None: ...

    def upsert(self, items: Sequence[Document], /, **kwargs: Any) -> UpsertResponse:
        """Add documents, and replace those whose ids are stored; a batch is all or nothing.

        A document without an id gets one from its content. Raises PassageError, EncoderError and
        what else ``Index.upsert`` raises, so nothing is ever among the failed.
        """
        refuse(kwargs, ())
        stored = self.index.upsert([as_passage(each) for each in items])
        return UpsertResponse(succeeded=list(stored.ids), failed=[])

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> DeleteResponse:
        """Delete documents; ids that aren't stored are no failure.

        Raises ValueError without ids.
        """
        refuse(kwargs, ("ids",))
        if ids is None:
            raise ValueError(
                "delete needs ids: to delete all, use the index's own delete(where={})"
            )
        known = [each for each in dict.fromkeys(ids) if each in self.index]
        self.index.delete(known)
        return DeleteResponse(num_deleted=len(known), succeeded=known, failed=[], num_failed=0)

    def get(self, ids: Sequence[str], /, **kwargs: Any) -> list[Document]:
        """Return the documents of these ids; unknown ones are left out."""
        refuse(kwargs, ("ids",))
        return [stored_document(each) for each in self.index.get(ids)]
