"""The union of two legs' lists, compiled.

Importing this module imports numba (half a second), so it is imported when first needed.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def union(rows, scores, others, other_scores, rows_by_other, others_by_own):
    """Merge two lists of hits, best first, in which no row is twice.

    rows and scores: the first leg's list; others and other_scores: the second's; others_by_own:
    the first leg's scores of the second's rows; rows_by_other: the second leg's of the first's.

    Returns the distinct rows, ascending, and for each leg the score of each and its 1-based place
    in the leg's list, 0 where it isn't in it.
    """
    by_row = np.argsort(rows)
    by_other = np.argsort(others)
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
        own = i < len(rows) and (j == len(others) or rows[by_row[i]] <= others[by_other[j]])
        both = own and j < len(others) and rows[by_row[i]] == others[by_other[j]]
        if own:
            at = by_row[i]
            merged[count] = rows[at]
            near[count] = scores[at]
            near_rank[count] = at + 1
            worded[count] = rows_by_other[at]
            i += 1
        if both or not own:
            at = by_other[j]
            merged[count] = others[at]
            worded[count] = other_scores[at]
            worded_rank[count] = at + 1
            if not own:
                near[count] = others_by_own[at]
            j += 1
        count += 1
    return merged[:count], near[:count], near_rank[:count], worded[:count], worded_rank[:count]
