"""Why a passage came back, and why another did not."""

from twofold.explain.explanation import Explanation, HitExplanation, Word, explain
from twofold.explain.meaning import Meaning, QueryVariants, meanings, variants_of
from twofold.explain.sentences import query_words, sentences
from twofold.explain.why_not import Asks, Missed, Remedy, Standing, WhyNot

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
