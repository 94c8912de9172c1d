"""Fusion: two legs' scores into one, from true scores of every candidate in both legs."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.types import Scores


@dataclass(frozen=True, slots=True)
class LegEvidence:
    """What a leg says of all candidates: completed scores and ranks, (n,) each.

    ``ranks`` are 1-based places in the leg's own list, 0 for a candidate that only the other
    leg brought. ``lowest`` bounds from below what the leg can give to any passage.
    """

    scores: Scores
    ranks: NDArray[np.int64]
    lowest: float


@dataclass(frozen=True, slots=True)
class Fused:
    """Normalised scores (n,) and the weight of each leg; their products sum to the score."""

    dense: Scores
    lexical: Scores
    dense_weight: float
    lexical_weight: float

    @property
    def scores(self) -> Scores:
        """The fused scores, float64 (n,)."""
        return self.dense_weight * self.dense + self.lexical_weight * self.lexical


class Fusion(Protocol):
    """A rule that turns the evidence of both legs into one score a candidate."""

    def fuse(self, dense: LegEvidence, lexical: LegEvidence) -> Fused:
        """Return normalised scores and weights."""
        ...


@dataclass(frozen=True, slots=True)
class TheoreticalMinMax:
    """Convex combination of scores mapped from [least possible, best found] to [0, 1].

    The least possible score follows from theory: -1 for cosine, 0 for BM25, for dot and Euclidean
    from the lengths of the vectors. So a score doesn't depend on how bad the worst candidates
    are, and scaling a leg changes nothing. TM2C2 in Bruch, Gai and Ingber, An Analysis of Fusion
    Functions for Hybrid Retrieval (TOIS 42, 2023). A leg that found nothing contributes 0.
    """

    dense_weight: float = 0.75

    def __post_init__(self) -> None:
        _check_weight(self.dense_weight)

    def fuse(self, dense: LegEvidence, lexical: LegEvidence) -> Fused:
        """Return scores in [0, 1], the best of each leg at 1."""
        return Fused(_scaled(dense), _scaled(lexical), self.dense_weight, 1 - self.dense_weight)


@dataclass(frozen=True, slots=True)
class ReciprocalRank:
    """Weighted sum of 1 / (rank_constant + rank), 0 where a leg doesn't list the passage.

    Cormack, Clarke and Buettcher, Reciprocal Rank Fusion (SIGIR 2009); ranks from 1.
    """

    rank_constant: float = 60.0
    dense_weight: float = 0.5

    def __post_init__(self) -> None:
        _check_weight(self.dense_weight)
        if not (self.rank_constant >= 0 and math.isfinite(self.rank_constant)):
            raise InputError(f"rank_constant is {self.rank_constant}: a number >= 0 is wanted")

    def fuse(self, dense: LegEvidence, lexical: LegEvidence) -> Fused:
        """Return reciprocal ranks."""
        return Fused(
            self._reciprocal(dense),
            self._reciprocal(lexical),
            self.dense_weight,
            1 - self.dense_weight,
        )

    def _reciprocal(self, leg: LegEvidence) -> Scores:
        return np.where(leg.ranks > 0, 1 / (self.rank_constant + leg.ranks), 0.0)


def _scaled(leg: LegEvidence) -> Scores:
    """Map scores so that the least possible one is 0 and the best is 1; NaN counts as least."""
    scores = np.where(np.isnan(leg.scores), leg.lowest, leg.scores)
    span = float(scores.max(initial=leg.lowest)) - leg.lowest
    return (scores - leg.lowest) / span if span > 0 else np.zeros(len(scores))


def _check_weight(weight: float) -> None:
    if not 0 <= weight <= 1:
        raise InputError(f"dense_weight is {weight}: it must lie between 0 and 1")
