"""A reference lexical index: the rank-bm25 package, rebuilt after each change."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from twofold.protocols import Analyzer
from twofold.types import LegHits, Mask, Rows, Scores


class RankBM25Index:
    """``rank_bm25.BM25Okapi`` with the methods of PostingsIndex: slow, but easy to check.

    Finds all passages that share a term with the query, even with a score of 0 or less.
    """

    def __init__(self, analyzer: Analyzer) -> None:
        self.analyzer = analyzer
        self._passages: dict[int, tuple[str, list[str]]] = {}
        self._engine: Any = None

    def add(self, rows: Rows, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Index ``texts`` under their rows; ``ids`` decide ties."""
        for row, passage_id, text in zip(rows.tolist(), ids, texts, strict=True):
            self._passages[row] = (passage_id, self.analyzer.passage_terms(text))
        self._engine = None

    def delete(self, rows: Rows) -> None:
        """Delete rows; unknown ones are ignored."""
        for row in rows.tolist():
            self._passages.pop(row, None)
        self._engine = None

    def search(self, query: str, k: int, allowed: Mask | None = None) -> LegHits:
        """Return the best ``k`` allowed rows that share a term with ``query``."""
        terms = self.analyzer.query_terms(query)
        of_rows = self._all_scores(terms)
        found = [
            (-of_rows[row], passage_id, row)
            for row, (passage_id, words) in self._passages.items()
            if not set(terms).isdisjoint(words)
            and (allowed is None or (row < len(allowed) and allowed[row]))
        ]
        best = sorted(found)[:k]
        rows, scores = [row for _, _, row in best], [-score for score, _, _ in best]
        return LegHits(np.array(rows, np.int64), np.array(scores, np.float64))

    def scores(self, query: str, rows: Rows) -> Scores:
        """Return the score of each row, 0.0 where it shares no term with ``query``."""
        of_rows = self._all_scores(self.analyzer.query_terms(query))
        return np.array([of_rows.get(row, 0.0) for row in rows.tolist()], np.float64)

    def _all_scores(self, terms: Sequence[str]) -> dict[int, float]:
        """Return the score of every row, or none if no row has terms."""
        from rank_bm25 import BM25Okapi

        if not any(words for _, words in self._passages.values()):
            return {}
        if self._engine is None:
            self._engine = BM25Okapi([words for _, words in self._passages.values()])
        return dict(zip(self._passages, self._engine.get_scores(terms).tolist(), strict=True))
