"""Normalizers: map the scores of a leg to a scale that is comparable across legs.

All of them use `LegScores.completed`, so a passage is not penalized for missing from a result list.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from twofold.fusion.base import LegScores
from twofold.types import Moments, Scores
from twofold.validation import check_choice

Population = Literal["corpus", "candidates"]


class Normalizer(Protocol):
    """Maps a leg's scores with one non-decreasing function for all candidates."""

    def normalize(self, leg: LegScores) -> Scores:
        """Return one value per candidate (n,)."""
        ...


@dataclass(frozen=True, slots=True)
class TheoreticalMinMax:
    """Maps the lowest possible score to 0 and the best candidate's score to 1.

    The lowest possible score is -1 for cosine and 0 for BM25. For dot product and Euclidean it
    follows from the lengths of the vectors. Values therefore don't depend on how bad the worst
    candidates are. This is TM2C2 in Bruch, Gai and Ingber, An Analysis of Fusion Functions for
    Hybrid Retrieval (TOIS 42, 2023). All values are 0 if the best score is the lowest possible.
    """

    def normalize(self, leg: LegScores) -> Scores:
        """Return values in [0, 1]."""
        scores = leg.completed
        span = float(scores.max(initial=leg.lowest)) - leg.lowest
        return (scores - leg.lowest) / span if span > 0 else np.zeros(len(scores))


@dataclass(frozen=True, slots=True)
class MinMax:
    """Maps the worst candidate's score to 0 and the best candidate's to 1.

    Lee, Analyses of Multiple Evidence Combination (SIGIR 1997). If all scores are equal, candidates
    in the leg's own results get 1 and others 0.
    """

    def normalize(self, leg: LegScores) -> Scores:
        """Return values in [0, 1]."""
        scores = leg.completed
        span = float(np.ptp(scores)) if len(scores) else 0.0
        return (scores - scores.min()) / span if span > 0 else leg.listed.astype(np.float64)


@dataclass(frozen=True, slots=True)
class ZScore:
    """Standard deviations above the mean score of the corpus or of the candidates.

    For the corpus, mean and variance of the dense scores follow from the moments of all vectors.
    Those of the lexical scores follow from the moments of each term, as if terms occurred
    independently. Filters don't change them. Montague and Aslam, Relevance Score Normalization for
    Metasearch (CIKM 2001). All values are 0 if the deviation is 0.
    """

    over: Population = "corpus"

    def __post_init__(self) -> None:
        check_choice("over", self.over, get_args(Population))

    def normalize(self, leg: LegScores) -> Scores:
        """Return values around 0."""
        scores = leg.completed
        moments = leg.moments() if self.over == "corpus" else _moments(scores, 0)
        if moments.deviation > 0:
            return (scores - moments.mean) / moments.deviation
        return np.zeros(len(scores))


@dataclass(frozen=True, slots=True)
class DistributionBased:
    """Maps mean - 3 standard deviations of the candidates to 0 and mean + 3 to 1.

    Qdrant's DBSF with its sample deviation (n - 1), unclipped. All are 0.5 if the deviation is 0.
    """

    def normalize(self, leg: LegScores) -> Scores:
        """Return values, most of them in [0, 1]."""
        scores = leg.completed
        moments = _moments(scores, 1)
        if moments.deviation == 0:
            return np.full(len(scores), 0.5)
        return (scores - (moments.mean - 3 * moments.deviation)) / (6 * moments.deviation)


@dataclass(frozen=True, slots=True)
class L2:
    """Divides scores by the L2 norm of all candidates' scores, as OpenSearch does; 0 stays 0."""

    def normalize(self, leg: LegScores) -> Scores:
        """Return values in [-1, 1]."""
        scores = leg.completed
        norm = float(np.sqrt((scores * scores).sum()))
        return scores / norm if norm > 0 else np.zeros(len(scores))


@dataclass(frozen=True, slots=True)
class Rank:
    """Maps rank r among the n candidates to 1 - (r - 1) / n. Equal scores have equal ranks.

    Borda count as in Renda and Straccia, Web Metasearch: Rank vs. Score Based Rank Aggregation
    Methods (SAC 2003).
    """

    def normalize(self, leg: LegScores) -> Scores:
        """Return values in (0, 1]."""
        scores = leg.completed
        better = len(scores) - np.searchsorted(np.sort(scores), scores, side="right")
        return 1 - better / max(len(scores), 1)


def _moments(scores: Scores, ddof: int) -> Moments:
    """Return mean and standard deviation, which is exactly 0 for equal scores."""
    if len(scores) <= ddof or np.ptp(scores) == 0:
        return Moments(float(scores[0]) if len(scores) else 0.0, 0.0)
    return Moments(float(scores.mean()), float(scores.std(ddof=ddof)))
