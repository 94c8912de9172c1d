"""The lexical leg: segments of postings, searched by BM25, exact after any history."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twofold import tiers
from twofold.lexical.bm25 import BM25
from twofold.lexical.segment import PostingsSegment
from twofold.lexical.vocabulary import hash_terms
from twofold.protocols import Analyzer
from twofold.rownumbers import allowed_places
from twofold.types import LegHits, Mask, Rows, Scores, TermMatch


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """A segment, which of its documents are deleted, and what that takes off its statistics."""

    segment: PostingsSegment
    live: NDArray[np.bool_] | None = None
    passages: int = 0
    length: int = 0
    lost: NDArray[np.int64] | None = None
    _tables: dict[tuple[float, float, float], NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of(cls, segment: PostingsSegment, dead: Rows) -> "LiveSegment":
        """Return ``segment`` without the rows of ``dead``; those that aren't here don't matter."""
        total = int(segment.lengths.sum(dtype=np.int64))
        return cls(segment, None, int((segment.lengths > 0).sum()), total).without(dead)

    def without(self, dead: Rows) -> "LiveSegment":
        """Return this segment without more rows."""
        docs = self.segment.locate(dead)
        docs = np.unique(docs[docs >= 0])
        if self.live is not None:
            docs = docs[self.live[docs]]
        if len(docs) == 0:
            return self
        segment = self.segment
        live = np.ones(len(segment), np.bool_) if self.live is None else self.live.copy()
        live[docs] = False
        live.flags.writeable = False
        terms = len(segment.vocabulary)
        lost = np.zeros(terms, np.int64) if self.lost is None else self.lost.copy()
        for doc in docs.tolist():  # a document has a term once, so += counts right
            lost[segment.fwd_term[segment.fwd_ptr[doc] : segment.fwd_ptr[doc + 1]]] += 1
        lengths = segment.lengths[docs]
        return LiveSegment(
            segment,
            live,
            self.passages - int((lengths > 0).sum()),
            self.length - int(lengths.sum(dtype=np.int64)),
            lost,
        )

    def locate(self, rows: Rows) -> NDArray[np.int64]:
        """Return the local document of each live row, -1 for rows that are not here."""
        docs = self.segment.locate(rows)
        if self.live is not None:
            docs[~self.live[docs]] = -1
        return docs

    def document_frequencies(self, terms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return in how many live documents each local term occurs, 0 for absent ones."""
        here = terms >= 0
        found = terms[here]
        counts = np.zeros(len(terms), np.int64)
        counts[here] = self.segment.post_ptr[found + 1] - self.segment.post_ptr[found]
        if self.lost is not None:
            counts[here] -= self.lost[found]
        return counts

    def table(self, formula: BM25, average: float) -> NDArray[np.float64]:
        """Return the frequency part of each code, kept until the average length changes."""
        key = (formula.k1, formula.b, average)
        table = self._tables.get(key)
        if table is None:
            table = formula.frequency_parts(self.segment.pair_tf, self.segment.pair_length, average)
            table.flags.writeable = False
            self._tables.clear()
            self._tables[key] = table
        return table


@dataclass(frozen=True, slots=True)
class _Query:
    """A query's terms as the whole index sees them; a weight is idf times count."""

    terms: tuple[str, ...]
    frequencies: NDArray[np.int64]
    weights: NDArray[np.float64]
    average: float
    local: tuple[NDArray[np.int64], ...]


class PostingsIndex:
    """An incremental BM25 index in memory, or over memory-mapped segments.

    Document frequencies, the number of passages and their average length are integers kept exact
    under deletes, and scores are sums of fixed-point integers (2**-40), so that hits and scores
    depend on the live passages alone. Passages without terms don't count.
    """

    def __init__(
        self,
        analyzer: Analyzer,
        formula: BM25 | None = None,
        segments: Sequence[LiveSegment] = (),
    ) -> None:
        self.analyzer = analyzer
        self.formula = formula if formula is not None else BM25()
        self.segments = tuple(segments)
        # Search, completion and explanation ask the same: (query, segments, what they say).
        self._last: tuple[str, tuple[LiveSegment, ...], _Query] | None = None

    def add(self, rows: Rows, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Index ``texts`` under ascending rows, greater than all before; ``ids`` decide ties."""
        documents = [self.analyzer.passage_terms(text) for text in texts]
        segments = [*self.segments, _whole(PostingsSegment.build(rows, ids, documents))]
        while (run := tiers.due([len(each.segment) for each in segments])) is not None:
            group = segments[run]
            merged = PostingsSegment.merge(
                [each.segment for each in group], [each.live for each in group]
            )
            segments[run] = [_whole(merged)]
        self.segments = tuple(segments)

    def delete(self, rows: Rows) -> None:
        """Forget these rows; unknown ones are ignored."""
        self.segments = tuple(each.without(rows) for each in self.segments)

    def search(self, query: str, k: int, allowed: Mask | None = None) -> LegHits:
        """Return the best ``k`` allowed rows that share a term with ``query``."""
        from twofold.lexical import kernels

        asked = self._ask(query)
        found: list[tuple[LiveSegment, NDArray[np.int64], NDArray[np.int64]]] = []
        floor = 0
        # The largest first: what it finds bounds what the others must reach.
        for at in sorted(range(len(self.segments)), key=lambda at: -len(self.segments[at].segment)):
            each, terms = self.segments[at], asked.local[at]
            here = terms >= 0
            if not here.any():
                continue
            segment = each.segment
            scores, docs = kernels.top(
                segment.post_ptr[terms[here]],
                segment.post_ptr[terms[here] + 1],
                asked.weights[here],
                segment.post_doc,
                segment.post_code,
                each.table(self.formula, asked.average),
                segment.order,
                _flags(each, allowed),
                min(k, len(segment)),
                floor,
            )
            found.append((each, scores, docs))
            if len(scores) == k:
                floor = max(floor, int(scores.min()))
        return _merged(found, k)

    def scores(self, query: str, rows: Rows) -> Scores:
        """Return the score of each row, 0.0 where it shares no term with ``query``."""
        from twofold.lexical import kernels

        asked = self._ask(query)
        totals = np.zeros(len(rows), np.int64)
        for places, parts in self._parts(asked, rows):
            totals[places] = parts.sum(axis=1)
        return np.asarray(totals / kernels.SCALE)

    def term_matches(self, query: str, row: int) -> tuple[TermMatch, ...]:
        """Return what each query term that the row has adds to its score, most first."""
        from twofold.lexical import kernels

        asked = self._ask(query)
        matches: list[TermMatch] = []
        for each, terms in zip(self.segments, asked.local, strict=True):
            segment = each.segment
            doc = int(each.locate(np.array([row]))[0])
            if doc < 0:
                continue
            parts = self._contributions(each, np.array([doc]), asked, terms)[0]
            for place, term in enumerate(asked.terms):
                at = kernels.find(
                    segment.fwd_term, segment.fwd_ptr[doc], segment.fwd_ptr[doc + 1], terms[place]
                )
                if at >= 0:
                    matches.append(
                        TermMatch(
                            term=term,
                            frequency=int(segment.pair_tf[segment.fwd_code[at]]),
                            document_frequency=int(asked.frequencies[place]),
                            idf=float(asked.weights[place]),
                            contribution=float(parts[place] / kernels.SCALE),
                        )
                    )
        return tuple(sorted(matches, key=lambda match: (-match.contribution, match.term)))

    def _ask(self, query: str) -> _Query:
        """Look a query's terms up in every segment and weigh them; the last answer is kept."""
        segments, last = self.segments, self._last
        if last is not None and last[0] == query and last[1] is segments:
            return last[2]
        counts: dict[str, int] = {}
        for term in self.analyzer.query_terms(query):
            counts[term] = counts.get(term, 0) + 1
        hashes = hash_terms(counts)
        local = tuple(each.segment.vocabulary.find(hashes) for each in segments)
        frequencies = np.zeros(len(counts), np.int64)
        for each, terms in zip(segments, local, strict=True):
            frequencies += each.document_frequencies(terms)
        passages = sum(each.passages for each in segments)
        average = sum(each.length for each in segments) / passages if passages else 1.0
        weights = np.array(
            [
                self.formula.idf(passages, frequency) * count if frequency else 0.0
                for frequency, count in zip(frequencies.tolist(), counts.values(), strict=True)
            ],
            np.float64,
        )
        asked = _Query(tuple(counts), frequencies, weights, average, local)
        self._last = (query, segments, asked)
        return asked

    def _parts(
        self, asked: _Query, rows: Rows
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return, segment by segment, places in ``rows`` and their contributions by term."""
        out: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        for each, terms in zip(self.segments, asked.local, strict=True):
            docs = each.locate(rows)
            places = np.flatnonzero(docs >= 0)
            if len(places):
                out.append((places, self._contributions(each, docs[places], asked, terms)))
        return out

    def _contributions(
        self, each: LiveSegment, docs: NDArray[np.int64], asked: _Query, terms: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return fixed-point contributions (docs, terms)."""
        from twofold.lexical import kernels

        segment = each.segment
        parts: NDArray[np.int64] = kernels.term_scores(
            docs,
            terms,
            asked.weights,
            segment.fwd_ptr,
            segment.fwd_term,
            segment.fwd_code,
            each.table(self.formula, asked.average),
        )
        return parts


_NO_FLAGS = np.empty(0, np.bool_)
_NO_FLAGS.flags.writeable = False
_NO_ROWS = np.empty(0, np.int64)


def _merged(
    found: Sequence[tuple[LiveSegment, NDArray[np.int64], NDArray[np.int64]]], k: int
) -> LegHits:
    """Return the best ``k`` of each segment's best (fixed-point scores, documents), ties by id."""
    from twofold.lexical import kernels

    if not found:
        return LegHits.none()
    scores = np.concatenate([scores for _, scores, _ in found])
    owners = np.repeat(np.arange(len(found)), [len(scores) for _, scores, _ in found])
    docs = np.concatenate([docs for _, _, docs in found])
    order = np.argsort(-scores, kind="stable")
    if len(order) > k:  # whatever ties with the k-th stays, until ids decide
        order = order[: np.searchsorted(-scores[order], -scores[order[k - 1]], side="right")]
    ordered = scores[order]
    ties = np.zeros(len(order), np.bool_)
    ties[1:] = ordered[1:] == ordered[:-1]
    ties[:-1] |= ties[1:]
    if ties.any():
        ids = [""] * len(order)
        for at in np.flatnonzero(ties).tolist():
            segment = found[owners[order[at]]][0].segment
            ids[at] = segment.ids[int(docs[order[at]])]
        order = order[sorted(range(len(order)), key=lambda at: (-int(ordered[at]), ids[at]))]
    order = order[:k]
    rows = np.concatenate([each.segment.rows[local] for each, _, local in found])
    return LegHits(rows[order].astype(np.int64), scores[order] / kernels.SCALE)


def _whole(segment: PostingsSegment) -> LiveSegment:
    """Return ``segment`` with nothing deleted."""
    return LiveSegment.of(segment, _NO_ROWS)


def _flags(each: LiveSegment, allowed: Mask | None) -> NDArray[np.bool_]:
    """Return one flag a local document, or an empty array for all."""
    if allowed is None:
        return each.live if each.live is not None else _NO_FLAGS
    flags = allowed_places(each.segment.rows, allowed)
    if each.live is not None:
        flags &= each.live
    flags.flags.writeable = False
    return flags
