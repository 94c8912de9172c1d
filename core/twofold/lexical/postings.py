"""The lexical leg: segments of postings, searched by BM25, exact after any history."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twofold import tiers
from twofold.lexical.bm25 import BM25
from twofold.lexical.segment import PostingsSegment
from twofold.lexical.vocabulary import Hashes, hash_terms
from twofold.protocols import Analyzer
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
    """A query's terms as the whole index sees them: (2, t) hashes, weights idf * count."""

    terms: tuple[str, ...]
    hashes: Hashes
    frequencies: NDArray[np.int64]
    weights: NDArray[np.float64]
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
        average = self._average()
        best: list[tuple[int, str, int]] = []
        for each, terms in zip(self.segments, asked.local, strict=True):
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
                each.table(self.formula, average),
                segment.order,
                _flags(each, allowed),
                min(k, len(segment)),
            )
            best += zip(
                (-scores).tolist(),
                [segment.ids[doc] for doc in docs.tolist()],
                segment.rows[docs].tolist(),
                strict=True,
            )
        best.sort()
        del best[k:]
        return LegHits(
            np.array([row for _, _, row in best], np.int64),
            np.array([-score for score, _, _ in best], np.int64) / kernels.SCALE,
        )

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
        """Look a query's terms up in every segment and weigh them."""
        counts: dict[str, int] = {}
        for term in self.analyzer.query_terms(query):
            counts[term] = counts.get(term, 0) + 1
        hashes = hash_terms(counts)
        local = tuple(each.segment.vocabulary.find(hashes) for each in self.segments)
        frequencies = np.zeros(len(counts), np.int64)
        for each, terms in zip(self.segments, local, strict=True):
            frequencies += each.document_frequencies(terms)
        passages = sum(each.passages for each in self.segments)
        weights = np.array(
            [
                self.formula.idf(passages, frequency) * count if frequency else 0.0
                for frequency, count in zip(frequencies.tolist(), counts.values(), strict=True)
            ],
            np.float64,
        )
        return _Query(tuple(counts), hashes, frequencies, weights, local)

    def _average(self) -> float:
        """Return the average length of the live passages that have terms."""
        passages = sum(each.passages for each in self.segments)
        return sum(each.length for each in self.segments) / passages if passages else 1.0

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
            each.table(self.formula, self._average()),
        )
        return parts


_NO_FLAGS = np.empty(0, np.bool_)
_NO_FLAGS.flags.writeable = False
_NO_ROWS = np.empty(0, np.int64)


def _whole(segment: PostingsSegment) -> LiveSegment:
    """Return ``segment`` with nothing deleted."""
    return LiveSegment.of(segment, _NO_ROWS)


def _flags(each: LiveSegment, allowed: Mask | None) -> NDArray[np.bool_]:
    """Return one flag a local document, or an empty array for all."""
    if allowed is None:
        return each.live if each.live is not None else _NO_FLAGS
    rows = each.segment.rows
    flags = np.zeros(len(rows), np.bool_)
    known = int(np.searchsorted(rows, len(allowed)))
    flags[:known] = allowed[rows[:known]]
    if each.live is not None:
        flags &= each.live
    flags.flags.writeable = False
    return flags
