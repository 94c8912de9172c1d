"""The lexical leg: an incremental inverted index, exact after any history of writes."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.lexical.live_segments import CollectionStatistics, LiveSegment
from twofold.lexical.query_terms import WeightedQueries, weight_queries
from twofold.lexical.scorers import BM25
from twofold.lexical.segment import PostingsSegment
from twofold.protocols import Analyzer, Scorer
from twofold.segments import allowed_flags, find_positions, next_merge
from twofold.types import LegHits, Mask, Moments, Rows, Scores, TermMatch

_ROUNDING = 1e-13  # share of the mean square below which the variance is 0
_LOOKUP_COST = 16  # postings that are read in the time of finding one term in one passage
_MAX_HITS = 1 << 20  # hits gathered at a time, which bounds the queries searched together
_MIN_FLOOR = -(1 << 62)
_LOOP_LIMIT = 32  # documents up to which a Python loop is faster than numpy calls
_NO_FLAGS = np.empty(0, np.bool_)
_NO_FLAGS.flags.writeable = False
_BM25 = BM25()


class PostingsIndex:
    """An incremental inverted index in memory, or over memory-mapped segments.

    Hits and scores depend on the live passages alone: statistics are integers that stay exact
    under deletes, and scores are sums of fixed-point integers. Passages without terms
    count for the scoring functions that count them. ``scorer`` is used for queries that name none.
    """

    def __init__(
        self, analyzer: Analyzer, scorer: Scorer = _BM25, segments: Sequence[LiveSegment] = ()
    ) -> None:
        self.analyzer = analyzer
        self.scorer = scorer
        self._collection = CollectionStatistics(segments)
        # Completing and explaining a query needs the terms of its search again.
        self._last: tuple[tuple[tuple[str, ...], Scorer], WeightedQueries] | None = None

    def add(self, rows: Rows, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Index ``texts`` under ascending ``rows`` above all earlier ones; ``ids`` decide ties."""
        documents = [self.analyzer.passage_terms(text) for text in texts]
        built = PostingsSegment.build(rows, ids, documents)
        segments = [*self.segments, LiveSegment.from_segment(built)]
        while (run := next_merge([len(live) for live in segments])) is not None:
            segments[run] = [_merge_segments(segments[run])]
        self._collection = CollectionStatistics(segments)

    def merge(self) -> None:
        """Merge all segments into one without the deleted passages; search results stay equal."""
        if self.segments:
            self._collection = CollectionStatistics([_merge_segments(self.segments)])

    def delete(self, rows: Rows) -> None:
        """Delete rows; unknown ones are ignored."""
        self._collection = CollectionStatistics([live.without(rows) for live in self.segments])

    @property
    def segments(self) -> tuple[LiveSegment, ...]:
        """The segments in the order of their rows."""
        return self._collection.segments

    def search(
        self, query: str, k: int, allowed: Mask | None = None, scorer: Scorer | None = None
    ) -> LegHits:
        """Return the best ``k`` allowed rows that share a term with ``query``."""
        return self.search_many([query], k, allowed, scorer)[0]

    def search_many(
        self,
        queries: Sequence[str],
        k: int,
        allowed: Mask | None = None,
        scorer: Scorer | None = None,
    ) -> list[LegHits]:
        """Return for each query the best ``k`` allowed rows that share a term with it."""
        collection = self._collection
        width = min(k, collection.largest) * len(collection.segments)
        step = max(_MAX_HITS // max(width, 1), 1)
        return [
            hits
            for start in range(0, len(queries), step)
            for hits in self._search_batch(queries[start : start + step], k, allowed, scorer)
        ]

    def scores(self, query: str, rows: Rows, scorer: Scorer | None = None) -> Scores:
        """Return the score of each row, 0.0 where it shares no term with ``query``."""
        from twofold.lexical.kernels import forward

        queries = self._weight([query], scorer)
        weights, scale, shift = queries.weights, queries.scales[0], queries.missing_scores[0]
        totals = np.zeros(len(rows))
        rows = np.array(rows, np.int64)  # a new array: one type for the compiler
        for number, live in enumerate(queries.collection.segments):
            place = rows, live.segment.rows, live.live if live.live is not None else _NO_FLAGS
            terms, arrays = queries.local_terms[number], queries.arrays[number]
            forward.doc_scores(*place, terms, weights, scale, shift, *arrays, totals)
        return totals

    def term_coverage(self, query: str) -> float:
        """Return the share of a query's distinct terms that occur anywhere; 1.0 without terms."""
        # The scoring function doesn't matter. With the last one, the last result may serve.
        queries = self._weight([query], self._last[0][1] if self._last is not None else None)
        known, terms = np.count_nonzero(queries.frequencies), len(queries.terms)
        return float(known) / terms if terms else 1.0

    def moments(self, query: str, scorer: Scorer | None = None) -> Moments:
        """Return the mean and standard deviation of the scores of all live passages.

        With query weights w, and sums S1, S2 of a term's passage weights and squares, the mean sum
        w S1 / N is exact. The variance assumes independent terms: sum w^2 (S2 / N - (S1 / N)^2).
        """
        queries = self._weight([query], scorer)
        weights, shift = queries.weights, queries.missing_scores[0]
        first, second = np.zeros(len(weights)), np.zeros(len(weights))
        passages = sharing = 0
        for number, live in enumerate(queries.collection.segments):
            passages += len(live) if live.live is None else int(np.count_nonzero(live.live))
            segment = live.segment
            _, table, norms = queries.arrays[number]
            found: list[NDArray[np.uint32]] = [np.empty(0, np.uint32)]
            for at, term in enumerate(queries.local_terms[number].tolist()):
                if term < 0:
                    continue
                run = slice(int(segment.post_ptr[term]), int(segment.post_ptr[term + 1]))
                docs, codes = segment.post_doc[run], segment.post_code[run]
                if live.live is not None:
                    alive = live.live[docs]
                    docs, codes = docs[alive], codes[alive]
                values = table[codes] * norms[docs] if len(norms) else table[codes]
                first[at] += values.sum()
                second[at] += values @ values
                found.append(docs)
            if shift:
                sharing += len(np.unique(np.concatenate(found)))
        return moments_of_sums(weights, first, second, passages, shift, sharing)

    def term_matches(
        self, query: str, row: int, scorer: Scorer | None = None
    ) -> tuple[TermMatch, ...]:
        """Return what each query term in a row's passage adds to its score, highest first.

        Missing terms are included if the scoring function counts them.
        """
        from twofold.lexical.kernels import forward

        queries = self._weight([query], scorer)
        scorer = queries.scorer
        average_length = queries.collection.average_length(scorer)
        missing = scorer.missing_term_weight
        matches: list[TermMatch] = []
        for number, live in enumerate(queries.collection.segments):
            docs = find_positions(np.array([row]), live.segment.rows, live.live)
            if docs[0] < 0:
                continue
            terms, arrays = queries.local_terms[number], queries.arrays[number]
            weights, scale = queries.weights, queries.scales[0]
            scores, codes = forward.term_scores(docs, terms, weights, scale, *arrays)
            if (codes < 0).all():
                continue
            length = live.segment.lengths[docs]
            for at, term in enumerate(queries.terms):
                code = int(codes[0, at])
                count, idf = int(queries.counts[at]), float(queries.idf[at])
                if code < 0 and (not missing or not queries.frequencies[at]):
                    continue
                score = float(scores[0, at] / scale) + float(weights[at]) * missing
                matches.append(
                    TermMatch(
                        term=term,
                        query_frequency=count,
                        frequency=int(live.segment.pair_tf[code]) if code >= 0 else 0,
                        document_frequency=int(queries.frequencies[at]),
                        idf=idf,
                        length=int(length[0]),
                        average_length=average_length,
                        length_norm=float(scorer.length_norm(length, average_length)[0]),
                        tf_weight=score / (count * idf) if idf else 0.0,
                        contribution=score,
                    )
                )
        return tuple(sorted(matches, key=lambda match: (-match.contribution, match.term)))

    def _search_batch(
        self, queries: Sequence[str], k: int, allowed: Mask | None, scorer: Scorer | None
    ) -> list[LegHits]:
        """Return the hits of a batch of queries, small enough for _MAX_HITS, in all segments."""
        from twofold.lexical.kernels import top_k as kernels

        weighted = self._weight(queries, scorer)
        segments = weighted.collection.segments
        width = max(min(k, weighted.collection.largest), 0)
        shape = len(segments), len(queries), width
        found = np.empty(shape, np.int64), np.empty(shape, np.int64), np.zeros(shape[:2], np.int64)
        floors = np.full(len(queries), _MIN_FLOOR, np.int64)
        # The largest segment first: its k-th best score is a bound for the others.
        for number in weighted.collection.by_size:
            if width and (weighted.local_terms[number] >= 0).any():
                best = found[0][number], found[1][number], found[2][number]
                _search_segment(weighted, number, k, allowed, floors, best)
        scores, owners, docs, counts, tied = kernels.merge(*found, k)
        for query in np.flatnonzero(tied).tolist():
            some = query, slice(0, int(counts[query]))
            order = _order_by_id(segments, scores[some], owners[some], docs[some])
            owners[some], docs[some] = owners[some][order], docs[some][order]
        hits: list[LegHits] = []
        for query, size in enumerate(np.minimum(counts, k).tolist()):
            owner, doc = owners[query, :size], docs[query, :size]
            if size <= _LOOP_LIMIT:
                pairs = zip(owner.tolist(), doc.tolist(), strict=True)
                rows = np.array([segments[at].segment.rows[one] for at, one in pairs], np.int64)
            else:
                rows = np.empty(size, np.int64)
                for number, live in enumerate(segments):
                    here = owner == number
                    rows[here] = live.segment.rows[doc[here]]
            total = scores[query, :size] / float(weighted.scales[query])
            hits.append(LegHits(rows, total + weighted.missing_scores[query]))
        return hits

    def _weight(self, queries: Sequence[str], scorer: Scorer | None) -> WeightedQueries:
        """Look up and weight the terms of queries; the last result is cached."""
        scorer = scorer if scorer is not None else self.scorer
        collection, last = self._collection, self._last
        key = (tuple(queries), scorer)
        if last is not None and last[0] == key and last[1].collection is collection:
            return last[1]
        terms = [self.analyzer.query_terms(query) for query in queries]
        weighted = weight_queries(terms, collection, scorer)
        self._last = (key, weighted)
        return weighted


def moments_of_sums(
    weights: Scores, first: Scores, second: Scores, passages: int, shift: float, sharing: int
) -> Moments:
    """Return the moments of scores from sums over the postings of each term.

    Args:
        weights: The terms' weights in the query (terms,).
        first: The sum of each term's weights in passages (terms,).
        second: The sum of the squares of these (terms,).
        passages: Number of passages.
        shift: What the scoring function adds to every passage that shares a term.
        sharing: How many share a term; only read with a ``shift``.
    """
    if not passages:
        return Moments(0.0, 0.0)
    means = weights * first / passages
    squares = weights * weights * second / passages
    mean, variance = float(means.sum()), float((squares - means * means).sum())
    if variance <= _ROUNDING * float(squares.sum()):
        variance = 0.0
    # Some scorers add a constant to every passage that shares a term, and 0 to others.
    share = sharing / passages
    variance += shift * (1 - share) * (shift * share + 2 * mean)
    return Moments(mean + shift * share, math.sqrt(max(variance, 0.0)))


def _merge_segments(segments: Sequence[LiveSegment]) -> LiveSegment:
    """Return one segment with the live documents of ``segments``."""
    parts, live = [each.segment for each in segments], [each.live for each in segments]
    return LiveSegment.from_segment(PostingsSegment.merge(parts, live))


def _search_segment(
    queries: WeightedQueries,
    number: int,
    k: int,
    allowed: Mask | None,
    floors: NDArray[np.int64],
    found: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    """Search segment ``number``, raising ``floors`` to the k-th best score of each query.

    Writes to ``found`` the best scores and documents (queries, k), and their number (queries,).
    """
    from twofold.lexical.kernels import forward
    from twofold.lexical.kernels import top_k as kernels

    live, terms = queries.collection.segments[number], queries.local_terms[number]
    segment = live.segment
    if allowed is not None:
        flags = allowed_flags(segment.rows, allowed, live.live)
        flags.flags.writeable = False
    else:
        flags = live.live if live.live is not None else _NO_FLAGS
    direct = _find_direct_docs(queries, number, flags, filtered=allowed is not None)
    if direct:
        terms = terms.copy()
        for query in direct:
            terms[queries.term_range(query)] = -1
    scores, docs, sizes = found
    arrays = queries.arrays[number]
    kernels.top(
        (queries.query_ptr, terms, queries.weights, queries.scales),
        (segment.post_ptr, segment.post_doc, segment.post_code),
        (segment.long_terms, segment.bound_ptr, segment.bound_code),
        arrays[1],
        segment.order,
        flags,
        floors,
        k,
        found,
    )
    for query, candidates in direct.items():
        of_query = queries.term_range(query)
        weighted = queries.local_terms[number][of_query], queries.weights[of_query]
        scale = queries.scales[query]
        best, best_docs = forward.top_of(
            candidates, *weighted, scale, *arrays, segment.order, min(k, len(segment))
        )
        sizes[query] = len(best)
        scores[query, : len(best)], docs[query, : len(best)] = best, best_docs
        if len(best) == k:
            floors[query] = max(floors[query], best[-1])


def _find_direct_docs(
    queries: WeightedQueries, number: int, flags: NDArray[np.bool_], *, filtered: bool
) -> dict[int, NDArray[np.int64]]:
    """Return, by query, the documents to score one by one instead of posting by posting.

    These are the allowed documents if they are few compared with the query's postings. For cosine
    scorers, which have no score bounds, these are all documents with a query term.
    """
    segment, terms = queries.collection.segments[number].segment, queries.local_terms[number]
    cosine = queries.scorer.cosine
    if not cosine and not filtered:
        return {}
    allowed = np.flatnonzero(flags) if filtered else None
    out: dict[int, NDArray[np.int64]] = {}
    for query in range(len(queries.scales)):
        known = terms[queries.term_range(query)]
        known = known[known >= 0]
        starts, ends = segment.post_ptr[known], segment.post_ptr[known + 1]
        postings = int((ends - starts).sum())
        if allowed is not None and len(allowed) * len(known) * _LOOKUP_COST < postings:
            out[query] = allowed
        elif cosine and len(known):
            lists = [segment.post_doc[low:high] for low, high in zip(starts, ends, strict=True)]
            docs = np.unique(np.concatenate(lists)).astype(np.int64)
            out[query] = docs[flags[docs]] if len(flags) else docs
    return out


def _order_by_id(
    segments: Sequence[LiveSegment],
    scores: NDArray[np.int64],
    owners: NDArray[np.int64],
    docs: NDArray[np.int64],
) -> list[int]:
    """Return the order that sorts documents by descending score, ties by id."""
    tied = np.zeros(len(scores), np.bool_)
    tied[1:] = scores[1:] == scores[:-1]
    tied[:-1] |= tied[1:]
    triples = zip(owners.tolist(), docs.tolist(), tied.tolist(), strict=True)
    ids = [segments[owner].segment.ids[doc] if unclear else "" for owner, doc, unclear in triples]
    values = scores.tolist()
    return sorted(range(len(ids)), key=lambda at: (-values[at], ids[at]))
