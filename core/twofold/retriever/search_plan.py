"""The plan of a search and its inputs and outputs."""

from collections.abc import Mapping
from dataclasses import dataclass

from twofold.fusion import Fusion
from twofold.protocols import Scorer
from twofold.types import Leg, LegHits, Scores, Vectors

DEPTH = 100
"""Candidates that each leg brings to the fusion, or k where that is more."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How both legs become one answer; no ``scorer`` is the store's own."""

    fusion: Fusion
    depth: int
    scorer: Scorer | None


@dataclass(frozen=True, slots=True)
class QueryInput:
    """What is asked of the legs: a text, a vector (dim,), and the scoring function of words.

    ``given`` says that the vector came with the query, so that it may be another than the text's.
    """

    text: str | None
    vector: Vectors | None
    scorer: Scorer | None
    given: bool = False


@dataclass(frozen=True, slots=True)
class LegResults:
    """What the legs found for one query: their own lists, by leg.

    ``completed`` are the dense scores of what the lexical leg found, where both were asked.
    """

    lists: Mapping[Leg, LegHits]
    completed: Scores | None
