"""Rerankers: score passages by reading them together with the query."""

from twofold.rerank.cross_encoder import CrossEncoderReranker, RerankerIdentity
from twofold.rerank.pair_scorer import Activation
from twofold.rerank.registry import as_reranker, reranker_from_name

__all__ = [
    "Activation",
    "CrossEncoderReranker",
    "RerankerIdentity",
    "as_reranker",
    "reranker_from_name",
]
