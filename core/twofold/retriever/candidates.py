"""The candidates of one query, scored by both legs and fused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from twofold.backend import CompletedScores, CorpusStatistics, Keys, SearchScope
from twofold.fusion import FusedScores, LegScores
from twofold.protocols import Scorer
from twofold.results.hits import LegColumn
from twofold.types import Leg, LegHits, Moments, Scores, Vectors

Positions = NDArray[np.int64]
"""Positions of candidates in a `CandidateSet`."""


@dataclass(frozen=True, slots=True)
class QueryInput:
    """One query: a text, a vector (dim,), or both.

    ``given`` is True if the caller passed ``vector``, which may then not encode ``text``.
    ``vector`` is None where the dense leg is not searched.
    """

    text: str | None
    vector: Vectors | None
    given: bool = False


LegResults = Mapping[Leg, LegHits]
"""One query's hits in each leg that was searched."""


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """The candidates of one query, with their scores in each leg and before reranking.

    ``fused`` is None if only one leg was searched; ``scores`` are then that leg's.
    """

    keys: Keys
    legs: Mapping[Leg, LegScores]
    fused: FusedScores | None
    scores: Scores

    @classmethod
    def from_one_leg(cls, leg: Leg, hits: LegHits) -> "CandidateSet":
        """Return the candidates of a search in one leg."""
        ranks = np.arange(1, len(hits.keys) + 1)
        return cls(hits.keys, {leg: LegScores(hits.scores, ranks, 0.0)}, None, hits.scores)

    def rank(self, scope: SearchScope, k: int, positions: Positions | None = None) -> Positions:
        """Return the positions of the best ``k`` candidates, among ``positions`` or among all.

        Ties are ordered by the fusion's precedence if it has one, else by id.
        """
        precedence = self.fused.precedence if self.fused is not None else None
        if positions is None:
            return rank_by_score(scope, self.keys, self.scores, k, precedence)
        precedence = precedence[positions] if precedence is not None else None
        keys, scores = self.keys[positions], self.scores[positions]
        return positions[rank_by_score(scope, keys, scores, k, precedence)]

    def columns(self, selected: Positions) -> dict[Leg, LegColumn]:
        """Return each leg's scores, ranks and weights of the selected candidates."""
        fused = self.fused
        columns: dict[Leg, LegColumn] = {}
        for leg, scored in self.legs.items():
            scores, ranks = scored.scores[selected], scored.ranks[selected]
            if fused is None:
                columns[leg] = LegColumn(scores, ranks, scores, 1.0)
                continue
            dense = leg == "dense"
            normalized = fused.dense if dense else fused.lexical
            weight = fused.dense_weight if dense else fused.lexical_weight
            if isinstance(weight, np.ndarray):
                weight = weight[selected]
            columns[leg] = LegColumn(scores, ranks, normalized[selected], weight)
        return columns


def rank_by_score(
    scope: SearchScope,
    keys: Keys,
    scores: Scores,
    k: int,
    precedence: NDArray[np.int64] | None = None,
) -> Positions:
    """Return the positions of the best ``k`` keys by score, ties by ``precedence`` or else id."""
    if precedence is not None:
        order = np.lexsort((precedence, -scores))
        return order[:k]
    order = np.argsort(-scores, kind="stable")
    if len(order) > k:
        order = order[: int(np.searchsorted(-scores[order], -scores[order[k - 1]], side="right"))]
    best = scores[order]
    if (best[1:] == best[:-1]).any():
        ids = scope.ids(keys[order])
        by_id = sorted(range(len(order)), key=lambda at: (-best[at], ids[at]))
        order = order[by_id]
    return order[:k]


def merge_legs(
    scope: SearchScope,
    query: QueryInput,
    scorer: Scorer | None,
    lists: LegResults,
    completed: CompletedScores,
) -> tuple[Keys, dict[Leg, LegScores]]:
    """Return the distinct keys of both legs' lists, and the scores of all keys in both legs."""
    from twofold.retriever.merge_kernel import merge_lists  # imports numba

    text, vector = query.text, query.vector
    keys, dense, dense_ranks, lexical, lexical_ranks = merge_lists(
        lists["dense"].keys,
        lists["dense"].scores,
        completed.dense,
        lists["lexical"].keys,
        lists["lexical"].scores,
        completed.lexical,
    )
    # Only rank-bm25's Okapi scores below 0, where a mean idf is negative.
    lowest = float(np.fmin.reduce(lexical, initial=0.0))
    if not scope.capabilities.statistics or text is None or vector is None:
        return keys, {
            "dense": _unmeasured_scores(dense, dense_ranks),
            "lexical": _unmeasured_scores(lexical, lexical_ranks, most=0.0),
        }
    statistics = cast(CorpusStatistics, scope.session)
    agreement = statistics.leg_agreement
    return keys, {
        "dense": LegScores(
            dense,
            dense_ranks,
            statistics.least_dense_score(vector),
            lambda: statistics.dense_moments(vector),
            agreement if agreement is not None else 1.0,
        ),
        "lexical": LegScores(
            lexical,
            lexical_ranks,
            lowest,
            lambda: statistics.lexical_moments(text, scorer),
            statistics.term_coverage(text),
        ),
    }


def _unmeasured_scores(scores: Scores, ranks: NDArray[np.int64], most: float = np.inf) -> LegScores:
    """Return a leg's scores for an engine without corpus statistics.

    The lower bound is the candidates' lowest score, or ``most`` if that is lower. The moments are
    those of the candidates.
    """
    lowest = float(np.fmin.reduce(scores, initial=most))

    def moments() -> Moments:
        known = scores[~np.isnan(scores)]
        if not len(known):
            return Moments(0.0, 0.0)
        return Moments(float(known.mean()), float(known.std()))

    return LegScores(scores, ranks, lowest if np.isfinite(lowest) else 0.0, moments)
