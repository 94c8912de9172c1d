"""Rerankers: score passages by reading them together with the query."""

from twofold.rerank.cross_encoder import (
    Activation,
    CrossEncoderReranker,
    RerankerIdentity,
    as_reranker,
    reranker_from_name,
)

__all__ = [
    "Activation",
    "CrossEncoderReranker",
    "RerankerIdentity",
    "as_reranker",
    "reranker_from_name",
]
