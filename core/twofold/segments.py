"""Building blocks of index segments: packed strings, row look-up and the merge policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from twofold.types import Mask, Rows

MERGE_FACTOR = 4
"""Segments of one size tier that are merged into one."""
AscendingRows = NDArray[np.uint32] | Rows
"""Row numbers in ascending order."""


@dataclass(frozen=True, slots=True)
class PackedStrings:
    """An immutable list of strings in two arrays, which can be memory-mapped.

    ``data`` (uint8) holds the UTF-8 bytes; ``offsets`` (int64, n + 1) delimits the strings.
    """

    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]

    @classmethod
    def from_strings(cls, strings: Sequence[str]) -> "PackedStrings":
        """Pack ``strings`` in their order."""
        encoded = [string.encode() for string in strings]
        offsets = run_offsets([len(string) for string in encoded])
        return cls(offsets, np.frombuffer(b"".join(encoded), np.uint8))

    @classmethod
    def concatenate(cls, parts: Sequence["PackedStrings"]) -> "PackedStrings":
        """Return the strings of all parts, in order."""
        lengths = np.concatenate([np.empty(0, np.int64), *(np.diff(p.offsets) for p in parts)])
        data = [part.data[part.offsets[0] : part.offsets[-1]] for part in parts]
        return cls(run_offsets(lengths), np.concatenate([np.empty(0, np.uint8), *data]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> str:
        return self.data[self.offsets[number] : self.offsets[number + 1]].tobytes().decode()

    def tolist(self) -> list[str]:
        """Return all strings."""
        text = self.data.tobytes()
        return [text[low:high].decode() for low, high in pairwise(self.offsets.tolist())]

    def strings_at(self, numbers: NDArray[np.int64]) -> list[str]:
        """Return the strings at the positions ``numbers``, in this order."""
        starts, ends = self.offsets[numbers].tolist(), self.offsets[numbers + 1].tolist()
        pairs = zip(starts, ends, strict=True)  # faster for a few strings than to pack them
        return [self.data[start:end].tobytes().decode() for start, end in pairs]

    def take(self, numbers: NDArray[np.int64]) -> "PackedStrings":
        """Return the strings at the positions ``numbers``, in this order, as packed strings."""
        starts = self.offsets[:-1][numbers]
        lengths = self.offsets[1:][numbers] - starts
        offsets = run_offsets(lengths)
        # Input position of each output byte: start of its string plus position in the string.
        positions = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return PackedStrings(offsets, self.data[positions])

    def find(self, string: str) -> list[int]:
        """Return the positions of all strings equal to ``string``."""
        encoded = string.encode()
        same_length = np.flatnonzero(np.diff(self.offsets) == len(encoded))
        starts = self.offsets[:-1][same_length]
        equal = np.ones(len(starts), np.bool_)
        for position, byte in enumerate(encoded):
            equal[equal] = self.data[starts[equal] + position] == byte
        return [int(number) for number in same_length[equal]]

    def ranks(self) -> NDArray[np.uint32]:
        """Return each string's rank in sorted order; equal strings are ordered by position."""
        strings = self.tolist()
        by_string = sorted(range(len(strings)), key=strings.__getitem__)
        ranks = np.empty(len(strings), np.uint32)
        ranks[by_string] = np.arange(len(strings), dtype=np.uint32)
        return ranks


def run_offsets(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the offsets (n + 1) of n consecutive runs: their starts, and the last one's end."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def next_merge(sizes: Sequence[int]) -> slice | None:
    """Return which adjacent segments to merge next, None if none; ``sizes`` are in row order.

    A segment of n rows has tier floor(log4 n). The last segments that have no higher tier than the
    very last are merged once four have its tier. Each row is copied about log4 N times, and about
    3 log4 N segments remain. This is tiered merging as in log-structured merge trees (O'Neil et
    al., Acta Informatica 33, 1996).
    """
    if not sizes:
        return None
    tiers = [max(size.bit_length() - 1, 0) // 2 for size in sizes]  # 0 below 4 rows
    start = len(sizes) - 1
    while start > 0 and tiers[start - 1] <= tiers[-1]:
        start -= 1
    same_tier = sum(tier == tiers[-1] for tier in tiers[start:])
    return slice(start, len(sizes)) if same_tier >= MERGE_FACTOR else None


def find_positions(
    rows: Rows, ascending: AscendingRows, live: Mask | None = None
) -> NDArray[np.int64]:
    """Return the position of each of ``rows`` in ``ascending``, -1 for missing or deleted rows.

    ``live`` flags the elements of ``ascending`` that are not deleted, None for all.
    """
    count = len(ascending)
    if count == 0:
        return np.full(len(rows), -1, np.int64)
    first, last = int(ascending[0]), int(ascending[-1])
    inside = (rows >= first) & (rows <= last)
    if last - first + 1 == count:  # no gaps, as in most segments
        positions = np.where(inside, rows - first, -1)
    else:
        # Same dtype: otherwise numpy would convert the whole array for each search.
        searched = np.where(inside, rows, first).astype(ascending.dtype)
        positions = np.searchsorted(ascending, searched)
        positions = np.where(inside & (ascending[positions] == searched), positions, -1)
    if live is not None:
        positions[~live[positions]] = -1
    return positions


def delete_rows(live: Mask | None, ascending: AscendingRows, dead: Rows) -> Mask | None:
    """Return ``live`` with the rows in ``dead`` cleared; None if all are live.

    ``live`` has a flag for each row of ``ascending``. Rows that ``ascending`` lacks are ignored.
    """
    positions = find_positions(dead, ascending)
    positions = positions[positions >= 0]
    if not len(positions):
        return live
    flags = np.ones(len(ascending), np.bool_) if live is None else live.copy()
    flags[positions] = False
    return flags


def ids_at(segments: Sequence[tuple[AscendingRows, PackedStrings]], rows: Rows) -> list[str]:
    """Return the passage id of each of ``rows``, "" if missing; segments are (rows, ids) pairs."""
    ids = [""] * len(rows)
    for segment_rows, segment_ids in segments:
        positions = find_positions(rows, segment_rows)
        found = np.flatnonzero(positions >= 0)
        if len(found):
            names = segment_ids.strings_at(positions[found])
            for at, name in zip(found.tolist(), names, strict=True):
                ids[at] = name
    return ids


def allowed_flags(ascending: AscendingRows, allowed: Mask, live: Mask | None = None) -> Mask:
    """Return, for each row of ``ascending``, whether it is live and ``allowed`` (flags by row).

    ``live`` flags the elements of ``ascending`` that are not deleted, None for all.
    """
    flags = np.zeros(len(ascending), np.bool_)
    known = int(np.searchsorted(ascending, ascending.dtype.type(len(allowed))))
    flags[:known] = allowed[ascending[:known]]
    return flags if live is None else flags & live
