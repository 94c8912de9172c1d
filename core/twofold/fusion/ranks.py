"""Reciprocal rank fusion."""

from dataclasses import dataclass, replace

import numpy as np

from twofold.fusion.checking import check_weight
from twofold.fusion.evidence import Fused, LegEvidence
from twofold.types import Scores


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
        check_weight(self.dense_weight)
        check_weight(self.rank_constant, "rank_constant", 0, float("inf"))

    def fuse(self, dense: LegEvidence, lexical: LegEvidence) -> Fused:
        """Return reciprocal ranks."""
        weight = self.dense_weight
        return Fused(self._reciprocal(dense), self._reciprocal(lexical), weight, 1 - weight)

    def reweighted(self, dense_weight: float) -> "ReciprocalRank":
        """Return the same rule with another share of the dense leg."""
        return replace(self, dense_weight=dense_weight)

    def _reciprocal(self, leg: LegEvidence) -> Scores:
        reciprocal = np.zeros(len(leg.ranks))
        reciprocal[leg.listed] = 1 / (self.rank_constant + leg.ranks[leg.listed])
        return reciprocal
