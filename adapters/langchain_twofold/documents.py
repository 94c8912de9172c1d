"""Conversion between LangChain documents and twofold passages."""

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
    """Convert a document to a passage. Without an id, the index derives one from the content.

    Raises:
        TypeError: ``document`` is not a LangChain ``Document``.
        PassageError: The metadata uses the field name that twofold reserves.
    """
    if not isinstance(document, Document):
        raise TypeError(f"expected a Document, got {type(document).__name__}: {document!r:.80}")
    if PAYLOAD in document.metadata:
        raise PassageError(
            f"metadata must not have a field {PAYLOAD!r}, which twofold reserves: rename it in the "
            f"document with text {document.page_content!r:.40}"
        )
    return Passage(
        id=document.id if document.id is not None else "",
        text=document.page_content,
        metadata=document.metadata,
    )


def passages_from_texts(
    texts: Iterable[str],
    metadatas: Iterable[dict[str, Any] | None] | None,
    ids: Iterable[str | None] | None,
) -> list[Passage]:
    """Make passages of texts, metadata and ids. Raises ValueError if the lengths differ."""
    texts = list(texts)
    values = list(metadatas) if metadatas is not None else [None for _ in texts]
    if len(values) != len(texts):
        raise ValueError(f"got {len(values)} metadatas for {len(texts)} texts")
    pairs = zip(texts, values, strict=True)
    documents = [Document(page_content=text, metadata=value or {}) for text, value in pairs]
    return passages_from_documents(documents, ids)


def passages_from_documents(
    documents: Iterable[Document], ids: Iterable[str | None] | None = None
) -> list[Passage]:
    """Convert documents to passages. ``ids`` replace the documents' ids, except where None.

    Raises ValueError if the lengths differ.
    """
    documents = list(documents)
    if ids is not None:
        ids = list(ids)
        if len(ids) != len(documents):
            raise ValueError(f"got {len(ids)} ids for {len(documents)} documents")
        documents = [
            Document(id=new_id or doc.id, page_content=doc.page_content, metadata=doc.metadata)
            for doc, new_id in zip(documents, ids, strict=True)
        ]
    return [as_passage(document) for document in documents]


def as_document(passage: Passage) -> Document:
    """Convert a passage to a document. The title becomes a metadata field.

    Hits decode a passage on each access, so documents never share mutable state.
    """
    metadata: dict[str, Any] = dict(passage.metadata)
    metadata.pop(PAYLOAD, None)
    if passage.title:
        metadata.setdefault("title", passage.title)
    return Document(id=passage.id, page_content=passage.text, metadata=metadata)


def copy_with_metadata(document: Document, key: str | None, value: object) -> Document:
    """Return a deep copy of a document with a metadata field set; ``key`` None sets nothing."""
    metadata = copy.deepcopy(document.metadata)
    if key is not None:
        metadata[key] = value
    return Document(id=document.id, page_content=document.page_content, metadata=metadata)


def _add_metadata(document: Document, key: str | None, value: object) -> None:
    """Set a metadata field unless ``key`` is None; keep an existing field, with a warning."""
    if key is not None and key in document.metadata:
        warnings.warn(
            f"the metadata field {key!r} exists already and is kept: set score_key or "
            "explanation_key to another name, or to None",
            UserWarning,
            stacklevel=2,
        )
    elif key is not None:
        document.metadata[key] = value


def documents_from_hits(
    hits: Hits, score_key: str | None = None, explanation_key: str | None = None
) -> list[Document]:
    """Convert hits to new documents; add scores and explanations as metadata under the keys."""
    documents = [as_document(passage) for passage in hits.passages]
    for document, score in zip(documents, hits.scores.tolist(), strict=True):
        _add_metadata(document, score_key, score)
    if explanation_key is not None:
        explanations = hits.explain(meaning=False).to_dict()["hits"]
        for document, explanation in zip(documents, explanations, strict=True):
            _add_metadata(document, explanation_key, explanation)
    return documents
