"""Between LangChain's documents and passages."""

import copy
import warnings
from collections.abc import Iterable
from typing import Any

from langchain_core.documents import Document

from twofold import Passage
from twofold.errors import PassageError
from twofold.results.hits import Hits
from twofold.types import PAYLOAD


def as_passage(document: Document) -> Passage:
    """Return a document as a passage; without an id it gets one from its content.

    Raises TypeError for what is no document, and PassageError for metadata that would be hidden.
    """
    if not isinstance(document, Document):
        raise TypeError(f"a Document is wanted, not {type(document).__name__}: {document!r:.80}")
    if PAYLOAD in document.metadata:
        raise PassageError(
            f"metadata has a field {PAYLOAD!r}, which filters and answers leave out, in the "
            f"document with text {document.page_content!r:.40}: give it another name"
        )
    return Passage(
        id=document.id if document.id is not None else "",
        text=document.page_content,
        metadata=document.metadata,
    )


def built(
    texts: Iterable[str],
    metadatas: Iterable[dict[str, Any] | None] | None,
    ids: Iterable[str | None] | None,
) -> list[Document]:
    """Return documents of texts; raise ValueError where the others are more or fewer."""
    texts = list(texts)
    own = list(metadatas) if metadatas is not None else [None for _ in texts]
    if len(own) != len(texts):
        raise ValueError(f"{len(own)} metadatas for {len(texts)} texts: give one each")
    pairs = zip(texts, own, strict=True)
    return identified(
        [Document(page_content=text, metadata=each or {}) for text, each in pairs], ids
    )


def identified(documents: Iterable[Document], ids: Iterable[str | None] | None) -> list[Document]:
    """Return documents with other ids, None for their own; raise ValueError if not one each."""
    documents = list(documents)
    if ids is None:
        return documents
    ids = list(ids)
    if len(ids) != len(documents):
        raise ValueError(f"{len(ids)} ids for {len(documents)} documents: give one each")
    return [
        Document(id=own or each.id, page_content=each.page_content, metadata=each.metadata)
        for each, own in zip(documents, ids, strict=True)
    ]


def stored_document(passage: Passage) -> Document:
    """Return a passage as a document; a title is among its metadata.

    A passage is decoded anew whenever it is touched, so the document shares nothing with another.
    """
    metadata: dict[str, Any] = dict(passage.metadata)
    metadata.pop(PAYLOAD, None)
    if passage.title:
        metadata.setdefault("title", passage.title)
    return Document(id=passage.id, page_content=passage.text, metadata=metadata)


def with_value(document: Document, value: object, key: str | None) -> Document:
    """Return a fresh copy of a document with a value among its metadata, in place of an old one."""
    metadata = copy.deepcopy(document.metadata)
    if key is not None:
        metadata[key] = value
    return Document(id=document.id, page_content=document.page_content, metadata=metadata)


def note(document: Document, value: object, key: str | None) -> None:
    """Put a value among a document's metadata; what is there already is left, with a warning."""
    if key is not None and key in document.metadata:
        warnings.warn(
            f"metadata has a field {key!r} of its own, which is kept: set score_key (or "
            "explanation_key) to another name, or to None",
            UserWarning,
            stacklevel=2,
        )
    elif key is not None:
        document.metadata[key] = value


def as_documents(hits: Hits, score_key: str | None, explanation_key: str | None) -> list[Document]:
    """Return hits as fresh documents with their scores, Python floats, under ``score_key``.

    Under ``explanation_key`` is why each came back: what ``Hits.explain`` tells, plain values.
    """
    documents = [stored_document(each) for each in hits.passages]
    for document, score in zip(documents, hits.scores.tolist(), strict=True):
        note(document, score, score_key)
    if explanation_key is not None:
        told = hits.explain(meaning=False).to_dict()["hits"]
        for document, why in zip(documents, told, strict=True):
            note(document, why, explanation_key)
    return documents
