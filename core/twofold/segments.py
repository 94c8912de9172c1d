"""Building blocks of index segments: packed strings, row look-up and the merge policy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from twofold.types import Mask, Rows

MERGE_FACTOR = 4
"""Segments of one size tier that are merged into one."""
_FEW = 8  # strings that are scanned for, which is faster than to hash all others first
_HASHED = 1 << 16  # strings hashed at a time
_BASE = 0x9E3779B97F4A7C15  # odd, so that no power of it is 0
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


class StringLookup:
    """Finds strings among packed ones, by hash after the first few."""

    def __init__(self) -> None:
        self._hashes: NDArray[np.uint64] | None = None  # ascending
        self._order: NDArray[np.int64] = np.empty(0, np.int64)
        self._looked_up = 0

    def find(
        self, strings: PackedStrings, wanted: Sequence[str], hashes: NDArray[np.uint64]
    ) -> Iterator[tuple[int, int]]:
        """Yield (position in ``wanted``, position in ``strings``) of each equal pair.

        Args:
            strings: The packed strings, the same ones in every call.
            wanted: The strings to find.
            hashes: Their ``hash_strings``.
        """
        self._looked_up += len(wanted)
        if self._hashes is None and self._looked_up <= _FEW:
            for at, string in enumerate(wanted):
                yield from ((at, position) for position in strings.find(string))
            return
        if self._hashes is None:
            unsorted = hash_strings(strings)
            self._order = np.argsort(unsorted, kind="stable")
            self._hashes = unsorted[self._order]
        if not len(self._hashes):
            return
        first = np.searchsorted(self._hashes, hashes)
        found = self._hashes[np.minimum(first, len(self._hashes) - 1)] == hashes
        for at in np.flatnonzero(found).tolist():
            last = np.searchsorted(self._hashes, hashes[at], "right")
            for position in self._order[first[at] : last].tolist():
                if strings[position] == wanted[at]:
                    yield at, position


def hash_strings(strings: PackedStrings) -> NDArray[np.uint64]:
    """Return a 64-bit polynomial hash of the bytes of each string."""
    lengths = np.diff(strings.offsets)
    powers = np.full(int(lengths.max(initial=0)) + 1, _BASE, np.uint64)
    powers[0] = 1
    np.cumprod(powers, out=powers)
    hashes = np.empty(len(strings), np.uint64)
    for start in range(0, len(strings), _HASHED):
        offsets = strings.offsets[start : start + _HASHED + 1]
        starts, counts = offsets[:-1] - offsets[0], lengths[start : start + _HASHED]
        places = np.arange(offsets[-1] - offsets[0]) - np.repeat(starts, counts)
        sums = np.zeros(len(places) + 1, np.uint64)
        data = strings.data[offsets[0] : offsets[-1]].astype(np.uint64) + np.uint64(1)
        np.cumsum(data * powers[places], out=sums[1:])
        hashes[start : start + _HASHED] = sums[offsets[1:] - offsets[0]] - sums[starts]
    return hashes


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


def find_runs(rows: Rows, ascending: AscendingRows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the start and the length of each of ``rows``' run in ``ascending``; 0 if missing.

    ``ascending`` may have a row several times, one after the other.
    """
    if not len(ascending):
        return np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    inside = (rows >= int(ascending[0])) & (rows <= int(ascending[-1]))
    # Same dtype: otherwise numpy would convert the whole array for each search.
    searched = np.where(inside, rows, int(ascending[0])).astype(ascending.dtype)
    starts = np.searchsorted(ascending, searched)
    lengths = np.searchsorted(ascending, searched, side="right") - starts
    return starts, np.where(inside, lengths, 0)


def expand_runs(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of all elements of runs, one run after the other."""
    offsets = run_offsets(lengths)
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])


def delete_rows(
    live: Mask | None, ascending: AscendingRows, dead: Rows, *, repeated: bool = False
) -> Mask | None:
    """Return ``live`` with the rows in ``dead`` cleared; None if all are live.

    ``live`` has a flag for each row of ``ascending``. Rows that ``ascending`` lacks are ignored.
    ``repeated``: whether ``ascending`` may have a row several times.
    """
    if repeated:
        positions = expand_runs(*find_runs(dead, ascending))
    else:
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
