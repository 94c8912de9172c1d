"""Normalisers: what brings the scores of a leg to a scale that another leg's can be added to.

All of them take completed scores, so that a passage is never worse for not being in a list.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from twofold.errors import InputError
from twofold.fusion.base import LegScores
from twofold.types import Scores

Over = Literal["corpus", "candidates"]


class Normalizer(Protocol):
    """A rule that maps a leg's scores, the same way for all candidates; it never turns an order."""

    def normalized(self, leg: LegScores) -> Scores:
        """Return one value a candidate, float64 (n,)."""
        ...


@dataclass(frozen=True, slots=True)
class TheoreticalMinMax:
    """From the least possible score, 0, to the best candidate's, 1.

    The least possible score follows from theory: -1 for cosine, 0 for BM25, for dot and Euclidean
    from the lengths of the vectors. So a value doesn't depend on how bad the worst candidates are.
    TM2C2 in Bruch, Gai and Ingber, An Analysis of Fusion Functions for Hybrid Retrieval (TOIS 42,
    2023). All are 0 where the best is the least possible.
    """

    def normalized(self, leg: LegScores) -> Scores:
        """Return values in [0, 1]."""
        scores = leg.completed
        span = float(scores.max(initial=leg.lowest)) - leg.lowest
        return (scores - leg.lowest) / span if span > 0 else np.zeros(len(scores))


@dataclass(frozen=True, slots=True)
class MinMax:
    """From the worst candidate's score, 0, to the best one's, 1.

    Lee, Analyses of Multiple Evidence Combination (SIGIR 1997). Where all are equal, those that the
    leg lists are 1 and others 0.
    """

    def normalized(self, leg: LegScores) -> Scores:
        """Return values in [0, 1]."""
        scores = leg.completed
        span = float(np.ptp(scores)) if len(scores) else 0.0
        return (scores - scores.min()) / span if span > 0 else leg.listed.astype(np.float64)


@dataclass(frozen=True, slots=True)
class ZScore:
    """Standard deviations above the mean, ``over`` the whole corpus or the candidates.

    Over the corpus: the dense leg's mean and variance follow exactly from the moments of all
    vectors, the lexical leg's from those of each term as if terms occurred independently. A filter
    changes neither. Montague and Aslam, Relevance Score Normalization for Metasearch (CIKM 2001).
    All are 0 where nothing deviates.
    """

    over: Over = "corpus"

    def __post_init__(self) -> None:
        if self.over not in get_args(Over):
            raise InputError(f"over is {self.over!r}: 'corpus' or 'candidates' is wanted")

    def normalized(self, leg: LegScores) -> Scores:
        """Return values around 0."""
        scores = leg.completed
        if self.over == "corpus":
            moments = leg.moments()
            mean, deviation = moments.mean, moments.deviation
        else:
            mean, deviation = _moments(scores, 0)
        return (scores - mean) / deviation if deviation > 0 else np.zeros(len(scores))


@dataclass(frozen=True, slots=True)
class DistributionBased:
    """From three standard deviations below the candidates' mean, 0, to three above it, 1.

    Qdrant's DBSF, with its sample deviation (n - 1), and not clipped. All are 0.5 where nothing
    deviates.
    """

    def normalized(self, leg: LegScores) -> Scores:
        """Return values, most of them in [0, 1]."""
        scores = leg.completed
        mean, deviation = _moments(scores, 1)
        if deviation == 0:
            return np.full(len(scores), 0.5)
        return (scores - (mean - 3 * deviation)) / (6 * deviation)


@dataclass(frozen=True, slots=True)
class L2:
    """Scores divided by the length of their vector, as OpenSearch's l2 normalisation.

    All are 0 where all scores are.
    """

    def normalized(self, leg: LegScores) -> Scores:
        """Return values in [-1, 1]."""
        scores = leg.completed
        length = float(np.sqrt((scores * scores).sum()))
        return scores / length if length > 0 else np.zeros(len(scores))


@dataclass(frozen=True, slots=True)
class Rank:
    """1 - (rank - 1) / n by completed score among the n candidates, equal scores alike.

    Borda's count as in Renda and Straccia, Web Metasearch: Rank vs. Score Based Rank Aggregation
    Methods (SAC 2003).
    """

    def normalized(self, leg: LegScores) -> Scores:
        """Return values in (0, 1]."""
        scores = leg.completed
        better = len(scores) - np.searchsorted(np.sort(scores), scores, side="right")
        return 1 - better / max(len(scores), 1)


def _moments(scores: Scores, lost: int) -> tuple[float, float]:
    """Return mean and deviation, ``lost`` degrees of freedom taken off; 0 for what is rounding."""
    if len(scores) <= lost or np.ptp(scores) == 0:
        return (float(scores[0]) if len(scores) else 0.0), 0.0
    return float(scores.mean()), float(scores.std(ddof=lost))
