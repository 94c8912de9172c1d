"""The union of two legs' lists, compiled.

Importing this module imports numba (half a second), so it is imported when first needed.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from twofold.types import LegHits, Rows, Scores


def union(
    dense: LegHits, lexical: LegHits, completed: Scores, words: Scores
) -> tuple[Rows, Scores, NDArray[np.int64], Scores, NDArray[np.int64]]:
    """Merge two lists of hits; ``completed`` are the dense scores of the lexical leg's rows.

    ``words`` are the lexical scores of the dense leg's rows. Returns the distinct rows, ascending;
    and, for the dense leg and then for the lexical one, the score of each and its 1-based place in
    the leg's list, 0 where it isn't in it.
    """
    merged: tuple[Rows, Scores, NDArray[np.int64], Scores, NDArray[np.int64]] = _merged(
        dense.rows,
        np.argsort(dense.rows),
        dense.scores,
        words,
        lexical.rows,
        np.argsort(lexical.rows),
        lexical.scores,
        completed,
    )
    return merged


@njit(cache=True, nogil=True)
def _merged(rows, by_row, scores, by_other, others, by_other_row, other_scores, others_by_own):
    """Merge two lists in which no row is twice; by_row and by_other_row put them in order."""
    room = len(rows) + len(others)
    merged = np.empty(room, np.int64)
    near = np.empty(room, np.float64)
    near_rank = np.zeros(room, np.int64)
    worded = np.empty(room, np.float64)
    worded_rank = np.zeros(room, np.int64)
    count = 0
    i = 0
    j = 0
    while i < len(rows) or j < len(others):
        own = i < len(rows) and (j == len(others) or rows[by_row[i]] <= others[by_other_row[j]])
        both = own and j < len(others) and rows[by_row[i]] == others[by_other_row[j]]
        if own:
            at = by_row[i]
            merged[count] = rows[at]
            near[count] = scores[at]
            near_rank[count] = at + 1
            worded[count] = by_other[at]
            i += 1
        if both or not own:
            at = by_other_row[j]
            merged[count] = others[at]
            worded[count] = other_scores[at]
            worded_rank[count] = at + 1
            if not own:
                near[count] = others_by_own[at]
            j += 1
        count += 1
    return merged[:count], near[:count], near_rank[:count], worded[:count], worded_rank[:count]
