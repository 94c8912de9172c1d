"""The candidates of one query, with what both legs say of all of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.backend import View
from twofold.fusion import Fused, Fusion, LegScores
from twofold.results.hits import LegColumn
from twofold.retriever.search_plan import LegResults, QueryInput
from twofold.types import Leg, LegHits, Moments, Rows, Scores


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """Candidates by row: the evidence of each leg asked, and their scores before reranking.

    ``fused`` is None where one leg was asked: its own scores are the scores.
    """

    rows: Rows
    evidence: Mapping[Leg, LegScores]
    fused: Fused | None
    scores: Scores

    @classmethod
    def of(
        cls, view: View, question: QueryInput, found: LegResults, fusion: Fusion
    ) -> "CandidateSet":
        """Score every candidate of either leg by both, and fuse."""
        if found.completed is None:
            ((leg, hits),) = found.lists.items()
            ranks = np.arange(1, len(hits.rows) + 1)
            return cls(hits.rows, {leg: LegScores(hits.scores, ranks, 0.0)}, None, hits.scores)
        rows, evidence = _completed(view, question, found.lists, found.completed)
        fused = fusion.fuse(evidence["dense"], evidence["lexical"])
        return cls(rows, evidence, fused, fused.scores)

    def best(
        self, view: View, k: int, places: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Return the places of the best ``k`` candidates, of these ``places`` or of all.

        Equal scores go by the fusion's precedence if it has one, then by id.
        """
        scores = self.scores if places is None else self.scores[places]
        precedence = self.fused.precedence if self.fused is not None else None
        if precedence is not None and places is not None:
            precedence = precedence[places]
        rows = self.rows if places is None else self.rows[places]
        order = rank_candidates(view, rows, scores, k, precedence)
        return order if places is None else places[order]

    def columns(self, chosen: NDArray[np.int64]) -> dict[Leg, LegColumn]:
        """Return each leg's share in the chosen candidates."""
        if self.fused is None:
            return {
                leg: LegColumn(each.scores[chosen], each.ranks[chosen], each.scores[chosen], 1.0)
                for leg, each in self.evidence.items()
            }
        fused = self.fused
        shares = {
            "dense": (fused.dense, fused.dense_weight),
            "lexical": (fused.lexical, fused.lexical_weight),
        }
        return {
            leg: LegColumn(
                each.scores[chosen],
                each.ranks[chosen],
                shares[leg][0][chosen],
                weight[chosen] if isinstance(weight := shares[leg][1], np.ndarray) else weight,
            )
            for leg, each in self.evidence.items()
        }


def rank_candidates(
    view: View,
    rows: Rows,
    scores: Scores,
    k: int,
    precedence: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return the places of the best ``k`` rows by score, ties by precedence, then by id."""
    if precedence is not None:
        order = np.lexsort((precedence, -scores))
        return order[:k]
    order = np.argsort(-scores, kind="stable")
    if len(order) > k:
        order = order[: int(np.searchsorted(-scores[order], -scores[order[k - 1]], side="right"))]
    best = scores[order]
    if (best[1:] == best[:-1]).any():
        ids = view.ids(rows[order])
        by_id = sorted(range(len(order)), key=lambda at: (-best[at], ids[at]))
        order = order[by_id]
    return order[:k]


def _completed(
    view: View, question: QueryInput, lists: Mapping[Leg, LegHits], completed: Scores
) -> tuple[Rows, dict[Leg, LegScores]]:
    """Return the union of two lists, and what each leg says of all of it."""
    from twofold.retriever.merge_kernel import union

    text, vector, scorer = question.text, question.vector, question.scorer
    assert text is not None  # both legs were asked
    assert vector is not None
    dense, lexical = lists["dense"], lists["lexical"]
    words = view.lexical_scores(text, dense.rows, scorer)
    rows, near, near_ranks, worded, worded_ranks = union(dense, lexical, completed, words)
    # Below 0 is no word in common only for rank-bm25's Okapi, where a mean idf is negative.
    lowest = float(worded.min(initial=0.0))

    def dense_moments() -> Moments:
        return view.dense_moments(vector)

    def lexical_moments() -> Moments:
        return view.lexical_moments(text, scorer)

    return rows, {
        "dense": LegScores(
            near, near_ranks, view.lowest_dense(vector), dense_moments, view.dense_quality
        ),
        "lexical": LegScores(
            worded, worded_ranks, lowest, lexical_moments, view.lexical_quality(text)
        ),
    }
