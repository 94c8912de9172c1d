"""Query terms: looked up in every segment, and weighted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.lexical.live_segments import CollectionStatistics
from twofold.lexical.segment import MAX_TERMS
from twofold.lexical.vocabulary import hash_terms
from twofold.protocols import Analyzer, Scorer, SpanAnalyzer
from twofold.types import TermSpan

_SCALE_BITS = 40  # scores are integers in units of 2**-40, coarser if the sum would exceed 61 bits
_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]
_NO_NORMS = np.empty(0)


@dataclass(frozen=True, slots=True)
class WeightedQueries:
    """The distinct terms of several queries, one query after the other.

    ``query_ptr`` (queries + 1) has the range of each query's terms. ``counts`` are occurrences in
    the query, ``frequencies`` document frequencies, and ``weights`` 0 for unknown terms.
    ``local_terms`` has the terms' numbers in each segment, -1 where it lacks a term. ``scales``
    (queries,) are the factors that turn scores into integers. ``missing_scores`` (queries,)
    are the scores of passages without any query term, added to every score. ``arrays`` has each
    segment's forward index, weight table and norms, as kernels take them.
    """

    query_ptr: _Ints
    terms: tuple[str, ...]
    counts: _Ints
    frequencies: _Ints
    idf: _Floats
    weights: _Floats
    local_terms: tuple[_Ints, ...]
    scales: _Floats
    missing_scores: Sequence[float]
    arrays: Sequence[tuple[Any, _Floats, _Floats]]
    scorer: Scorer
    collection: CollectionStatistics

    def term_range(self, query: int) -> slice:
        """Return the range of one query's terms."""
        return slice(int(self.query_ptr[query]), int(self.query_ptr[query + 1]))


def weight_queries(
    queries: Sequence[Sequence[str]], collection: CollectionStatistics, scorer: Scorer
) -> WeightedQueries:
    """Look up and weight the terms of queries, repeats included."""
    from twofold.lexical.kernels import top_k as kernels

    numbers: dict[str, int] = {}
    query_terms: list[int] = []
    occurrences: list[int] = []
    ends = [0]
    for terms in queries:
        counter = Counter(terms)
        query_terms += [numbers.setdefault(term, len(numbers)) for term in counter]
        occurrences += counter.values()
        ends.append(len(query_terms))
    query_ptr, counts = np.array(ends, np.int64), np.array(occurrences, np.int64)
    expand = np.array(query_terms, np.int64)
    high, low = hash_terms(numbers)
    frequencies = np.zeros(len(numbers), np.int64)
    local_terms: list[_Ints] = []
    for live in collection.segments:
        found = np.empty(len(numbers), np.int64)
        hashes, post_ptr = live.segment.vocabulary.hashes, live.segment.post_ptr
        deleted = live.deleted_frequencies
        kernels.lookup(hashes[0], hashes[1], high, low, post_ptr, deleted, found, frequencies)
        local_terms.append(found[expand])
    known = frequencies > 0
    idf = np.zeros(len(numbers))
    if known.any():
        idf[known] = scorer.idf(frequencies[known], collection.term_statistics(scorer))
    idf = idf[expand]
    weights = _cosine_weights(counts, idf, query_ptr, scorer) if scorer.cosine else counts * idf
    names = tuple(numbers)
    in_order = tuple([names[number] for number in query_terms])
    of_terms = in_order, counts, frequencies[expand], idf, weights, tuple(local_terms)
    scales = score_scales(weights, query_ptr, scorer)
    missing = scorer.missing_term_weight
    missing_scores = [
        missing * float(weights[start:end].sum()) if missing else 0.0
        for start, end in pairwise(query_ptr.tolist())
    ]
    norms = collection.norms(scorer) if scorer.cosine else [_NO_NORMS] * len(collection.segments)
    average_length = collection.average_length(scorer)
    arrays = [
        (live.segment.forward, live.weight_table(scorer, average_length), of_segment)
        for live, of_segment in zip(collection.segments, norms, strict=True)
    ]
    return WeightedQueries(query_ptr, *of_terms, scales, missing_scores, arrays, scorer, collection)


def score_scales(weights: _Floats, query_ptr: _Ints, scorer: Scorer) -> _Floats:
    """Return the powers of 2 that make the scores of each query integers of at most 61 bits.

    They depend on the query and the statistics alone, not on how passages are stored.
    """
    limit = 1.0 if scorer.cosine else _max_tf_weight(scorer)
    scales = np.full(len(query_ptr) - 1, 2.0**_SCALE_BITS)
    if np.abs(weights).sum() * limit < 2.0 ** (61 - _SCALE_BITS):
        return scales
    for query in range(len(scales)):
        top = np.abs(weights[query_ptr[query] : query_ptr[query + 1]]).sum() * limit
        scales[query] = 2.0 ** min(_SCALE_BITS, 61 - int(np.ceil(np.log2(max(top, 1.0)))))
    return scales


@lru_cache(maxsize=64)
def _max_tf_weight(scorer: Scorer) -> float:
    """Return an upper bound, at least 1, of a scoring function's term-frequency weights."""
    return max(float(scorer.tf_weight(np.array([MAX_TERMS]), np.array([1]), 1.0)[0]), 1.0)


def _cosine_weights(counts: _Ints, idf: _Floats, query_ptr: _Ints, scorer: Scorer) -> _Floats:
    """Return the components of unit query vectors, times the idf in the passages' vectors."""
    values = scorer.tf_weight(counts, np.ones(len(counts)), 1.0) * idf
    for query in range(len(query_ptr) - 1):
        terms = slice(query_ptr[query], query_ptr[query + 1])
        length = float(np.sqrt((values[terms] ** 2).sum()))
        values[terms] /= length if length > 0 else 1.0
    return np.asarray(values * idf)


def find_query_spans(analyzer: Analyzer, query: str, texts: Sequence[str]) -> list[list[TermSpan]]:
    """Return, for each text, the query terms' spans; none if the analyzer can't find them."""
    if not isinstance(analyzer, SpanAnalyzer):
        return [[] for _ in texts]
    terms = set(analyzer.query_terms(query))
    return [
        [span for span in analyzer.spans(text) if span.term in terms] if text else []
        for text in texts
    ]
