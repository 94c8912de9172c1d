"""The union of two legs' lists, compiled.

Importing this module imports numba (half a second), so it is imported when first needed.
"""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from twofold._compilation import njit
from twofold.types import LegHits, Rows, Scores

Ranks = NDArray[np.int64]


def union(
    dense: LegHits, lexical: LegHits, dense_completed: Scores, lexical_completed: Scores
) -> tuple[Rows, Scores, Ranks, Scores, Ranks]:
    """Merge the lists of both legs.

    Args:
        dense: The dense leg's list.
        lexical: The lexical leg's list.
        dense_completed: The dense scores of the lexical leg's list.
        lexical_completed: The lexical scores of the dense leg's list.

    Returns:
        The distinct keys, ascending; then for the dense leg and for the lexical leg, the score of
        each key and its rank in that leg's list, 0 where it isn't in it.
    """
    merged = _merge(
        dense.rows,
        np.argsort(dense.rows),
        dense.scores,
        lexical_completed,
        lexical.rows,
        np.argsort(lexical.rows),
        lexical.scores,
        dense_completed,
    )
    return cast("tuple[Rows, Scores, Ranks, Scores, Ranks]", merged)


@njit()
def _merge(
    dense_keys,
    dense_order,
    dense_scores,
    lexical_completed,
    lexical_keys,
    lexical_order,
    lexical_scores,
    dense_completed,
):
    """Merge two lists without repeats, of which ``*_order`` sorts the keys."""
    size = len(dense_keys) + len(lexical_keys)
    merged = np.empty(size, np.int64)
    dense = np.empty(size, np.float64)
    dense_ranks = np.zeros(size, np.int64)
    lexical = np.empty(size, np.float64)
    lexical_ranks = np.zeros(size, np.int64)
    count = 0
    i = 0
    j = 0
    while i < len(dense_keys) or j < len(lexical_keys):
        if i == len(dense_keys):
            order = 1
        elif j == len(lexical_keys):
            order = -1
        else:
            order = dense_keys[dense_order[i]] - lexical_keys[lexical_order[j]]
        if order <= 0:
            at = dense_order[i]
            merged[count] = dense_keys[at]
            dense[count] = dense_scores[at]
            dense_ranks[count] = at + 1
            lexical[count] = lexical_completed[at]
            i += 1
        if order >= 0:
            at = lexical_order[j]
            merged[count] = lexical_keys[at]
            lexical[count] = lexical_scores[at]
            lexical_ranks[count] = at + 1
            if order > 0:
                dense[count] = dense_completed[at]
            j += 1
        count += 1
    return (
        merged[:count],
        dense[:count],
        dense_ranks[:count],
        lexical[:count],
        lexical_ranks[:count],
    )
