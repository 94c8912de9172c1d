"""A twofold reranker as a LangChain document compressor."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, field_validator

from langchain_twofold.documents import copy_with_metadata
from twofold.integrations import check_reranker
from twofold.protocols import Reranker
from twofold.rerank import as_reranker


class TwofoldReranker(BaseDocumentCompressor):
    """Reorders documents with a reranker, for ``ContextualCompressionRetriever`` and others.

    With a ``TwofoldRetriever``, pass ``reranker=`` to the retriever instead.

    Args:
        reranker: A reranker of ``twofold.rerank``, or the name or folder of a cross-encoder.
            Documents with a score below the reranker's threshold are dropped.
        top_n: The number of documents to return. None returns all.
        score_key: Metadata field for the reranker's score; an existing value is overwritten. None
            leaves it out.

    Example:
        >>> compressor = TwofoldReranker(reranker="cross-encoder/ms-marco-MiniLM-L6-v2", top_n=3)
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Any
    top_n: int | None = Field(default=None, ge=1)
    score_key: str | None = "relevance_score"

    @field_validator("reranker")
    @classmethod
    def _load(cls, reranker: Any) -> Reranker | str:
        return check_reranker(reranker)

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002  # LangChain's contract
    ) -> list[Document]:
        """Return copies of the documents kept, best first. Equal scores keep the input order."""
        if not documents:
            return []
        self.reranker = as_reranker(self.reranker)
        (scores,) = self.reranker.rerank([query], [[doc.page_content for doc in documents]])
        threshold = self.reranker.threshold
        order = np.argsort(-scores, kind="stable").tolist()
        kept = [i for i in order if threshold is None or scores[i] >= threshold]
        return [
            copy_with_metadata(documents[i], self.score_key, float(scores[i]))
            for i in kept[: self.top_n]
        ]
