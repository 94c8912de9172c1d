"""The union of two legs' lists, compiled.

Importing this module imports numba (half a second), so it is imported when first needed.
"""

import numpy as np

from twofold._compilation import njit


@njit()
def merge_lists(
    dense_keys, dense_scores, dense_completed, lexical_keys, lexical_scores, lexical_completed
):
    """Merge the lists of both legs, each without repeats.

    ``dense_completed`` has the dense scores of the lexical leg's list, and ``lexical_completed``
    the lexical scores of the dense leg's list.

    Returns:
        The distinct keys, ascending; then for the dense leg and for the lexical leg, the score of
        each key and its rank in that leg's list, 0 where it isn't in it.
    """
    size = len(dense_keys)
    both = np.concatenate((dense_keys, lexical_keys))
    keys = np.empty(len(both), np.int64)
    dense = np.empty(len(both), np.float64)
    dense_ranks = np.zeros(len(both), np.int64)
    lexical = np.empty(len(both), np.float64)
    lexical_ranks = np.zeros(len(both), np.int64)
    last = -1
    for position in np.argsort(both):
        if last < 0 or both[position] != keys[last]:
            last += 1
            keys[last] = both[position]
        if position < size:
            dense[last] = dense_scores[position]
            dense_ranks[last] = position + 1
            if lexical_ranks[last] == 0:
                lexical[last] = lexical_completed[position]
        else:
            at = position - size
            lexical[last] = lexical_scores[at]
            lexical_ranks[last] = at + 1
            if dense_ranks[last] == 0:
                dense[last] = dense_completed[at]
    count = last + 1
    return keys[:count], dense[:count], dense_ranks[:count], lexical[:count], lexical_ranks[:count]
