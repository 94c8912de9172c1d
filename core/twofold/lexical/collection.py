"""What the live passages of all segments have in common; computed when first asked for."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.lexical.live import LiveSegment
from twofold.lexical.vocabulary import numbered
from twofold.protocols import CorpusStatistics, Scorer
from twofold.types import Scores


class Collection:
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
        from twofold.lexical import forward

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
