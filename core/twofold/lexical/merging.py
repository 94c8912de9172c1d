"""The best of several segments' best, ties by id."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.lexical.questions import Questions
from twofold.lexical.segment import PostingsSegment
from twofold.types import LegHits


@dataclass(frozen=True, slots=True)
class SegmentHits:
    """What one segment found: scores and documents (queries, k), best first, and how many."""

    segment: PostingsSegment
    scores: NDArray[np.int64]
    docs: NDArray[np.int64]
    sizes: NDArray[np.int64]


def best_of(found: Sequence[SegmentHits], questions: Questions, k: int) -> list[LegHits]:
    """Return the best ``k`` hits of each query."""
    sizes = [each.sizes.tolist() for each in found]
    scales = questions.scales.tolist()
    hits: list[LegHits] = []
    for query, scale in enumerate(scales):
        parts = [at for at in range(len(found)) if sizes[at][query]]
        if not parts:
            hits.append(LegHits.none())
            continue
        if len(parts) == 1:
            only = found[parts[0]]
            size = sizes[parts[0]][query]
            scores = only.scores[query, :size]
            rows = only.segment.rows[only.docs[query, :size]].astype(np.int64)
        else:
            scores, rows = _merged([found[at] for at in parts], query, k)
        hits.append(LegHits(rows, scores / scale + questions.shift(query)))
    return hits


def _merged(
    found: Sequence[SegmentHits], query: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return scores and rows of the best ``k`` of one query in several segments."""
    sizes = [int(each.sizes[query]) for each in found]
    scores = np.concatenate(
        [each.scores[query, :size] for each, size in zip(found, sizes, strict=True)]
    )
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    if len(order) > k:  # whatever ties with the k-th stays, until ids decide
        keep = int(np.searchsorted(-ordered, -ordered[k - 1], side="right"))
        order, ordered = order[:keep], ordered[:keep]
    owners = np.repeat(np.arange(len(found)), sizes)[order]
    docs = np.concatenate(
        [each.docs[query, :size] for each, size in zip(found, sizes, strict=True)]
    )
    docs = docs[order]
    # Within a segment ids decided already; only a tie between segments needs them.
    same = ordered[1:] == ordered[:-1]
    if (same & (owners[1:] != owners[:-1])).any():
        tied = np.zeros(len(order), np.bool_)
        tied[1:] = same
        tied[:-1] |= same
        ids = [
            found[owner].segment.ids[doc] if unclear else ""
            for owner, doc, unclear in zip(
                owners.tolist(), docs.tolist(), tied.tolist(), strict=True
            )
        ]
        values = ordered.tolist()
        by_id = sorted(range(len(ids)), key=lambda at: (-values[at], ids[at]))[:k]
        owners, docs, ordered = owners[by_id], docs[by_id], ordered[by_id]
    owners, docs = owners[:k], docs[:k]
    rows = np.empty(len(docs), np.int64)
    for at, each in enumerate(found):
        mine = owners == at
        rows[mine] = each.segment.rows[docs[mine]]
    return ordered[:k], rows
