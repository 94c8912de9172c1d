"""Many strings in two arrays: offsets and UTF-8 bytes, ready to be memory-mapped."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from twofold.types import Mask, Rows


@dataclass(frozen=True, slots=True)
class PackedStrings:
    """Strings by number; ``offsets`` is int64 (n + 1) into ``data``, uint8."""

    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]

    @classmethod
    def of(cls, strings: Sequence[str]) -> "PackedStrings":
        """Pack ``strings`` in their order."""
        encoded = [string.encode() for string in strings]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(each) for each in encoded], out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(encoded), np.uint8))

    @classmethod
    def concatenate(cls, parts: Sequence["PackedStrings"]) -> "PackedStrings":
        """Return all strings of all parts, one part after the other."""
        lengths = np.concatenate([np.empty(0, np.int64), *(np.diff(p.offsets) for p in parts)])
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        data = [part.data[part.offsets[0] : part.offsets[-1]] for part in parts]
        return cls(offsets, np.concatenate([np.empty(0, np.uint8), *data]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> str:
        return self.data[self.offsets[number] : self.offsets[number + 1]].tobytes().decode()

    def tolist(self) -> list[str]:
        """Return all strings."""
        text = self.data.tobytes()
        ends = self.offsets.tolist()
        return [text[low:high].decode() for low, high in pairwise(ends)]

    def take(self, numbers: NDArray[np.int64]) -> "PackedStrings":
        """Return the strings of these numbers, in this order."""
        starts = self.offsets[:-1][numbers]
        lengths = self.offsets[1:][numbers] - starts
        offsets = np.zeros(len(numbers) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        # Each output byte's place in the input: its string's start plus its place in the string.
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return PackedStrings(offsets, self.data[places])

    def places(self, string: str) -> list[int]:
        """Return the numbers of all strings that are this one."""
        wanted = string.encode()
        same_length = np.flatnonzero(np.diff(self.offsets) == len(wanted))
        starts = self.offsets[:-1][same_length]
        found = np.ones(len(starts), np.bool_)
        for at, byte in enumerate(wanted):
            found[found] = self.data[starts[found] + at] == byte
        return [int(number) for number in same_length[found]]

    def ranks(self) -> NDArray[np.uint32]:
        """Return each string's place in sorted order, equal strings by number."""
        encoded = self.tolist()
        by_string = sorted(range(len(encoded)), key=encoded.__getitem__)
        ranks = np.empty(len(encoded), np.uint32)
        ranks[by_string] = np.arange(len(encoded), dtype=np.uint32)
        return ranks


FACTOR = 4


def next_merge(sizes: Sequence[int]) -> slice | None:
    """Return the run of neighbouring segments to merge now, or None.

    A segment of n rows is of tier floor(log4 n). Four neighbours, none of a higher tier than the
    last, are merged; so each row is copied about log4 N times, and about 3 log4 N segments stay.
    Tiered merging as in log-structured merge trees (O'Neil et al., Acta Informatica 33, 1996).
    """
    if not sizes:
        return None
    tiers = [_tier(size) for size in sizes]
    start = len(sizes) - 1
    while start > 0 and tiers[start - 1] <= tiers[-1]:
        start -= 1
    alike = sum(tier == tiers[-1] for tier in tiers[start:])
    return slice(start, len(sizes)) if alike >= FACTOR else None


def _tier(size: int) -> int:
    """Return floor(log4 size), 0 for sizes below 4."""
    return max(size.bit_length() - 1, 0) // 2


Ascending = NDArray[np.uint32] | Rows


def positions_of(rows: Rows, ascending: Ascending) -> NDArray[np.int64]:
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


def allowed_flags(ascending: Ascending, allowed: Mask) -> NDArray[np.bool_]:
    """Return one flag a row of an ascending array: whether ``allowed`` lets it through."""
    flags = np.zeros(len(ascending), np.bool_)
    known = int(np.searchsorted(ascending, ascending.dtype.type(len(allowed))))
    flags[:known] = allowed[ascending[:known]]
    return flags
