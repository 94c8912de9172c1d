"""The lexical leg: segments of postings, exact after any history."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twofold import segments as tiers
from twofold.lexical.live_segments import CollectionStatistics, LiveSegment
from twofold.lexical.query_terms import Found, WeightedQueries, select_top, weight_queries
from twofold.lexical.scorers import BM25
from twofold.lexical.segment import PostingsSegment
from twofold.protocols import Analyzer, Scorer
from twofold.types import LegHits, Mask, Moments, Rows, Scores, TermMatch

_ROUNDING = 1e-13
"""Part of the mean square below which there is no variance."""


def score_moments(questions: WeightedQueries, norms: Sequence[Scores]) -> Moments:
    """Return the moments of the first query's scores over all live passages.

    With S1 and S2 the sums of a term's parts and of their squares, the mean is sum w S1 / N and the
    variance sum w^2 (S2 / N - (S1 / N)^2), as if terms occurred independently. ``norms`` has, for
    each segment, what each document's parts are multiplied by, or nothing.
    """
    own = questions.of(0)
    weights = questions.weights[own]
    first, second = np.zeros(len(weights)), np.zeros(len(weights))
    live = sharing = 0
    shift = questions.shift(0)
    for at, each in enumerate(questions.collection.segments):
        live += len(each) if each.live is None else int(np.count_nonzero(each.live))
        segment = each.segment
        table = each.table(questions.scorer, questions.average)
        found: list[NDArray[np.uint32]] = [np.empty(0, np.uint32)]
        for place, term in enumerate(questions.local[at][own].tolist()):
            if term < 0:
                continue
            run = slice(int(segment.post_ptr[term]), int(segment.post_ptr[term + 1]))
            docs, codes = segment.post_doc[run], segment.post_code[run]
            if each.live is not None:
                alive = each.live[docs]
                docs, codes = docs[alive], codes[alive]
            parts = table[codes] * norms[at][docs] if len(norms[at]) else table[codes]
            first[place] += parts.sum()
            second[place] += parts @ parts
            found.append(docs)
        if shift:
            sharing += len(np.unique(np.concatenate(found)))
    if not live:
        return Moments(0.0, 0.0)
    means = weights * first / live
    mean = float(means.sum())
    squares = weights * weights * second / live
    variance = float((squares - means * means).sum())
    if variance <= _ROUNDING * float(squares.sum()):
        variance = 0.0
    # Some scoring functions give the same to every passage that shares a term, and 0 to others.
    share = sharing / live
    variance += shift * (1 - share) * (shift * share + 2 * mean)
    return Moments(mean + shift * share, math.sqrt(max(variance, 0.0)), exact=False)


_LOOKUP = 16
"""Postings that can be read in the time of finding one term in one passage."""
_ROOM = 1 << 20
"""Hits gathered at a time, of all segments, for as many queries as this allows."""
_LOWEST = -(1 << 62)
_NO_NORMS = np.empty(0)


class PostingsIndex:
    """An incremental lexical index in memory, or over memory-mapped segments.

    Document frequencies, the number of passages and their average length are integers kept exact
    under deletes, and scores are sums of fixed-point integers, so that hits and scores depend on
    the live passages alone. Passages without terms don't count. ``scorer`` is the scoring function
    where a query gives none.
    """

    def __init__(
        self,
        analyzer: Analyzer,
        scorer: Scorer | None = None,
        segments: Sequence[LiveSegment] = (),
    ) -> None:
        self.analyzer = analyzer
        self.scorer = scorer if scorer is not None else BM25()
        self._collection = CollectionStatistics(segments)
        # The completion and the explanation of one query ask what its search asked.
        self._last: tuple[tuple[tuple[str, ...], Scorer], WeightedQueries] | None = None

    def add(self, rows: Rows, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Index ``texts`` under ascending rows, greater than all before; ``ids`` decide ties."""
        documents = [self.analyzer.passage_terms(text) for text in texts]
        segments = [*self.segments, LiveSegment.of(PostingsSegment.build(rows, ids, documents))]
        while (run := tiers.next_merge([len(each.segment) for each in segments])) is not None:
            group = segments[run]
            merged = PostingsSegment.merge(
                [each.segment for each in group], [each.live for each in group]
            )
            segments[run] = [LiveSegment.of(merged)]
        self._collection = CollectionStatistics(segments)

    def merge(self) -> None:
        """Leave one segment, without what was deleted; what it finds stays the same."""
        if self.segments:
            parts = [each.segment for each in self.segments]
            merged = PostingsSegment.merge(parts, [each.live for each in self.segments])
            self._collection = CollectionStatistics([LiveSegment.of(merged)])

    def delete(self, rows: Rows) -> None:
        """Forget these rows; unknown ones are ignored."""
        self._collection = CollectionStatistics([each.without(rows) for each in self.segments])

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
        """Return ``search`` of each query, with what can be done once done once."""
        segments = self.segments
        width = min(k, max(map(len, segments), default=0))
        step = max(_ROOM // max(width * len(segments), 1), 1)
        return [
            hits
            for start in range(0, len(queries), step)
            for hits in self._search_some(queries[start : start + step], k, allowed, scorer)
        ]

    def scores(self, query: str, rows: Rows, scorer: Scorer | None = None) -> Scores:
        """Return the score of each row, 0.0 where it shares no term with ``query``."""
        from twofold.lexical.kernels import forward

        questions = self._ask([query], scorer)
        totals, shift = np.zeros(len(rows)), questions.shift(0)
        for at, each in enumerate(questions.collection.segments):
            segment = each.segment
            forward.doc_scores(
                each.locate(rows),
                questions.local[at],
                questions.weights,
                questions.scales[0],
                shift,
                segment.fwd_ptr,
                segment.fwd_term,
                segment.fwd_code,
                each.table(questions.scorer, questions.average),
                self._norms(questions, at),
                totals,
            )
        return totals

    def known(self, query: str) -> float:
        """Return the share of a query's distinct terms that any passage has; 1.0 without terms."""
        last, collection = self._last, self._collection
        # Any scoring function's look-up tells: the last search's, if it was for this query.
        same = last is not None and last[0][0] == (query,) and last[1].collection is collection
        questions = last[1] if last is not None and same else self._ask([query], None)
        if not questions.terms:
            return 1.0
        return float(np.count_nonzero(questions.frequencies)) / len(questions.terms)

    def moments(self, query: str, scorer: Scorer | None = None) -> Moments:
        """Return mean and deviation of the scores of all live passages, those without terms too.

        The mean is exact; the deviation takes terms to occur independently of each other: the
        variances of the parts of each, by its postings, are summed.
        """
        questions = self._ask([query], scorer)
        segments = range(len(questions.collection.segments))
        return score_moments(questions, [self._norms(questions, at) for at in segments])

    def term_matches(
        self, query: str, row: int, scorer: Scorer | None = None
    ) -> tuple[TermMatch, ...]:
        """Return what each query term that the row has adds to its score, most first.

        Terms that it lacks are among them where the scoring function counts them.
        """
        questions = self._ask([query], scorer)
        absent = questions.scorer.absent
        matches: list[TermMatch] = []
        for at, each in enumerate(questions.collection.segments):
            doc = int(each.locate(np.array([row]))[0])
            if doc < 0:
                continue
            parts, codes = self._contributions(questions, at, np.array([doc]))
            if (codes < 0).all():
                continue
            for place, term in enumerate(questions.terms):
                code = int(codes[0, place])
                weight = float(questions.weights[place])
                count, idf = int(questions.counts[place]), float(questions.idf[place])
                if code < 0 and (not absent or not questions.frequencies[place]):
                    continue
                score = float(parts[0, place] / questions.scales[0]) + weight * absent
                matches.append(
                    TermMatch(
                        term=term,
                        query_frequency=count,
                        frequency=int(each.segment.pair_tf[code]) if code >= 0 else 0,
                        document_frequency=int(questions.frequencies[place]),
                        idf=idf,
                        length=int(each.segment.lengths[doc]),
                        average_length=questions.average,
                        length_norm=float(
                            questions.scorer.stretch(
                                each.segment.lengths[doc : doc + 1], questions.average
                            )[0]
                        ),
                        part=score / (count * idf) if idf else 0.0,
                        contribution=score,
                    )
                )
        return tuple(sorted(matches, key=lambda match: (-match.contribution, match.term)))

    def _search_some(
        self, queries: Sequence[str], k: int, allowed: Mask | None, scorer: Scorer | None
    ) -> list[LegHits]:
        """Search with as many queries as there is room for."""
        questions = self._ask(queries, scorer)
        segments = questions.collection.segments
        width = max(min(k, max(map(len, segments), default=0)), 0)
        found = Found.nothing(len(segments), len(questions), width)
        floors = np.full(len(questions), _LOWEST, np.int64)
        # The largest first: what it finds bounds what the others must reach.
        for at in sorted(range(len(segments)), key=lambda at: -len(segments[at])):
            if width and (questions.local[at] >= 0).any():
                self._search_segment(questions, at, k, allowed, floors, found)
        return select_top(found, segments, questions, k)

    def _search_segment(
        self,
        questions: WeightedQueries,
        at: int,
        k: int,
        allowed: Mask | None,
        floors: NDArray[np.int64],
        found: Found,
    ) -> None:
        """Search one segment, raising ``floors`` to the k-th best score of each query."""
        from twofold.lexical.kernels import forward
        from twofold.lexical.kernels import top_k as kernels

        each, terms = questions.collection.segments[at], questions.local[at]
        segment = each.segment
        flags = each.flags(allowed)
        table = each.table(questions.scorer, questions.average)
        direct = self._few(questions, at, flags, filtered=allowed is not None)
        if direct:
            terms = terms.copy()
            for query in direct:
                terms[questions.of(query)] = -1
        scores, docs, sizes = found.scores[at], found.docs[at], found.sizes[at]
        kernels.top(
            questions.query_ptr,
            terms,
            questions.weights,
            questions.scales,
            segment.post_ptr,
            segment.post_doc,
            segment.post_code,
            segment.long_terms,
            segment.bound_ptr,
            segment.bound_code,
            table,
            segment.order,
            flags,
            floors,
            k,
            scores,
            docs,
            sizes,
        )
        for query, candidates in direct.items():
            own = questions.of(query)
            best, places = forward.top_of(
                candidates,
                questions.local[at][own],
                questions.weights[own],
                questions.scales[query],
                segment.fwd_ptr,
                segment.fwd_term,
                segment.fwd_code,
                table,
                self._norms(questions, at),
                segment.order,
                min(k, len(segment)),
            )
            sizes[query] = len(best)
            scores[query, : len(best)], docs[query, : len(best)] = best, places
            if len(best) == k:
                floors[query] = max(floors[query], best[-1])

    def _few(
        self, questions: WeightedQueries, at: int, flags: NDArray[np.bool_], *, filtered: bool
    ) -> dict[int, NDArray[np.int64]]:
        """Return, by query, the documents to be scored one by one instead of posting by posting.

        These are the allowed ones where they are few beside a query's postings; and for cosines,
        which nothing bounds, all that have a term.
        """
        segment, terms = questions.collection.segments[at].segment, questions.local[at]
        normed = questions.scorer.cosine
        if not normed and not filtered:
            return {}
        few = np.flatnonzero(flags) if filtered else None
        out: dict[int, NDArray[np.int64]] = {}
        for query in range(len(questions)):
            own = terms[questions.of(query)]
            own = own[own >= 0]
            starts, ends = segment.post_ptr[own], segment.post_ptr[own + 1]
            if few is not None and len(few) * len(own) * _LOOKUP < int((ends - starts).sum()):
                out[query] = few
            elif normed and len(own):
                lists = [segment.post_doc[a:b] for a, b in zip(starts, ends, strict=True)]
                docs = np.unique(np.concatenate(lists)).astype(np.int64)
                out[query] = docs[flags[docs]] if len(flags) else docs
        return out

    def _ask(self, queries: Sequence[str], scorer: Scorer | None) -> WeightedQueries:
        """Look the terms of queries up in every segment and weigh them."""
        scorer = scorer if scorer is not None else self.scorer
        collection, last = self._collection, self._last
        key = (tuple(queries), scorer)
        if last is not None and last[0] == key and last[1].collection is collection:
            return last[1]
        terms = [self.analyzer.query_terms(query) for query in queries]
        questions = weight_queries(terms, collection, scorer)
        self._last = (key, questions)
        return questions

    def _norms(self, questions: WeightedQueries, at: int) -> Scores:
        """Return what a document's contributions are multiplied by, nothing for most scorers."""
        if not questions.scorer.cosine:
            return _NO_NORMS
        return questions.collection.norms(questions.scorer)[at]

    def _contributions(
        self, questions: WeightedQueries, at: int, docs: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return fixed-point contributions (docs, terms) of one query, and codes, -1 for none."""
        from twofold.lexical.kernels import forward

        each = questions.collection.segments[at]
        segment = each.segment
        parts: NDArray[np.int64]
        codes: NDArray[np.int64]
        parts, codes = forward.term_scores(
            docs,
            questions.local[at],
            questions.weights,
            questions.scales[0],
            segment.fwd_ptr,
            segment.fwd_term,
            segment.fwd_code,
            each.table(questions.scorer, questions.average),
            self._norms(questions, at),
        )
        return parts, codes
