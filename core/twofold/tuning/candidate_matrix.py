"""The candidates of many queries, with the scores of both legs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from twofold.backend import Keys, SearchScope
from twofold.fusion import LegScores, WeightedFusion
from twofold.protocols import Scorer
from twofold.retriever.candidates import LegResults, QueryInput
from twofold.retriever.leg_search import score_candidates
from twofold.types import Leg, Scores

PADDING = -1e300
"""The fused score of padding: finite, so that it stays lowest when multiplied by a weight."""


@dataclass(frozen=True, slots=True)
class CandidateMatrix:
    """The candidates of each query, from the hits of both legs, scored by both legs.

    ``keys`` (queries, width) has each query's candidates, ordered by id, and then -1 as padding.
    ``legs`` has their scores in the same order, without padding.
    """

    keys: Keys
    legs: Sequence[Mapping[Leg, LegScores]]

    @classmethod
    def from_lists(
        cls,
        scope: SearchScope,
        queries: Sequence[QueryInput],
        lists: Sequence[LegResults],
        scorer: Scorer | None,
    ) -> "CandidateMatrix":
        """Score the union of both legs' hits in ``lists`` for each query."""
        scored = score_candidates(scope, queries, lists, scorer)
        distinct = np.unique(np.concatenate([keys for keys, _ in scored]))
        ids = scope.ids(distinct)
        places = np.empty(len(ids), np.int64)  # of the distinct keys, among the sorted ids
        places[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
        matrix = np.full((len(scored), max(1, *(len(keys) for keys, _ in scored))), -1, np.int64)
        legs: list[Mapping[Leg, LegScores]] = []
        for row, (keys, by_leg) in zip(matrix, scored, strict=True):
            order = np.argsort(places[np.searchsorted(distinct, keys)])
            row[: len(keys)] = keys[order]
            legs.append(
                {
                    leg: replace(scores, scores=scores.scores[order], ranks=scores.ranks[order])
                    for leg, scores in by_leg.items()
                }
            )
        return cls(matrix, legs)

    @property
    def nbytes(self) -> int:
        """The size of all arrays in bytes, as if all were padded."""
        return 5 * self.keys.nbytes

    def fuse(self, fusion: WeightedFusion) -> Scores:
        """Return the fused scores (queries, width), ``PADDING`` at the padding."""
        scores = np.full(self.keys.shape, PADDING)
        for row, legs in zip(scores, self.legs, strict=True):
            fused = fusion.fuse(legs["dense"], legs["lexical"]).scores
            row[: len(fused)] = fused
        return scores
