"""What both legs say of the candidates of many queries, as a retriever would gather it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.backend import View
from twofold.fusion import LegScores, WeightedFusion
from twofold.protocols import Scorer
from twofold.types import LegHits, Rows, Scores, Vectors

PADDING = -1e300
"""The fused score of no candidate: finite, so that any weights keep it below all others."""


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """Judged queries, asked of one view: texts, vectors (n, dim), and both legs' trust in them."""

    view: View
    texts: Sequence[str]
    vectors: Vectors
    lowest: Scores
    qualities: Scores

    @classmethod
    def of(cls, view: View, texts: Sequence[str], vectors: Vectors) -> "QueryBatch":
        """Return queries with what depends on neither scoring function nor depth."""
        return cls(
            view,
            texts,
            vectors,
            np.array([view.lowest_dense(each) for each in vectors], np.float64),
            np.array([view.lexical_quality(each) for each in texts], np.float64),
        )

    def dense(self, limit: int) -> list[LegHits]:
        """Return the dense leg's best ``limit`` for each query."""
        return self.view.dense(self.vectors, limit, None, 1.0)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The union of both legs' lists for each query, with true scores in both legs.

    All arrays are (queries, width): a query's candidates stand first, by id, and the rest is
    padding, row -1. Ranks are 0 where the leg doesn't list the candidate.
    """

    asked: QueryBatch
    scorer: Scorer | None
    sizes: NDArray[np.int64]
    rows: Rows
    dense: Scores
    lexical: Scores
    dense_ranks: NDArray[np.int64]
    lexical_ranks: NDArray[np.int64]

    @classmethod
    def gathered(
        cls, asked: QueryBatch, dense: Sequence[LegHits], limit: int, scorer: Scorer | None
    ) -> "Candidates":
        """Ask the lexical leg for ``limit`` rows, and score the union with the ``dense`` lists."""
        view = asked.view
        unions: list[Scores] = []
        found = view.lexical(asked.texts, limit, None, scorer)
        for text, vector, near, worded in zip(
            asked.texts, asked.vectors, dense, found, strict=True
        ):
            both = np.concatenate([near.rows, worded.rows])
            rows, places = np.unique(both, return_inverse=True)
            columns = np.zeros((5, len(rows)))
            at_near, at_worded = places[: len(near.rows)], places[len(near.rows) :]
            columns[0] = rows
            columns[1, at_worded] = view.dense_scores(vector, worded.rows)
            columns[1, at_near] = near.scores
            columns[2, at_near] = view.lexical_scores(text, near.rows, scorer)
            columns[2, at_worded] = worded.scores
            columns[3, at_near] = np.arange(1, len(near.rows) + 1)
            columns[4, at_worded] = np.arange(1, len(worded.rows) + 1)
            unions.append(columns)
        return cls._padded(asked, scorer, unions)

    @classmethod
    def _padded(
        cls, asked: QueryBatch, scorer: Scorer | None, unions: Sequence[Scores]
    ) -> "Candidates":
        sizes = np.array([union.shape[1] for union in unions], np.int64)
        padded = np.zeros((5, len(unions), max(int(sizes.max(initial=0)), 1)))
        padded[0] = -1
        for place, union in enumerate(unions):
            padded[:, place, : union.shape[1]] = union
        rows = padded[0].astype(np.int64)
        order = np.argsort(_id_ranks(asked.view, rows), axis=1, kind="stable")
        by_id = np.take_along_axis(padded, order[None], axis=2)
        return cls(
            asked,
            scorer,
            sizes,
            by_id[0].astype(np.int64),
            by_id[1],
            by_id[2],
            by_id[3].astype(np.int64),
            by_id[4].astype(np.int64),
        )

    @property
    def nbytes(self) -> int:
        """The size of all arrays in bytes."""
        return 5 * self.rows.nbytes

    def evidence(self, query: int) -> tuple[LegScores, LegScores]:
        """Return what the dense and the lexical leg say of one query's candidates."""
        view, text, vector = self.asked.view, self.asked.texts[query], self.asked.vectors[query]
        own = slice(0, int(self.sizes[query]))
        words = self.lexical[query, own]
        return LegScores(
            self.dense[query, own],
            self.dense_ranks[query, own],
            float(self.asked.lowest[query]),
            lambda: view.dense_moments(vector),
            view.dense_quality,
        ), LegScores(
            words,
            self.lexical_ranks[query, own],
            # Below 0 is no word in common only for rank-bm25's Okapi, with a negative mean idf.
            min(0.0, float(words.min(initial=0.0))),
            lambda: view.lexical_moments(text, self.scorer),
            float(self.asked.qualities[query]),
        )

    def fused(self, fusion: WeightedFusion) -> Scores:
        """Return the scores (queries, width) that a fusion gives, ``PADDING`` where nothing is."""
        scores = np.full(self.rows.shape, PADDING)
        for query, size in enumerate(self.sizes.tolist()):
            scores[query, :size] = fusion.fuse(*self.evidence(query)).scores
        return scores


def _id_ranks(view: View, rows: Rows) -> NDArray[np.int64]:
    """Return the place of each row's id among all ids here; padding comes last."""
    distinct = np.unique(rows)
    distinct = distinct[distinct >= 0]
    ids = view.ids(distinct)
    ranks = np.empty(len(distinct) + 1, np.int64)
    ranks[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    ranks[-1] = len(ids)
    return ranks[np.where(rows >= 0, np.searchsorted(distinct, rows), len(distinct))]
