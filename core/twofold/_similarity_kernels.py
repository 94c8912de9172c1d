"""Compiled sums over the dimensions of single vectors, in float64.

Importing this module imports numba (half a second), so it is imported when first needed. A vector
is gathered and reduced by itself, in the order that the compiler chose once for this machine, so
that a sum depends on nothing but its two vectors.
"""

import numpy as np
from numba import njit

_REORDERED = {"reassoc", "nsz"}  # what it takes to add several dimensions at once; NaN stays NaN


@njit(cache=True, nogil=True, fastmath=_REORDERED)
def products(point, vectors, places):
    """Return the inner products, float64 (n,), of a point (dim,) and ``vectors[places]``."""
    out = np.empty(len(places))
    for i in range(len(places)):
        at = np.uint64(places[i])
        total = 0.0
        for j in range(len(point)):
            total += point[j] * np.float64(vectors[at, j])
        out[i] = total
    return out


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def cosines(point, vectors, places):
    """Return the same products divided by the lengths of the vectors; NaN where one is 0."""
    out = np.empty(len(places))
    for i in range(len(places)):
        at = np.uint64(places[i])
        total = 0.0
        square = 0.0
        for j in range(len(point)):
            value = np.float64(vectors[at, j])
            total += point[j] * value
            square += value * value
        out[i] = total / np.sqrt(square)
    return out


@njit(cache=True, nogil=True, fastmath=_REORDERED)
def distances(point, vectors, places):
    """Return the Euclidean distances, float64 (n,), of a point (dim,) and ``vectors[places]``."""
    out = np.empty(len(places))
    for i in range(len(places)):
        at = np.uint64(places[i])
        total = 0.0
        for j in range(len(point)):
            gap = np.float64(vectors[at, j]) - point[j]
            total += gap * gap
        out[i] = np.sqrt(total)
    return out
