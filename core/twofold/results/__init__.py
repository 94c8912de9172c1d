"""Why a passage came back, and why another did not."""

from twofold.results.dense_evidence import (
    DenseEvidence,
    QueryVariants,
    encode_query_variants,
    measure_dense_evidence,
)
from twofold.results.explanation import Explanation, HitExplanation, Word, build_explanation
from twofold.results.sentences import query_words, sentences
from twofold.results.why_not import Advice, Asks, LegRank, ThresholdMiss, WhyNot

__all__ = [
    "Advice",
    "Asks",
    "DenseEvidence",
    "Explanation",
    "HitExplanation",
    "LegRank",
    "QueryVariants",
    "ThresholdMiss",
    "WhyNot",
    "Word",
    "build_explanation",
    "encode_query_variants",
    "measure_dense_evidence",
    "query_words",
    "sentences",
]
