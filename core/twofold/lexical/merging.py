"""The best of several segments' best, ties by id."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.lexical.live import LiveSegment
from twofold.lexical.questions import Questions
from twofold.types import LegHits

_ONE_BY_ONE = 32
"""Documents up to which picking each by itself takes less time than numpy's calls."""


@dataclass(frozen=True, slots=True)
class Found:
    """Scores and documents (segments, queries, width), best first, and how many each has."""

    scores: NDArray[np.int64]
    docs: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def nothing(cls, segments: int, queries: int, width: int) -> "Found":
        """Return room for what segments will find."""
        shape = (segments, queries, width)
        return cls(np.empty(shape, np.int64), np.empty(shape, np.int64), np.zeros(shape[:2], int))


def best_of(
    found: Found, segments: Sequence[LiveSegment], questions: Questions, k: int
) -> list[LegHits]:
    """Return the best ``k`` hits of each query."""
    from twofold.lexical import kernels

    scores, owners, docs, counts, unclear = kernels.merge(found.scores, found.docs, found.sizes, k)
    for query in np.flatnonzero(unclear).tolist():
        some = slice(0, int(counts[query]))
        order = _by_id(segments, scores[query, some], owners[query, some], docs[query, some])
        owners[query, some] = owners[query, order]
        docs[query, some] = docs[query, order]
    hits: list[LegHits] = []
    sizes = np.minimum(counts, k).tolist()
    for query, (size, scale) in enumerate(zip(sizes, questions.scales.tolist(), strict=True)):
        some = slice(0, size)
        rows = _rows(segments, owners[query, some], docs[query, some])
        hits.append(LegHits(rows, scores[query, some] / scale + questions.shift(query)))
    return hits


def _rows(
    segments: Sequence[LiveSegment], owners: NDArray[np.int64], docs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the rows of documents of several segments."""
    if len(docs) <= _ONE_BY_ONE:
        pairs = zip(owners.tolist(), docs.tolist(), strict=True)
        return np.array([segments[owner].segment.rows[doc] for owner, doc in pairs], np.int64)
    rows = np.empty(len(docs), np.int64)
    for at, each in enumerate(segments):
        mine = owners == at
        rows[mine] = each.segment.rows[docs[mine]]
    return rows


def _by_id(
    segments: Sequence[LiveSegment],
    scores: NDArray[np.int64],
    owners: NDArray[np.int64],
    docs: NDArray[np.int64],
) -> list[int]:
    """Return the order of documents with descending scores, where ids decide ties."""
    tied = np.zeros(len(scores), np.bool_)
    tied[1:] = scores[1:] == scores[:-1]
    tied[:-1] |= tied[1:]
    pairs = zip(owners.tolist(), docs.tolist(), tied.tolist(), strict=True)
    ids = [segments[owner].segment.ids[doc] if unclear else "" for owner, doc, unclear in pairs]
    values = scores.tolist()
    return sorted(range(len(ids)), key=lambda at: (-values[at], ids[at]))
