"""Conversion between LangChain documents and twofold passages."""

from collections.abc import Iterable
from typing import Any

from langchain_core.documents import Document

from twofold import Passage
from twofold import integrations as core
from twofold.errors import PassageError
from twofold.results.hits import Hits
from twofold.types import PAYLOAD
from twofold.validation import check_iterable


def as_passage(document: Document, new_id: object = None) -> Passage:
    """Convert a document to a passage. Without an id, the index derives one from the content.

    Scores, explanations and titles that a search added to the metadata are left out again, unless
    they were changed since. ``new_id`` takes precedence over the document's id.

    Raises:
        TypeError: ``document`` is not a LangChain ``Document``.
        PassageError: The metadata uses the field name that twofold reserves.
    """
    if not isinstance(document, Document):
        raise TypeError(f"expected a Document, got {type(document).__name__}: {document!r:.80}")
    new_id = document.id if new_id is None else new_id
    metadata, title = core.own_metadata(document), core.own_title(document)
    return _as_passage(document.page_content, metadata, new_id, title)


def _as_passage(text: str, metadata: Any, passage_id: object, title: str = "") -> Passage:
    metadata = {} if metadata is None else metadata
    if isinstance(metadata, dict) and PAYLOAD in metadata:
        raise PassageError(
            f"metadata must not have a field {PAYLOAD!r}, which twofold reserves: rename it in the "
            f"document with text {text!r:.40}"
        )
    return Passage(text, core.as_id(passage_id), title, metadata)


def passages_from_texts(
    texts: Iterable[str],
    metadatas: Iterable[dict[str, Any] | None] | None,
    ids: Iterable[str | None] | None,
) -> list[Passage]:
    """Make passages of texts, metadata and ids. Raises InputError if the lengths differ."""
    check_iterable(texts)
    texts = list(texts)
    values = core.match_values("metadatas", metadatas, texts, "texts")
    return list(map(_as_passage, texts, values, core.match_values("ids", ids, texts, "texts")))


def passages_from_documents(
    documents: Iterable[Document], ids: Iterable[str | None] | None = None
) -> list[Passage]:
    """Convert documents to passages. ``ids`` replace the documents' ids, except where None.

    Raises InputError if the lengths differ.
    """
    check_iterable(documents)
    documents = list(documents)
    return list(map(as_passage, documents, core.match_values("ids", ids, documents, "documents")))


def as_document(passage: Passage) -> Document:
    """Convert a passage to a document. The title becomes a metadata field.

    Hits decode a passage on each access, so documents never share mutable state.
    """
    metadata: dict[str, Any] = dict(passage.metadata)
    metadata.pop(PAYLOAD, None)
    document = Document(id=passage.id, page_content=passage.text, metadata=metadata)
    core.add_title(document, passage.title)
    return document


def copy_with_metadata(document: Document, key: str | None, value: object) -> Document:
    """Return a deep copy of a document with a metadata field set; ``key`` None sets nothing."""
    document = document.model_copy(deep=True)
    if key is not None:
        core.add_field(document, key, value)
    return document


def documents_from_hits(
    hits: Hits,
    score_key: str | None = None,
    explanation_key: str | None = None,
    confidence_key: str | None = None,
) -> list[Document]:
    """Convert hits to new documents; add what they have as metadata under the keys."""
    documents = [as_document(passage) for passage in hits.passages]
    for document, score in zip(documents, hits.scores.tolist(), strict=True):
        core.add_new_field(document, score_key, score, "score_key")
        core.add_new_field(document, confidence_key, hits.confidence, "confidence_key")
    if explanation_key is not None:
        explanations = hits.explain(meaning=False).to_dict()["hits"]
        for document, explanation in zip(documents, explanations, strict=True):
            core.add_new_field(document, explanation_key, explanation, "explanation_key")
    return documents
