"""Why a passage came back, and why another did not."""

from twofold.results.dense_evidence import Meaning, QueryVariants, meanings, variants_of
from twofold.results.explanation import Explanation, HitExplanation, Word, explain
from twofold.results.sentences import query_words, sentences
from twofold.results.why_not import Asks, Missed, Remedy, Standing, WhyNot

__all__ = [
    "Asks",
    "Explanation",
    "HitExplanation",
    "Meaning",
    "Missed",
    "QueryVariants",
    "Remedy",
    "Standing",
    "WhyNot",
    "Word",
    "explain",
    "meanings",
    "query_words",
    "sentences",
    "variants_of",
]
