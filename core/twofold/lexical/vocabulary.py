"""The vocabulary of a segment, sorted by hash, so that look-up and merging need no dictionary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from twofold.errors import CorruptIndexError, InputError
from twofold.segment_checks import check_strings, check_type
from twofold.segments import PackedStrings

_Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
"""(2, n): high and low halves of 128-bit xxh3 hashes; a billion terms collide at p = 1e-21."""


def hash_terms(terms: Iterable[str]) -> Hashes:
    """Return the (2, n) hashes of ``terms``; raise InputError for half a surrogate pair."""
    try:
        digests = b"".join([xxhash.xxh3_128_digest(term.encode()) for term in terms])
    except UnicodeEncodeError as error:
        raise InputError(
            f"a term must not contain half a surrogate pair, got {error.object!r:.60} from the "
            "analyzer"
        ) from None
    # A digest is big-endian, high half first.
    halves = np.frombuffer(digests, ">u8").reshape(-1, 2)
    return np.ascontiguousarray(halves.T.astype(np.uint64))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Terms of one segment, numbered in the order of their hashes."""

    hashes: Hashes
    terms: PackedStrings

    @classmethod
    def from_terms(cls, terms: Sequence[str]) -> tuple["Vocabulary", _Ints]:
        """Return the vocabulary of distinct ``terms``, and the number of each."""
        hashes = hash_terms(terms)
        by_hash, _, numbers = number_by_hash(hashes)
        packed = PackedStrings.from_strings([terms[at] for at in by_hash])
        return cls(np.ascontiguousarray(hashes[:, by_hash]), packed), numbers

    @classmethod
    def union(
        cls, parts: Sequence["Vocabulary"], used: Sequence[NDArray[np.bool_]]
    ) -> tuple["Vocabulary", list[_Ints]]:
        """Return a vocabulary of the terms that ``used`` flags, and new numbers of each part's.

        The new numbers keep the order of each part. Unused terms have meaningless numbers.
        """
        pairs = list(zip(parts, used, strict=True))
        hashes = np.concatenate([part.hashes[:, keep] for part, keep in pairs], axis=1)
        by_hash, is_first, numbers = number_by_hash(hashes)
        new_numbers = [np.zeros(len(part), np.int64) for part in parts]
        start = 0
        for mapping, keep in zip(new_numbers, used, strict=True):
            end = start + int(keep.sum())
            mapping[keep] = numbers[start:end]
            start = end
        strings = [part.terms.take(np.flatnonzero(keep)) for part, keep in pairs]
        distinct = by_hash[is_first]
        packed = PackedStrings.concatenate(strings).take(distinct)
        return cls(np.ascontiguousarray(hashes[:, distinct]), packed), new_numbers

    def check(self) -> None:
        """Raise CorruptIndexError unless each term has a hash, and the hashes ascend."""
        check_strings("term_data", self.terms)
        if self.hashes.shape != (2, len(self)):
            raise CorruptIndexError("its terms have no hashes")
        high, low = self.hashes
        for half in (high, low):
            check_type("term_hashes", half, len(self), np.uint64)
        same = high[1:] == high[:-1]
        if not ((high[1:] > high[:-1]) | (same & (low[1:] > low[:-1]))).all():
            raise CorruptIndexError("its terms are not in the order of their hashes")

    def __len__(self) -> int:
        return len(self.terms)


def number_by_hash(hashes: Hashes) -> tuple[_Ints, NDArray[np.bool_], _Ints]:
    """Number terms in the order of their hashes; equal terms have the same number.

    Returns the stable order, flags of the first of equal terms in this order, and the numbers.
    """
    by_hash = np.lexsort((hashes[1], hashes[0]))
    ordered = hashes[:, by_hash]
    is_first = np.ones(len(by_hash), np.bool_)
    is_first[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    numbers = np.empty(len(by_hash), np.int64)
    numbers[by_hash] = np.cumsum(is_first) - 1
    return by_hash, is_first, numbers
