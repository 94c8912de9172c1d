"""Numba kernels that score single vectors in float64.

Importing this module imports numba (half a second), so import it only when needed. Each score is
summed separately, in an order that the compiler fixes once per machine. A score therefore depends
only on its two vectors.
"""

import numpy as np

from twofold._compilation import njit

_REORDERED = {"reassoc", "nsz"}  # allow vectorized sums; NaN stays NaN


@njit(fastmath=_REORDERED)
def products(point, vectors, positions):
    """Return the dot products (n,) of ``point`` (dim,) and ``vectors[positions]``.

    The vectors are float32 (m, dim), and may be a memory map larger than memory: only the rows at
    ``positions`` (n,) are read.
    """
    out = np.empty(len(positions))
    for i in range(len(positions)):
        at = np.uint64(positions[i])
        total = 0.0
        for j in range(len(point)):
            total += point[j] * np.float64(vectors[at, j])
        out[i] = total
    return out


@njit(fastmath=_REORDERED, error_model="numpy")
def cosines(point, vectors, positions):
    """Return ``point @ v / norm(v)`` for each ``v`` of ``vectors[positions]``; NaN if ``v`` is 0.

    The caller divides by the norm of ``point``.
    """
    out = np.empty(len(positions))
    for i in range(len(positions)):
        at = np.uint64(positions[i])
        total = 0.0
        square = 0.0
        for j in range(len(point)):
            value = np.float64(vectors[at, j])
            total += point[j] * value
            square += value * value
        out[i] = total / np.sqrt(square)
    return out


@njit(fastmath=_REORDERED)
def distances(point, vectors, positions):
    """Return the Euclidean distances (n,) of ``point`` (dim,) and ``vectors[positions]``."""
    out = np.empty(len(positions))
    for i in range(len(positions)):
        at = np.uint64(positions[i])
        total = 0.0
        for j in range(len(point)):
            gap = np.float64(vectors[at, j]) - point[j]
            total += gap * gap
        out[i] = np.sqrt(total)
    return out
