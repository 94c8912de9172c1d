"""A reranker of the core as LangChain's document compressor."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, field_validator

from langchain_twofold.documents import with_value
from twofold.protocols import Reranker
from twofold.rerank import as_reranker


class TwofoldReranker(BaseDocumentCompressor):
    """Orders documents by a reranker, and writes its score under ``score_key``, over an older one.

    ``reranker`` is one of ``twofold.rerank``, or a cross-encoder's name or folder. Documents below
    its threshold are left out, and all but the best ``top_n``. Equal scores stay in order. For
    ``ContextualCompressionRetriever`` and anything else that takes a compressor; a
    ``TwofoldRetriever`` takes the core's reranker itself and so reads its own candidates.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Any
    top_n: int | None = Field(default=None, ge=1)
    score_key: str | None = "relevance_score"

    @field_validator("reranker")
    @classmethod
    def _named(cls, given: Any) -> Reranker:
        return as_reranker(given)

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002  # LangChain's contract
    ) -> list[Document]:
        """Return copies of the documents that are left, best first."""
        if not documents:
            return []
        texts = [each.page_content for each in documents]
        (scores,) = self.reranker.rerank([query], [texts])
        least = self.reranker.threshold
        order = np.argsort(-scores, kind="stable")
        kept = [place for place in order.tolist() if least is None or scores[place] >= least]
        return [
            with_value(documents[place], float(scores[place]), self.score_key)
            for place in kept[: self.top_n]
        ]
