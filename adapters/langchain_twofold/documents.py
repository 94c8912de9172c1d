"""Between LangChain's documents and passages."""

import copy
import warnings
from typing import Any

from langchain_core.documents import Document

from twofold import Passage
from twofold.hits import Hits
from twofold.types import PAYLOAD


def as_passage(document: Document) -> Passage:
    """Return a document as a passage; without an id it gets one from its content.

    Raises TypeError for what is no document.
    """
    if not isinstance(document, Document):
        raise TypeError(f"a Document is wanted, not {type(document).__name__}: {document!r:.80}")
    return Passage(
        id=document.id if document.id is not None else "",
        text=document.page_content,
        metadata=document.metadata,
    )


def stored_document(passage: Passage) -> Document:
    """Return a passage as a fresh document; a title is among its metadata."""
    metadata: dict[str, Any] = copy.deepcopy(dict(passage.metadata))
    metadata.pop(PAYLOAD, None)
    if passage.title:
        metadata.setdefault("title", passage.title)
    return Document(id=passage.id, page_content=passage.text, metadata=metadata)


def with_value(document: Document, value: object, key: str | None) -> Document:
    """Return a fresh copy of a document with a value, such as a score, among its metadata.

    A key that the metadata has already is left as it is, with a warning.
    """
    metadata = copy.deepcopy(document.metadata)
    if key is not None and key in metadata:
        warnings.warn(
            f"metadata has a field {key!r} of its own, which is kept: set score_key (or "
            "explanation_key) to another name, or to None",
            UserWarning,
            stacklevel=2,
        )
    elif key is not None:
        metadata[key] = value
    return Document(id=document.id, page_content=document.page_content, metadata=metadata)


def as_documents(hits: Hits, score_key: str | None, explanation_key: str | None) -> list[Document]:
    """Return hits as fresh documents with their scores, Python floats, under ``score_key``.

    Under ``explanation_key`` is why each came back: what ``Hits.explain`` tells, plain values.
    """
    documents = [with_value(stored_document(hit.passage), hit.score, score_key) for hit in hits]
    if explanation_key is None:
        return documents
    told = hits.explain(meaning=False).to_dict()["hits"]
    return [
        with_value(document, why, explanation_key)
        for document, why in zip(documents, told, strict=True)
    ]
