"""Postings segments with deletions, and the statistics of all segments of an index."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twofold.lexical.segment import PostingsSegment
from twofold.lexical.vocabulary import number_by_hash
from twofold.protocols import Scorer, TermStatistics
from twofold.segments import delete_rows
from twofold.types import Rows, Scores

_MAX_TABLES = 4
_NO_ROWS = np.empty(0, np.int64)
_NO_ROWS.flags.writeable = False


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """A segment with its deletions.

    ``live`` flags the documents that are not deleted, None for all. ``passages`` is the number of
    live documents with terms, ``length`` the sum of their lengths. ``deleted_frequencies`` counts
    the deleted documents that have each term; it is empty without deletions.
    """

    segment: PostingsSegment
    live: NDArray[np.bool_] | None
    passages: int
    length: int
    deleted_frequencies: NDArray[np.int64]
    _tables: dict[tuple[Scorer, float], NDArray[np.float64]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def from_segment(cls, segment: PostingsSegment, dead: Rows = _NO_ROWS) -> "LiveSegment":
        """Return ``segment`` without the rows ``dead``; unknown rows are ignored."""
        total = int(segment.lengths.sum(dtype=np.int64))
        passages = int(np.count_nonzero(segment.lengths))
        return cls(segment, None, passages, total, _NO_ROWS).without(dead)

    def without(self, dead: Rows) -> "LiveSegment":
        """Return this segment with the rows ``dead`` deleted too; unknown rows are ignored."""
        segment = self.segment
        live = delete_rows(self.live, segment.rows, dead)
        if live is None:
            return self
        docs = np.flatnonzero(~live if self.live is None else self.live & ~live)
        if not len(docs):
            return self
        before = self.deleted_frequencies
        deleted = before.copy() if len(before) else np.zeros(len(segment.vocabulary), np.int64)
        starts, ends = segment.fwd_ptr[docs], segment.fwd_ptr[docs + 1]
        terms = [segment.fwd_term[low:high] for low, high in zip(starts, ends, strict=True)]
        np.add.at(deleted, np.concatenate(terms), 1)
        live.flags.writeable = deleted.flags.writeable = False
        lengths = segment.lengths[docs]
        passages = self.passages - int(np.count_nonzero(lengths))
        length = self.length - int(lengths.sum(dtype=np.int64))
        return LiveSegment(segment, live, passages, length, deleted)

    def __len__(self) -> int:
        """Return the number of documents, deleted ones included."""
        return len(self.segment)

    def frequencies(self) -> NDArray[np.int64]:
        """Return the live document frequency of every term of the segment."""
        counts = np.diff(self.segment.post_ptr)
        return counts - self.deleted_frequencies if len(self.deleted_frequencies) else counts

    def weight_table(self, scorer: Scorer, average_length: float) -> NDArray[np.float64]:
        """Return the cached term-frequency weight of each code, minus that of a missing term.

        Scores are then sums over the terms that a passage has.
        """
        key = (scorer, average_length)
        table = self._tables.get(key)
        if table is None:
            tf, lengths = self.segment.pair_tf, self.segment.pair_length
            table = scorer.tf_weight(tf, lengths, average_length) - scorer.missing_term_weight
            table.flags.writeable = False
            if len(self._tables) >= _MAX_TABLES:
                self._tables.clear()
            self._tables[key] = table
        return table


class CollectionStatistics:
    """Statistics of several segments as one collection, cached.

    ``by_size`` are the segments' numbers, the largest first; ``largest`` is the greatest size.
    """

    def __init__(self, segments: Sequence[LiveSegment]) -> None:
        self.segments = tuple(segments)
        sizes = [len(live) for live in self.segments]
        self.by_size = sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)
        self.largest = max(sizes, default=0)
        self._worded = sum(segment.passages for segment in self.segments)
        self._length = sum(segment.length for segment in self.segments)
        self._all: int | None = None
        self._frequencies: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self._norms: tuple[Scorer, list[Scores]] | None = None

    def term_statistics(self, scorer: Scorer) -> TermStatistics:
        """Return the statistics for a scoring function."""
        # Not cached: a reference cycle would keep memory maps alive.
        return TermStatistics(
            self._count_passages(scorer), self.average_length(scorer), self._live_frequencies
        )

    def average_length(self, scorer: Scorer) -> float:
        """Return the mean length of the passages that a scoring function counts."""
        return self._length / max(self._count_passages(scorer), 1) if self._length else 1.0

    def _count_passages(self, scorer: Scorer) -> int:
        """Return how many passages a scoring function counts: all, or those with terms."""
        if not getattr(scorer, "counts_empty", False):
            return self._worded
        if self._all is None:
            self._all = sum(
                len(live) if live.live is None else int(np.count_nonzero(live.live))
                for live in self.segments
            )
        return self._all

    def norms(self, scorer: Scorer) -> list[Scores]:
        """Return 1 / length of each document's vector of weight * idf, for each segment."""
        from twofold.lexical.kernels import forward

        known = self._norms
        if known is not None and known[0] == scorer:
            return known[1]
        numbers, totals = self._count_terms()
        idf = scorer.idf(np.maximum(totals, 1), self.term_statistics(scorer))[numbers]
        norms: list[Scores] = []
        start = 0
        for live in self.segments:
            terms = len(live.segment.vocabulary)
            table = live.weight_table(scorer, self.average_length(scorer))
            of_terms = idf[start : start + terms]
            lengths = forward.vector_lengths(live.segment.forward, table, of_terms)
            norms.append(1 / np.where(lengths > 0, lengths, 1.0))
            start += terms
        self._norms = (scorer, norms)
        return norms

    def _live_frequencies(self) -> NDArray[np.int64]:
        """Return the document frequency of every term that a live passage has."""
        totals = self._count_terms()[1]
        return totals[totals > 0]

    def _count_terms(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a common number for each segment's terms, and the frequency of each number."""
        if self._frequencies is None:
            hashes = [live.segment.vocabulary.hashes for live in self.segments]
            every = np.concatenate([np.empty((2, 0), np.uint64), *hashes], axis=1)
            _, is_first, numbers = number_by_hash(every)
            counts = [np.empty(0, np.int64), *(live.frequencies() for live in self.segments)]
            totals = np.zeros(int(is_first.sum()), np.int64)
            np.add.at(totals, numbers, np.concatenate(counts))
            self._frequencies = numbers, totals
        return self._frequencies
