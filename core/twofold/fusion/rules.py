"""Fusions by score: weighted sums, CombMNZ, and pooled log-odds."""

from dataclasses import dataclass, field, replace

import numpy as np

from twofold.errors import InputError
from twofold.fusion.base import Fused, LegScores
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

DENSE_WEIGHT = 0.8
"""The share of the dense leg that did best over all collections: docs/decisions/0010."""
_UNBOUND = ZScore, DistributionBased, L2
"""Normalisers whose values may be below 0, or above 1."""


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """dense_weight * dense + (1 - dense_weight) * lexical, both by one normaliser.

    CombSUM with weights: Fox and Shaw, Combination of Multiple Searches (TREC-2, 1994); with
    theoretical bounds TM2C2 of Bruch, Gai and Ingber (TOIS 42, 2023).
    """

    normalizer: Normalizer = field(default_factory=TheoreticalMinMax)
    dense_weight: float = DENSE_WEIGHT

    def __post_init__(self) -> None:
        _check_normalizer(self.normalizer)
        check_number("dense_weight", self.dense_weight, 0, 1)

    def fuse(self, dense: LegScores, lexical: LegScores) -> Fused:
        """Return normalised scores and the two weights."""
        normalized = self.normalizer.normalized
        weight = self.dense_weight
        return Fused(normalized(dense), normalized(lexical), weight, 1 - weight)

    def reweighted(self, dense_weight: float) -> "WeightedSum":
        """Return the same rule with another share of the dense leg."""
        return replace(self, dense_weight=dense_weight)


@dataclass(frozen=True, slots=True)
class CombMNZ:
    """A weighted sum times the number of legs that list the passage.

    Fox and Shaw, Combination of Multiple Searches (TREC-2, 1994). The number is part of both
    weights, so that contributions still sum to the score. A leg lists what is among its first
    ``depth``, so the score changes with the depth. Normalised scores must be at least 0, for a
    multiple of less would be a punishment: ZScore, DistributionBased and L2 are refused.
    """

    normalizer: Normalizer = field(default_factory=MinMax)
    dense_weight: float = 0.5

    def __post_init__(self) -> None:
        _check_normalizer(self.normalizer)
        check_number("dense_weight", self.dense_weight, 0, 1)
        if isinstance(self.normalizer, _UNBOUND):
            raise InputError(
                f"CombMNZ can't use {self.normalizer!r}, whose values may be below 0: use MinMax, "
                "TheoreticalMinMax or Rank"
            )

    def fuse(self, dense: LegScores, lexical: LegScores) -> Fused:
        """Return normalised scores, and weights by candidate."""
        summed = WeightedSum(self.normalizer, self.dense_weight).fuse(dense, lexical)
        legs = dense.listed.astype(np.float64) + lexical.listed
        return replace(
            summed,
            dense_weight=legs * summed.dense_weight,
            lexical_weight=legs * summed.lexical_weight,
        )

    def reweighted(self, dense_weight: float) -> "CombMNZ":
        """Return the same rule with another share of the dense leg."""
        return replace(self, dense_weight=dense_weight)


@dataclass(frozen=True, slots=True)
class LogOdds:
    """A weighted sum of ln(p / (1 - p)), where p is a normalised score kept ``margin`` off 0 and 1.

    A logarithmic opinion pool: Genest and Zidek, Combining Probability Distributions (Statistical
    Science 1, 1986). 1 / (1 + exp(-score)) is the pooled p; it ranks, and is no calibrated
    probability. A p is between 0 and 1: ZScore, DistributionBased and L2 are refused, and what a
    normaliser of the user's own gives beyond is cut.
    """

    normalizer: Normalizer = field(default_factory=TheoreticalMinMax)
    dense_weight: float = DENSE_WEIGHT
    margin: float = 0.01

    def __post_init__(self) -> None:
        _check_normalizer(self.normalizer)
        check_number("dense_weight", self.dense_weight, 0, 1)
        check_number("margin", self.margin, 1e-9, 0.4)
        if isinstance(self.normalizer, _UNBOUND):
            raise InputError(
                f"LogOdds can't use {self.normalizer!r}, whose values leave 0 to 1: use "
                "TheoreticalMinMax, MinMax or Rank"
            )

    def fuse(self, dense: LegScores, lexical: LegScores) -> Fused:
        """Return log-odds."""
        weight = self.dense_weight
        return Fused(self._log_odds(dense), self._log_odds(lexical), weight, 1 - weight)

    def reweighted(self, dense_weight: float) -> "LogOdds":
        """Return the same rule with another share of the dense leg."""
        return replace(self, dense_weight=dense_weight)

    def _log_odds(self, leg: LegScores) -> Scores:
        normalized = np.clip(self.normalizer.normalized(leg), 0, 1)
        p = self.margin + (1 - 2 * self.margin) * normalized
        return np.asarray(np.log(p) - np.log1p(-p))


def _check_normalizer(normalizer: object) -> None:
    """Raise InputError for what is no normaliser, such as a class, a name or a weight."""
    if isinstance(normalizer, type) or not callable(getattr(normalizer, "normalized", None)):
        raise InputError(
            f"normalizer is {normalizer!r:.80}: an object is wanted, such as MinMax() or one of "
            "twofold.fusion.NORMALIZERS; a weight is given as dense_weight=0.6"
        )


@dataclass(frozen=True, slots=True)
class ReciprocalRank:
    """Weighted sum of 1 / (rank_constant + rank), 0 where a leg doesn't list the passage.

    Cormack, Clarke and Buettcher, Reciprocal Rank Fusion (SIGIR 2009); ranks from 1. Weights are in
    the numerator, and sum to 1. Other systems count ranks from 0 or name another constant: see
    docs/fusion.md.
    """

    rank_constant: float = 60.0
    dense_weight: float = 0.5

    def __post_init__(self) -> None:
        check_number("dense_weight", self.dense_weight, 0, 1)
        check_number("rank_constant", self.rank_constant, 0)

    def fuse(self, dense: LegScores, lexical: LegScores) -> Fused:
        """Return reciprocal ranks."""
        weight = self.dense_weight
        return Fused(self._reciprocal(dense), self._reciprocal(lexical), weight, 1 - weight)

    def reweighted(self, dense_weight: float) -> "ReciprocalRank":
        """Return the same rule with another share of the dense leg."""
        return replace(self, dense_weight=dense_weight)

    def _reciprocal(self, leg: LegScores) -> Scores:
        reciprocal = np.zeros(len(leg.ranks))
        reciprocal[leg.listed] = 1 / (self.rank_constant + leg.ranks[leg.listed])
        return reciprocal
