"""Queries as a whole index sees them: terms looked up in every segment, and weighed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from twofold.lexical.collection import Collection
from twofold.lexical.segment import MOST_TERMS
from twofold.lexical.vocabulary import hash_terms
from twofold.protocols import Scorer

_FINEST = 40
"""Scores are counted in units of 2**-40, or coarser where their sum would not fit 61 bits."""


@dataclass(frozen=True, slots=True)
class Questions:
    """The distinct terms of several queries, one query's after the other's.

    ``query_ptr`` (queries + 1) is each query's range; ``counts``, ``frequencies`` (in how many
    passages), ``idf`` and ``weights`` (0 for unknown terms) have one value a term;
    ``local`` has the terms' numbers in each segment, -1 where it lacks them. ``scales``
    (queries) are what scores are multiplied by to become integers.
    """

    query_ptr: NDArray[np.int64]
    terms: tuple[str, ...]
    counts: NDArray[np.int64]
    frequencies: NDArray[np.int64]
    idf: NDArray[np.float64]
    weights: NDArray[np.float64]
    local: tuple[NDArray[np.int64], ...]
    scorer: Scorer
    collection: Collection
    scales: NDArray[np.float64]

    @property
    def average(self) -> float:
        """The passages' mean length in terms."""
        return self.collection.average

    def __len__(self) -> int:
        return len(self.query_ptr) - 1

    def of(self, query: int) -> slice:
        """Return where the terms of one query are."""
        return slice(int(self.query_ptr[query]), int(self.query_ptr[query + 1]))

    def shift(self, query: int) -> float:
        """Return what a passage without any of its terms would score; added to all that share."""
        absent = self.scorer.absent
        return absent * float(self.weights[self.of(query)].sum()) if absent else 0.0


def asked(
    queries: Sequence[Sequence[str]],
    collection: Collection,
    scorer: Scorer,
) -> Questions:
    """Look up and weigh the terms of queries, repeats included."""
    from twofold.lexical import kernels

    numbers: dict[str, int] = {}
    places: list[int] = []
    counts: list[int] = []
    query_ptr = np.zeros(len(queries) + 1, np.int64)
    for query, terms in enumerate(queries):
        own: dict[int, int] = {}
        for term in terms:
            number = numbers.setdefault(term, len(numbers))
            own[number] = own.get(number, 0) + 1
        places += own
        counts += own.values()
        query_ptr[query + 1] = len(places)
    high, low = hash_terms(numbers)
    frequencies = np.zeros(len(numbers), np.int64)
    local: list[NDArray[np.int64]] = []
    expand = np.array(places, np.int64)
    for each in collection.segments:
        found = np.empty(len(numbers), np.int64)
        hashes = each.segment.vocabulary.hashes
        kernels.lookup(
            hashes[0], hashes[1], high, low, each.segment.post_ptr, each.lost, found, frequencies
        )
        local.append(found[expand])
    known = frequencies > 0
    idf = np.zeros(len(numbers))
    if known.any():
        idf[known] = scorer.idf(frequencies[known], collection.statistics)
    occurrences = np.array(counts, np.int64)
    weights = occurrences * idf[expand]
    if scorer.cosine:
        weights = _normed(occurrences, idf[expand], query_ptr, scorer)
    names = tuple(numbers)
    return Questions(
        query_ptr=query_ptr,
        terms=tuple(names[place] for place in places),
        counts=occurrences,
        frequencies=frequencies[expand],
        idf=idf[expand],
        weights=weights,
        local=tuple(local),
        scorer=scorer,
        collection=collection,
        scales=_scales(weights, query_ptr, scorer),
    )


def _scales(
    weights: NDArray[np.float64], query_ptr: NDArray[np.int64], scorer: Scorer
) -> NDArray[np.float64]:
    """Return the powers of 2 that make the scores of each query integers of at most 61 bits.

    They depend on the query and the statistics alone, never on how passages are stored.
    """
    part = 1.0 if scorer.cosine else _greatest_part(scorer)
    scales = np.full(len(query_ptr) - 1, 2.0**_FINEST)
    if np.abs(weights).sum() * part < 2.0 ** (61 - _FINEST):
        return scales
    for query in range(len(scales)):
        top = np.abs(weights[query_ptr[query] : query_ptr[query + 1]]).sum() * part
        scales[query] = 2.0 ** min(_FINEST, 61 - int(np.ceil(np.log2(max(top, 1.0)))))
    return scales


@lru_cache(maxsize=64)
def _greatest_part(scorer: Scorer) -> float:
    """Return a bound of a scoring function's parts, at least 1."""
    return max(float(scorer.parts(np.array([MOST_TERMS]), np.array([1]), 1.0)[0]), 1.0)


def _normed(
    counts: NDArray[np.int64],
    idf: NDArray[np.float64],
    query_ptr: NDArray[np.int64],
    scorer: Scorer,
) -> NDArray[np.float64]:
    """Return the weights of terms in queries whose vectors have length 1, times their idf."""
    values = scorer.parts(counts, np.ones(len(counts)), 1.0) * idf
    for query in range(len(query_ptr) - 1):
        own = slice(query_ptr[query], query_ptr[query + 1])
        length = float(np.sqrt((values[own] ** 2).sum()))
        values[own] /= length if length > 0 else 1.0
    return np.asarray(values * idf)
