"""The candidates of many queries as padded arrays, with the scores of both legs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.fusion import LegScores, WeightedFusion
from twofold.index import IndexView
from twofold.protocols import Scorer
from twofold.types import LegHits, Rows, Scores, Vectors

PADDING = -1e300
"""The fused score of padding: finite, so that it stays lowest when multiplied by a weight."""


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """Texts and vectors (n, dim) of queries on one view.

    ``least_dense`` (n,) are the least possible dense scores, and ``lexical_qualities`` (n,) say how
    far the lexical leg can be trusted.
    """

    view: IndexView
    texts: Sequence[str]
    vectors: Vectors
    least_dense: Scores
    lexical_qualities: Scores

    @classmethod
    def from_queries(cls, view: IndexView, texts: Sequence[str], vectors: Vectors) -> "QueryBatch":
        """Return the batch of these texts and vectors (n, dim)."""
        least = np.array([view.lowest_dense(vector) for vector in vectors], np.float64)
        qualities = np.array([view.lexical_quality(text) for text in texts], np.float64)
        return cls(view, texts, vectors, least, qualities)


@dataclass(frozen=True, slots=True)
class CandidateMatrix:
    """The union of both legs' lists for each query, scored by both legs.

    All arrays have shape (queries, width). A query's candidates come first, ordered by id. The rest
    is padding, with row -1. A rank is 0 where the leg doesn't list the candidate.
    """

    batch: QueryBatch
    scorer: Scorer | None
    sizes: NDArray[np.int64]
    rows: Rows
    dense: Scores
    lexical: Scores
    dense_ranks: NDArray[np.int64]
    lexical_ranks: NDArray[np.int64]

    @classmethod
    def from_dense_lists(
        cls, batch: QueryBatch, dense: Sequence[LegHits], limit: int, scorer: Scorer | None
    ) -> "CandidateMatrix":
        """Search the lexical leg for ``limit`` rows, and score the union with the dense lists."""
        view = batch.view
        unions: list[Scores] = []
        lexical = view.lexical(batch.texts, limit, None, scorer)
        for text, vector, by_vector, by_words in zip(
            batch.texts, batch.vectors, dense, lexical, strict=True
        ):
            both = np.concatenate([by_vector.rows, by_words.rows])
            rows, places = np.unique(both, return_inverse=True)
            dense_at, lexical_at = np.split(places, [len(by_vector.rows)])
            columns = np.zeros((5, len(rows)))
            columns[0] = rows
            columns[1, lexical_at] = view.dense_scores(vector, by_words.rows)
            columns[1, dense_at] = by_vector.scores
            columns[2, dense_at] = view.lexical_scores(text, by_vector.rows, scorer)
            columns[2, lexical_at] = by_words.scores
            columns[3, dense_at] = np.arange(1, len(dense_at) + 1)
            columns[4, lexical_at] = np.arange(1, len(lexical_at) + 1)
            unions.append(columns)
        sizes = np.array([union.shape[1] for union in unions], np.int64)
        padded = np.zeros((5, len(unions), max(int(sizes.max(initial=0)), 1)))
        padded[0] = -1
        for query, union in enumerate(unions):
            padded[:, query, : union.shape[1]] = union
        order = np.argsort(_rank_by_id(view, padded[0].astype(np.int64)), axis=1, kind="stable")
        columns = np.take_along_axis(padded, order[None], axis=2)
        rows, *ranks = (columns[at].astype(np.int64) for at in (0, 3, 4))
        return cls(batch, scorer, sizes, rows, columns[1], columns[2], *ranks)

    @property
    def nbytes(self) -> int:
        """The size of all arrays in bytes."""
        return 5 * self.rows.nbytes

    def leg_scores(self, query: int) -> tuple[LegScores, LegScores]:
        """Return the dense and the lexical scores of one query's candidates."""
        batch, view, size = self.batch, self.batch.view, int(self.sizes[query])
        text, vector = batch.texts[query], batch.vectors[query]
        lexical = self.lexical[query, :size]
        return LegScores(
            self.dense[query, :size],
            self.dense_ranks[query, :size],
            float(batch.least_dense[query]),
            lambda: view.dense_moments(vector),
            view.dense_quality,
        ), LegScores(
            lexical,
            self.lexical_ranks[query, :size],
            # Only rank_bm25's Okapi, with its negative mean idf, scores below "no term in common".
            min(0.0, float(lexical.min(initial=0.0))),
            lambda: view.lexical_moments(text, self.scorer),
            float(batch.lexical_qualities[query]),
        )

    def fuse(self, fusion: WeightedFusion) -> Scores:
        """Return the fused scores (queries, width), ``PADDING`` at the padding."""
        scores = np.full(self.rows.shape, PADDING)
        for query, size in enumerate(self.sizes.tolist()):
            scores[query, :size] = fusion.fuse(*self.leg_scores(query)).scores
        return scores


def _rank_by_id(view: IndexView, rows: Rows) -> NDArray[np.int64]:
    """Return each row's position among the sorted ids of all rows; padding comes last."""
    distinct = np.unique(rows)
    distinct = distinct[distinct >= 0]
    ids = view.ids(distinct)
    ranks = np.empty(len(distinct) + 1, np.int64)
    ranks[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    ranks[-1] = len(ids)
    return ranks[np.where(rows >= 0, np.searchsorted(distinct, rows), len(distinct))]
