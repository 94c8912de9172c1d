"""The candidates of many queries as padded arrays, with the scores of both legs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.backend import Completion, Keys, SearchScope
from twofold.fusion import LegScores, WeightedFusion
from twofold.protocols import Scorer
from twofold.retriever.candidates import unmeasured_scores
from twofold.retriever.leg_search import complete_scores
from twofold.types import LegHits, Scores, Vectors

PADDING = -1e300
"""The fused score of padding: finite, so that it stays lowest when multiplied by a weight."""


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """Texts and vectors (n, dim) of queries in one scope.

    ``least_dense`` (n,) are the least possible dense scores, and ``lexical_qualities`` (n,) say how
    far the lexical leg can be trusted.
    """

    scope: SearchScope
    texts: Sequence[str]
    vectors: Vectors
    least_dense: Scores
    lexical_qualities: Scores

    @classmethod
    def from_queries(
        cls, scope: SearchScope, texts: Sequence[str], vectors: Vectors
    ) -> "QueryBatch":
        """Return the batch of these texts and vectors (n, dim)."""
        statistics = scope.statistics
        if statistics is None:
            return cls(scope, texts, vectors, np.zeros(len(texts)), np.ones(len(texts)))
        least = np.array([statistics.least_dense_score(vector) for vector in vectors], np.float64)
        coverage = np.array([statistics.term_coverage(text) for text in texts], np.float64)
        return cls(scope, texts, vectors, least, coverage)


@dataclass(frozen=True, slots=True)
class CandidateMatrix:
    """The union of both legs' lists for each query, scored by both legs.

    All arrays have shape (queries, width). A query's candidates come first, ordered by id. The rest
    is padding, with key -1. A rank is 0 where the leg doesn't list the candidate.
    """

    batch: QueryBatch
    scorer: Scorer | None
    sizes: NDArray[np.int64]
    keys: Keys
    dense: Scores
    lexical: Scores
    dense_ranks: NDArray[np.int64]
    lexical_ranks: NDArray[np.int64]

    @classmethod
    def from_dense_lists(
        cls, batch: QueryBatch, dense: Sequence[LegHits], limit: int, scorer: Scorer | None
    ) -> "CandidateMatrix":
        """Search the lexical leg for ``limit`` passages, and score its union with the dense leg."""
        session = batch.scope.session
        lexical = session.search_lexical(batch.texts, limit, None, scorer)
        wanted = [
            Completion(text, vector, by_words.rows, by_vector.rows, scorer)
            for text, vector, by_vector, by_words in zip(
                batch.texts, batch.vectors, dense, lexical, strict=True
            )
        ]
        completed = complete_scores(batch.scope, wanted)
        unions: list[Scores] = []
        for by_vector, by_words, scores in zip(dense, lexical, completed, strict=True):
            both = np.concatenate([by_vector.rows, by_words.rows])
            keys, places = np.unique(both, return_inverse=True)
            dense_at, lexical_at = np.split(places, [len(by_vector.rows)])
            columns = np.zeros((5, len(keys)))
            columns[0] = keys
            columns[1, lexical_at] = scores.dense
            columns[1, dense_at] = by_vector.scores
            columns[2, dense_at] = scores.lexical
            columns[2, lexical_at] = by_words.scores
            columns[3, dense_at] = np.arange(1, len(dense_at) + 1)
            columns[4, lexical_at] = np.arange(1, len(lexical_at) + 1)
            unions.append(columns)
        sizes = np.array([union.shape[1] for union in unions], np.int64)
        padded = np.zeros((5, len(unions), max(int(sizes.max(initial=0)), 1)))
        padded[0] = -1
        for query, union in enumerate(unions):
            padded[:, query, : union.shape[1]] = union
        order = np.argsort(
            _rank_by_id(batch.scope, padded[0].astype(np.int64)), axis=1, kind="stable"
        )
        columns = np.take_along_axis(padded, order[None], axis=2)
        keys, *ranks = (columns[at].astype(np.int64) for at in (0, 3, 4))
        return cls(batch, scorer, sizes, keys, columns[1], columns[2], *ranks)

    @property
    def nbytes(self) -> int:
        """The size of all arrays in bytes."""
        return 5 * self.keys.nbytes

    def leg_scores(self, query: int) -> tuple[LegScores, LegScores]:
        """Return the dense and the lexical scores of one query's candidates."""
        batch, size = self.batch, int(self.sizes[query])
        statistics = batch.scope.statistics
        text, vector = batch.texts[query], batch.vectors[query]
        dense, lexical = self.dense[query, :size], self.lexical[query, :size]
        if statistics is None:
            return (
                unmeasured_scores(dense, self.dense_ranks[query, :size]),
                unmeasured_scores(lexical, self.lexical_ranks[query, :size], most=0.0),
            )
        agreement = statistics.leg_agreement
        return LegScores(
            dense,
            self.dense_ranks[query, :size],
            float(batch.least_dense[query]),
            lambda: statistics.dense_moments(vector),
            agreement if agreement is not None else 1.0,
        ), LegScores(
            lexical,
            self.lexical_ranks[query, :size],
            # Only rank_bm25's Okapi, with its negative mean idf, scores below "no term in common".
            min(0.0, float(lexical.min(initial=0.0))),
            lambda: statistics.lexical_moments(text, self.scorer),
            float(batch.lexical_qualities[query]),
        )

    def fuse(self, fusion: WeightedFusion) -> Scores:
        """Return the fused scores (queries, width), ``PADDING`` at the padding."""
        scores = np.full(self.keys.shape, PADDING)
        for query, size in enumerate(self.sizes.tolist()):
            scores[query, :size] = fusion.fuse(*self.leg_scores(query)).scores
        return scores


def _rank_by_id(scope: SearchScope, keys: Keys) -> NDArray[np.int64]:
    """Return each key's position among the sorted ids of all keys; padding comes last."""
    distinct = np.unique(keys)
    distinct = distinct[distinct >= 0]
    ids = scope.ids(distinct)
    ranks = np.empty(len(distinct) + 1, np.int64)
    ranks[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    ranks[-1] = len(ids)
    return ranks[np.where(keys >= 0, np.searchsorted(distinct, keys), len(distinct))]
