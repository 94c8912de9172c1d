"""The fusions: weighted sum, CombMNZ, pooled log-odds and reciprocal rank."""

from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from twofold.errors import InputError
from twofold.fusion.base import FusedScores, LegScores
from twofold.fusion.normalizers import (
    L2,
    DistributionBased,
    MinMax,
    Normalizer,
    TheoreticalMinMax,
    ZScore,
)
from twofold.types import Scores
from twofold.validation import check_number

DENSE_WEIGHT = 0.8  # the best over all collections, see docs/decisions/0010
_Self = TypeVar("_Self", bound="_NormalizedFusion")
_UNBOUNDED = ZScore, DistributionBased, L2  # normalizers with values below 0 or above 1


@dataclass(frozen=True, slots=True)
class _NormalizedFusion:
    """Base of the fusions that normalize both legs and have one weight."""

    normalizer: Normalizer = field(default_factory=TheoreticalMinMax)
    dense_weight: float = DENSE_WEIGHT

    def __post_init__(self) -> None:
        normalizer = self.normalizer
        if isinstance(normalizer, type) or not callable(getattr(normalizer, "normalize", None)):
            raise InputError(
                "normalizer must be an object such as MinMax() or one of "
                f"twofold.fusion.NORMALIZERS, got {normalizer!r:.80}; pass a weight as "
                "dense_weight=0.6"
            )
        check_number("dense_weight", self.dense_weight, 0, 1)

    def with_dense_weight(self: _Self, dense_weight: float) -> _Self:
        """Return the same fusion with another weight of the dense leg."""
        return replace(self, dense_weight=dense_weight)


@dataclass(frozen=True, slots=True)
class WeightedSum(_NormalizedFusion):
    """dense_weight * dense + (1 - dense_weight) * lexical, both normalized.

    This is CombSUM with weights (Fox and Shaw, Combination of Multiple Searches, TREC-2, 1994).
    With theoretical bounds it is TM2C2 of Bruch, Gai and Ingber (TOIS 42, 2023).

    Example:
        >>> from twofold import HashingEncoder, Index, Retriever, WeightedSum
        >>> index = Index.open(None, encoder=HashingEncoder())
        >>> _ = index.upsert([{"id": "1", "text": "plants make food"}, "a garden"])
        >>> hits = Retriever(index, fusion=WeightedSum(dense_weight=0.6)).retrieve("food")
        >>> hits[0].legs["dense"].weight
        0.6
    """

    def fuse(self, dense: LegScores, lexical: LegScores) -> FusedScores:
        """Return normalized scores and the two weights."""
        normalize, weight = self.normalizer.normalize, self.dense_weight
        return FusedScores(normalize(dense), normalize(lexical), weight, 1 - weight)


@dataclass(frozen=True, slots=True)
class CombMNZ(_NormalizedFusion):
    """A weighted sum multiplied by the number of legs that list the passage.

    Fox and Shaw, Combination of Multiple Searches (TREC-2, 1994). The number is a factor of both
    weights, so contributions still sum to the score. Scores depend on the depth to which legs list
    passages. Normalized scores must be >= 0, which excludes ZScore, DistributionBased and L2.
    """

    normalizer: Normalizer = field(default_factory=MinMax)
    dense_weight: float = 0.5

    def __post_init__(self) -> None:
        _NormalizedFusion.__post_init__(self)
        if isinstance(self.normalizer, _UNBOUNDED):
            raise InputError(
                f"CombMNZ can't use {self.normalizer!r}, whose values may be below 0: use MinMax, "
                "TheoreticalMinMax or Rank"
            )

    def fuse(self, dense: LegScores, lexical: LegScores) -> FusedScores:
        """Return normalized scores, and one weight per candidate for each leg."""
        normalize, weight = self.normalizer.normalize, self.dense_weight
        legs = dense.listed.astype(np.float64) + lexical.listed
        return FusedScores(normalize(dense), normalize(lexical), legs * weight, legs * (1 - weight))


@dataclass(frozen=True, slots=True)
class LogOdds(_NormalizedFusion):
    """A weighted sum of ln(p / (1 - p)), where p is a normalized score.

    This is a logarithmic opinion pool (Genest and Zidek, Combining Probability Distributions,
    Statistical Science 1, 1986). The pooled p is 1 / (1 + exp(-score)); it ranks, but it is not a
    calibrated probability. Normalized scores must be in [0, 1], which excludes ZScore,
    DistributionBased and L2. Values of a user's normalizer are clipped.

    With ``margin``, p is first mapped to [margin, 1 - margin], away from 0 and 1.
    """

    margin: float = 0.01

    def __post_init__(self) -> None:
        _NormalizedFusion.__post_init__(self)
        check_number("margin", self.margin, 1e-9, 0.4)
        if isinstance(self.normalizer, _UNBOUNDED):
            raise InputError(
                f"LogOdds can't use {self.normalizer!r}, whose values may leave 0 to 1: use "
                "TheoreticalMinMax, MinMax or Rank"
            )

    def fuse(self, dense: LegScores, lexical: LegScores) -> FusedScores:
        """Return log-odds and the two weights."""
        weight = self.dense_weight
        return FusedScores(self._log_odds(dense), self._log_odds(lexical), weight, 1 - weight)

    def _log_odds(self, leg: LegScores) -> Scores:
        normalized = np.clip(self.normalizer.normalize(leg), 0, 1)
        p = self.margin + (1 - 2 * self.margin) * normalized
        return np.asarray(np.log(p) - np.log1p(-p))


def reciprocal_ranks(leg: LegScores, constant: float, weight: float = 1.0) -> Scores:
    """Return weight / (constant + rank), 0 for candidates that the leg doesn't list."""
    values = np.zeros(len(leg.ranks))
    values[leg.listed] = weight / (constant + leg.ranks[leg.listed])
    return values


@dataclass(frozen=True, slots=True)
class ReciprocalRank:
    """Weighted sum of 1 / (rank_constant + rank), 0 where a leg doesn't list the passage.

    Cormack, Clarke and Buettcher, Reciprocal Rank Fusion (SIGIR 2009). Ranks start at 1, and the
    weights sum to 1. Other systems count from 0 or use another constant, see docs/fusion.md.

    Example:
        >>> from twofold import HashingEncoder, Index, ReciprocalRank, Retriever
        >>> index = Index.open(None, encoder=HashingEncoder())
        >>> _ = index.upsert([{"id": "1", "text": "plants make food"}, "a garden"])
        >>> hits = Retriever(index, fusion=ReciprocalRank(rank_constant=60)).retrieve("food")
        >>> round(hits[0].score, 4)  # first in both legs: 1 / 61
        0.0164
    """

    rank_constant: float = 60.0
    dense_weight: float = 0.5

    def __post_init__(self) -> None:
        check_number("dense_weight", self.dense_weight, 0, 1)
        check_number("rank_constant", self.rank_constant, 0)

    def fuse(self, dense: LegScores, lexical: LegScores) -> FusedScores:
        """Return reciprocal ranks and the two weights."""
        c, weight = self.rank_constant, self.dense_weight
        values = reciprocal_ranks(dense, c), reciprocal_ranks(lexical, c)
        return FusedScores(*values, weight, 1 - weight)

    def with_dense_weight(self, dense_weight: float) -> "ReciprocalRank":
        """Return the same fusion with another weight of the dense leg."""
        return replace(self, dense_weight=dense_weight)
