"""Finding row numbers in ascending arrays of them."""

import numpy as np
from numpy.typing import NDArray

from twofold.types import Mask, Rows

Ascending = NDArray[np.uint32] | Rows


def places_of(rows: Rows, ascending: Ascending) -> NDArray[np.int64]:
    """Return the place of each row in an ascending array, -1 for rows that are not in it."""
    count = len(ascending)
    if count == 0:
        return np.full(len(rows), -1, np.int64)
    first, last = int(ascending[0]), int(ascending[-1])
    inside = (rows >= first) & (rows <= last)
    if last - first + 1 == count:  # without a gap, as most segments are
        return np.where(inside, rows - first, -1)
    # Of one type: numpy would widen the whole array for each search.
    wanted = np.where(inside, rows, first).astype(ascending.dtype)
    at = np.searchsorted(ascending, wanted)
    return np.where(inside & (ascending[at] == wanted), at, -1)


def allowed_places(ascending: Ascending, allowed: Mask) -> NDArray[np.bool_]:
    """Return one flag a row of an ascending array: whether ``allowed`` lets it through."""
    flags = np.zeros(len(ascending), np.bool_)
    known = int(np.searchsorted(ascending, ascending.dtype.type(len(allowed))))
    flags[:known] = allowed[ascending[:known]]
    return flags
