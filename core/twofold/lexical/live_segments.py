"""A segment with its deletions: what is live in it, and what is known about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twofold.lexical.segment import PostingsSegment
from twofold.lexical.vocabulary import numbered
from twofold.protocols import CorpusStatistics, Scorer
from twofold.segments import allowed_flags
from twofold.types import Mask, Rows, Scores

_KEPT_TABLES = 4
NOTHING = np.empty(0, np.int64)
_NO_FLAGS = np.empty(0, np.bool_)
for _each in (NOTHING, _NO_FLAGS):
    _each.flags.writeable = False


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """A segment, which of its documents are deleted, and what that takes off its statistics.

    ``passages`` are the live documents that have terms, ``length`` is the sum of their lengths,
    ``lost`` is by how much the deleted ones lower each term's document frequency.
    """

    segment: PostingsSegment
    live: NDArray[np.bool_] | None
    passages: int
    length: int
    lost: NDArray[np.int64]
    _tables: dict[tuple[Scorer, float], NDArray[np.float64]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, segment: PostingsSegment, dead: Rows = NOTHING) -> "LiveSegment":
        """Return ``segment`` without the rows of ``dead``; those that aren't here don't matter."""
        total = int(segment.lengths.sum(dtype=np.int64))
        passages = int(np.count_nonzero(segment.lengths))
        return cls(segment, None, passages, total, NOTHING).without(dead)

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
        lost = self.lost.copy() if len(self.lost) else np.zeros(len(segment.vocabulary), np.int64)
        starts, ends = segment.fwd_ptr[docs], segment.fwd_ptr[docs + 1]
        terms = [segment.fwd_term[low:high] for low, high in zip(starts, ends, strict=True)]
        np.add.at(lost, np.concatenate(terms), 1)
        for each in (live, lost):
            each.flags.writeable = False
        lengths = segment.lengths[docs]
        return LiveSegment(
            segment,
            live,
            self.passages - int(np.count_nonzero(lengths)),
            self.length - int(lengths.sum(dtype=np.int64)),
            lost,
        )

    def __len__(self) -> int:
        """Return how many documents it holds, deleted ones included."""
        return len(self.segment)

    def locate(self, rows: Rows) -> NDArray[np.int64]:
        """Return the local document of each live row, -1 for rows that are not here."""
        docs = self.segment.locate(rows)
        if self.live is not None:
            docs[~self.live[docs]] = -1
        return docs

    def flags(self, allowed: Mask | None) -> NDArray[np.bool_]:
        """Return one flag a local document, or an empty array for all."""
        if allowed is None:
            return self.live if self.live is not None else _NO_FLAGS
        flags = allowed_flags(self.segment.rows, allowed)
        if self.live is not None:
            flags &= self.live
        flags.flags.writeable = False
        return flags

    def frequencies(self) -> NDArray[np.int64]:
        """Return the document frequency of every local term."""
        counts = np.diff(self.segment.post_ptr)
        return counts - self.lost if len(self.lost) else counts

    def table(self, scorer: Scorer, average: float) -> NDArray[np.float64]:
        """Return a scoring function's part for each code, kept while it is asked for.

        What a missing term would score is taken off, so that only shared terms need be added.
        """
        key = (scorer, average)
        table = self._tables.get(key)
        if table is None:
            segment = self.segment
            table = scorer.parts(segment.pair_tf, segment.pair_length, average) - scorer.absent
            table.flags.writeable = False
            if len(self._tables) >= _KEPT_TABLES:
                self._tables.clear()
            self._tables[key] = table
        return table


class CollectionStatistics:
    """Some segments as one collection; immutable, but for what it remembers."""

    def __init__(self, segments: Sequence[LiveSegment]) -> None:
        self.segments = tuple(segments)
        self.passages = sum(each.passages for each in self.segments)
        length = sum(each.length for each in self.segments)
        self.average = length / self.passages if self.passages else 1.0
        self._counted: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self._norms: tuple[Scorer, list[Scores]] | None = None

    @property
    def statistics(self) -> CorpusStatistics:
        """What scoring functions ask; made anew, for a cycle would keep memory maps alive."""
        return CorpusStatistics(self.passages, self.average, self._frequencies)

    def norms(self, scorer: Scorer) -> list[Scores]:
        """Return, for each segment, 1 / the length of each document's vector of part * idf."""
        from twofold.lexical.kernels import forward

        known = self._norms
        if known is not None and known[0] == scorer:
            return known[1]
        numbers, totals = self._count()
        idf = scorer.idf(np.maximum(totals, 1), self.statistics)[numbers]
        norms: list[Scores] = []
        start = 0
        for each in self.segments:
            segment = each.segment
            terms = len(segment.vocabulary)
            lengths = forward.vector_lengths(
                segment.fwd_ptr,
                segment.fwd_term,
                segment.fwd_code,
                each.table(scorer, self.average),
                idf[start : start + terms],
            )
            norms.append(1 / np.where(lengths > 0, lengths, 1.0))
            start += terms
        self._norms = (scorer, norms)
        return norms

    def _frequencies(self) -> NDArray[np.int64]:
        """Return the document frequency of every term that a live passage has."""
        totals = self._count()[1]
        return totals[totals > 0]

    def _count(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a number for each term of each segment, equal terms alike, and its frequency."""
        if self._counted is None:
            hashes = [each.segment.vocabulary.hashes for each in self.segments]
            every = np.concatenate([np.empty((2, 0), np.uint64), *hashes], axis=1)
            _, fresh, numbers = numbered(every)
            counts = [np.empty(0, np.int64), *(each.frequencies() for each in self.segments)]
            totals = np.zeros(int(fresh.sum()), np.int64)
            np.add.at(totals, numbers, np.concatenate(counts))
            self._counted = numbers, totals
        return self._counted
