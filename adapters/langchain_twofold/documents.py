"""Between LangChain's documents and passages."""

import copy
import warnings
from typing import Any

from langchain_core.documents import Document

from twofold import Hit, Passage
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


def as_document(hit: Hit, score_key: str | None) -> Document:
    """Return a hit as a fresh document with its score, a Python float, under ``score_key``.

    A key that the passage's own metadata has is left as it is, with a warning.
    """
    metadata: dict[str, Any] = copy.deepcopy(dict(hit.passage.metadata))
    metadata.pop(PAYLOAD, None)
    if hit.passage.title:
        metadata.setdefault("title", hit.passage.title)
    if score_key is not None and score_key in metadata:
        warnings.warn(
            f"metadata has a field {score_key!r} of its own, which is kept: "
            "set score_key to another name to get scores, or to None",
            UserWarning,
            stacklevel=2,
        )
    elif score_key is not None:
        metadata[score_key] = hit.score
    return Document(id=hit.id, page_content=hit.passage.text, metadata=metadata)
