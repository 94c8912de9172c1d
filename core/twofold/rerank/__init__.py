"""Rerankers: a query and passages, read together, to scores."""

from twofold.rerank.cross_encoder import CrossEncoderReranker
from twofold.rerank.identity import RerankerIdentity
from twofold.rerank.lookup import as_reranker, reranker_named
from twofold.rerank.scorer import Activation

__all__ = [
    "Activation",
    "CrossEncoderReranker",
    "RerankerIdentity",
    "as_reranker",
    "reranker_named",
]
