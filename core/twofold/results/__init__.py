"""Results of a search: hits, explanations, highlights, and contexts for a model."""

from twofold.results.dense_evidence import DenseEvidence
from twofold.results.explanation import Explanation, HitExplanation, Word
from twofold.results.highlights import Highlights
from twofold.results.hits import Hits, HitsInfo
from twofold.results.prompt_context import Citation, Context, estimated_tokens
from twofold.results.why_not import LegRank, ThresholdMiss, WhyNot

__all__ = [
    "Citation",
    "Context",
    "DenseEvidence",
    "Explanation",
    "Highlights",
    "HitExplanation",
    "Hits",
    "HitsInfo",
    "LegRank",
    "ThresholdMiss",
    "WhyNot",
    "Word",
    "estimated_tokens",
]
