"""Rerankers: score passages by reading them together with the query."""

from twofold.rerank.cross_encoder import (
    CrossEncoderReranker,
    RerankerIdentity,
    as_reranker,
    reranker_from_name,
)
from twofold.rerank.pair_scorer import Activation

__all__ = [
    "Activation",
    "CrossEncoderReranker",
    "RerankerIdentity",
    "as_reranker",
    "reranker_from_name",
]
