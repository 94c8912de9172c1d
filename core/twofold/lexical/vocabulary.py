"""A segment's terms, sorted by hash, so that lookup and merging need no Python dictionary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.segments import PackedStrings

Hashes = NDArray[np.uint64]
"""(2, n): the high and the low halves of each term's 128-bit xxh3 hash.

The hash is taken for the term: among a billion terms, two share one with probability 1e-21.
"""


def hash_terms(terms: Iterable[str]) -> Hashes:
    """Return the (2, n) hashes of ``terms``; raise InputError for half a surrogate pair."""
    try:
        digests = b"".join([xxhash.xxh3_128_digest(term.encode()) for term in terms])
    except UnicodeEncodeError as error:
        raise InputError(
            f"the analyzer gave a term with half a surrogate pair, which is no text: "
            f"{error.object!r:.60}"
        ) from None
    # A digest is big-endian, high half first.
    halves = np.frombuffer(digests, ">u8").reshape(-1, 2)
    return np.ascontiguousarray(halves.T.astype(np.uint64))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Terms of one segment; a term's number is its place in hash order."""

    hashes: Hashes
    terms: PackedStrings

    @classmethod
    def of(cls, terms: Sequence[str]) -> tuple["Vocabulary", NDArray[np.int64]]:
        """Return the vocabulary of distinct ``terms`` and the number given to each of them."""
        hashes = hash_terms(terms)
        by_hash = _argsort(hashes)
        numbers = np.empty(len(terms), np.int64)
        numbers[by_hash] = np.arange(len(terms))
        packed = PackedStrings.of([terms[place] for place in by_hash])
        return cls(np.ascontiguousarray(hashes[:, by_hash]), packed), numbers

    @classmethod
    def union(
        cls, parts: Sequence["Vocabulary"], used: Sequence[NDArray[np.bool_]]
    ) -> tuple["Vocabulary", list[NDArray[np.int64]]]:
        """Return the used terms of several vocabularies, and each part's old to new numbers.

        The new numbers keep each part's order; those of unused terms are meaningless.
        """
        kept = [part.hashes[:, keep] for part, keep in zip(parts, used, strict=True)]
        hashes = np.concatenate(kept, axis=1)
        by_hash, fresh, numbers = numbered(hashes)
        maps: list[NDArray[np.int64]] = []
        start = 0
        for part, keep in zip(parts, used, strict=True):
            taken = int(keep.sum())
            mapping = np.zeros(len(part), np.int64)
            mapping[keep] = numbers[start : start + taken]
            maps.append(mapping)
            start += taken
        strings = PackedStrings.concatenate(
            [part.terms.take(np.flatnonzero(keep)) for part, keep in zip(parts, used, strict=True)]
        )
        packed = strings.take(by_hash[fresh])
        return cls(np.ascontiguousarray(hashes[:, by_hash[fresh]]), packed), maps

    def __len__(self) -> int:
        return len(self.terms)


def numbered(
    hashes: Hashes,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Number terms by their hash, equal ones alike.

    Returns their order by hash, which of that order are the first of their kind, and the number
    of each term.
    """
    by_hash = _argsort(hashes)
    ordered = hashes[:, by_hash]
    fresh = np.ones(len(by_hash), np.bool_)
    fresh[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    numbers = np.empty(len(by_hash), np.int64)
    numbers[by_hash] = np.cumsum(fresh) - 1
    return by_hash, fresh, numbers


def _argsort(hashes: Hashes) -> NDArray[np.int64]:
    """Return the order of (2, n) hashes by their high, then their low half; stable."""
    return np.lexsort((hashes[1], hashes[0]))
