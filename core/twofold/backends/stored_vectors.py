"""Scores of vectors that were read from a server, computed as an index computes them."""

import numpy as np
from numpy.typing import NDArray

from twofold.backend import Keys
from twofold.dense import PassageVectors
from twofold.similarity import Metric
from twofold.types import Mask, Scores, Vectors, Window


def best_scores(metric: Metric, vector: Vectors, found: PassageVectors, rows: Keys) -> Scores:
    """Return each row's best score for a prepared vector (dim,), NaN for one without a vector."""
    scores = np.full(len(rows), np.nan)
    if not len(found):
        return scores
    values = metric.score(vector, found.vectors)
    starts = np.flatnonzero(np.diff(found.rows, prepend=-1))
    best = np.maximum.reduceat(values, starts)
    known = dict(zip(found.rows[starts].tolist(), best.tolist(), strict=True))
    for at, row in enumerate(rows.tolist()):
        scores[at] = known.get(row, np.nan)
    return scores


def first_vectors(found: PassageVectors, rows: Keys, dim: int) -> tuple[Vectors, Mask]:
    """Return the first vector of each row (n, dim), and which rows have one."""
    vectors, present = np.zeros((len(rows), dim), np.float32), np.zeros(len(rows), np.bool_)
    places = {row: at for at, row in reversed(list(enumerate(found.rows.tolist())))}
    for at, row in enumerate(rows.tolist()):
        if row in places:
            vectors[at], present[at] = found.vectors[places[row]], True
    return vectors, present


def best_windows(
    metric: Metric, vector: Vectors, found: PassageVectors, rows: Keys
) -> list[Window | None]:
    """Return each row's best window for a prepared vector (dim,), None where there is none."""
    if found.spans is None:
        return [None] * len(rows)
    by_row: dict[int, NDArray[np.int64]] = {}
    for row, group in found.by_passage():
        if group.spans is not None:
            by_row[row] = group.spans[int(np.argmax(metric.score(vector, group.vectors)))]
    windows: list[Window | None] = []
    for row in rows.tolist():
        first, last, start, end = by_row.get(row, np.zeros(4, np.int64)).tolist()
        windows.append(Window((first, last), start, end) if last else None)
    return windows
