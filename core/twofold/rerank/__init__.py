"""Rerankers: a query and passages, read together, to scores."""

from twofold.rerank.cross_encoder import CrossEncoderReranker
from twofold.rerank.identity import RerankerIdentity
from twofold.rerank.lookup import reranker_named
from twofold.rerank.scorer import Activation

__all__ = ["Activation", "CrossEncoderReranker", "RerankerIdentity", "reranker_named"]
