"""Checks of a segment's arrays when it is loaded, so that no kernel reads outside an array.

They are for content that was damaged before its checksum was computed, or crafted. Each takes one
or two passes over an array, and raises CorruptIndexError.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import CorruptIndexError
from twofold.segments import PackedStrings


def check_type(name: str, array: NDArray[Any], length: int | None, *types: type[Any]) -> None:
    """Check that an array has one dimension, this length (None: any) and one of the types."""
    fits = array.ndim == 1 and array.flags.aligned and array.dtype in map(np.dtype, types)
    if not fits or (length is not None and len(array) != length):
        raise _damage(name)


def check_offsets(name: str, offsets: NDArray[Any], count: int, total: int) -> None:
    """Check that offsets (count + 1) divide ``total`` items into ``count`` runs."""
    check_type(name, offsets, count + 1, np.int64)
    ends = offsets[[0, -1]].tolist() if len(offsets) else []
    if ends != [0, total] or (offsets[1:] < offsets[:-1]).any():
        raise _damage(name)


def check_below(name: str, values: NDArray[Any], limit: int, *, minimum: int = 0) -> None:
    """Check that unsigned values are below ``limit``, and not below ``minimum``."""
    if not len(values):
        return
    if int(values.max()) >= limit or (minimum > 0 and int(values.min()) < minimum):
        raise _damage(name)


def check_ascending(
    name: str, values: NDArray[Any], offsets: NDArray[np.int64] | None = None
) -> None:
    """Check that values ascend without repeats, in each run that ``offsets`` delimit or at all."""
    ascends = values[1:] > values[:-1]
    if offsets is not None:
        starts = offsets[1:-1]
        ascends[starts[(starts > 0) & (starts < len(values))] - 1] = True
    if not ascends.all():
        raise _damage(name)


def check_ranks(name: str, ranks: NDArray[Any], count: int) -> None:
    """Check that unsigned ranks (count,) are the numbers below ``count``, each once."""
    check_below(name, ranks, count)
    if not (np.bincount(ranks, minlength=count) == 1).all():
        raise _damage(name)


def check_strings(name: str, strings: PackedStrings, count: int | None = None) -> None:
    """Check packed strings: their number, if known, their offsets, and their UTF-8."""
    offsets, data = strings.offsets, strings.data
    check_type(name, data, None, np.uint8)
    check_offsets(name, offsets, len(offsets) - 1 if count is None else count, len(data))
    starts = offsets[:-1][offsets[:-1] < len(data)]
    if (data[starts] & 0xC0 == 0x80).any():  # a string starts inside a character
        raise _damage(name)
    try:
        data.tobytes().decode()
    except UnicodeDecodeError:
        raise _damage(name) from None


def _damage(name: str) -> CorruptIndexError:
    return CorruptIndexError(f"its array {name!r} is not valid")
