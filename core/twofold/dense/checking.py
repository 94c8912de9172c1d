"""What vectors and searches must be."""

import math

import numpy as np

from twofold.errors import QueryError, VectorError
from twofold.types import Vectors

MOST_EFFORT = 10**9
_BLOCK = 1 << 16
"""Vectors looked at together: they may be a memory map that is larger than memory."""


def check_vectors(vectors: Vectors, dim: int, count: int) -> Vectors:
    """Return ``vectors`` as contiguous float32 (count, dim), or raise VectorError saying why not.

    Floats of any width are taken; what is not finite as float32 is refused.
    """
    given = np.asarray(vectors)
    if given.ndim != 2 or given.shape != (count, dim):
        raise VectorError(f"vectors have shape {given.shape}: ({count}, {dim}) is wanted")
    if given.dtype.kind != "f":
        raise VectorError(f"vectors are of {given.dtype}: floats are wanted, best float32")
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(given, np.float32)
    for start in range(0, count, _BLOCK):
        finite = np.isfinite(out[start : start + _BLOCK]).all(axis=1)
        if not finite.all():
            place = start + int(np.flatnonzero(~finite)[0])
            raise VectorError(f"vector {place} has a value that is NaN or infinite as float32")
    return out


def check_effort(effort: float) -> None:
    """Raise QueryError for an effort that means nothing."""
    number = isinstance(effort, int | float | np.number) and not isinstance(effort, bool)
    if not number or math.isnan(effort) or not 0 < effort <= MOST_EFFORT:
        raise QueryError(
            f"effort is {effort!r:.40}: a number above 0 and up to {MOST_EFFORT:,} is wanted, 1.0 "
            "for what the dense leg's kind says; exact=True looks at all vectors"
        )
