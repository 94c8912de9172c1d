"""Queries as a whole index sees them: terms looked up in every segment, and weighed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from twofold.lexical.live_segments import CollectionStatistics, LiveSegment
from twofold.lexical.segment import MOST_TERMS
from twofold.lexical.vocabulary import hash_terms
from twofold.protocols import Scorer
from twofold.types import LegHits

_FINEST = 40
"""Scores are counted in units of 2**-40, or coarser where their sum would not fit 61 bits."""


@dataclass(frozen=True, slots=True)
class WeightedQueries:
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
    collection: CollectionStatistics
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


def weight_queries(
    queries: Sequence[Sequence[str]],
    collection: CollectionStatistics,
    scorer: Scorer,
) -> WeightedQueries:
    """Look up and weigh the terms of queries, repeats included."""
    from twofold.lexical.kernels import top_k as kernels

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
    return WeightedQueries(
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


_ONE_BY_ONE = 32
"""Documents up to which picking each by itself takes less time than numpy's calls."""


@dataclass(frozen=True, slots=True)
class Found:
    """Scores and documents (segments, queries, width), best first, and how many each has."""

    scores: NDArray[np.int64]
    docs: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def nothing(cls, segments: int, queries: int, width: int) -> "Found":
        """Return room for what segments will find."""
        shape = (segments, queries, width)
        return cls(np.empty(shape, np.int64), np.empty(shape, np.int64), np.zeros(shape[:2], int))


def select_top(
    found: Found, segments: Sequence[LiveSegment], questions: WeightedQueries, k: int
) -> list[LegHits]:
    """Return the best ``k`` hits of each query."""
    from twofold.lexical.kernels import top_k as kernels

    scores, owners, docs, counts, unclear = kernels.merge(found.scores, found.docs, found.sizes, k)
    for query in np.flatnonzero(unclear).tolist():
        some = slice(0, int(counts[query]))
        order = _by_id(segments, scores[query, some], owners[query, some], docs[query, some])
        owners[query, some] = owners[query, order]
        docs[query, some] = docs[query, order]
    hits: list[LegHits] = []
    sizes = np.minimum(counts, k).tolist()
    for query, (size, scale) in enumerate(zip(sizes, questions.scales.tolist(), strict=True)):
        some = slice(0, size)
        rows = _rows(segments, owners[query, some], docs[query, some])
        hits.append(LegHits(rows, scores[query, some] / scale + questions.shift(query)))
    return hits


def _rows(
    segments: Sequence[LiveSegment], owners: NDArray[np.int64], docs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the rows of documents of several segments."""
    if len(docs) <= _ONE_BY_ONE:
        pairs = zip(owners.tolist(), docs.tolist(), strict=True)
        return np.array([segments[owner].segment.rows[doc] for owner, doc in pairs], np.int64)
    rows = np.empty(len(docs), np.int64)
    for at, each in enumerate(segments):
        mine = owners == at
        rows[mine] = each.segment.rows[docs[mine]]
    return rows


def _by_id(
    segments: Sequence[LiveSegment],
    scores: NDArray[np.int64],
    owners: NDArray[np.int64],
    docs: NDArray[np.int64],
) -> list[int]:
    """Return the order of documents with descending scores, where ids decide ties."""
    tied = np.zeros(len(scores), np.bool_)
    tied[1:] = scores[1:] == scores[:-1]
    tied[:-1] |= tied[1:]
    pairs = zip(owners.tolist(), docs.tolist(), tied.tolist(), strict=True)
    ids = [segments[owner].segment.ids[doc] if unclear else "" for owner, doc, unclear in pairs]
    values = scores.tolist()
    return sorted(range(len(ids)), key=lambda at: (-values[at], ids[at]))
