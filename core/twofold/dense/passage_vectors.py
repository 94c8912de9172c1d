"""Vectors of passages, of which a long one has several: one per window of its tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from twofold.types import Rows, Vectors

Spans = NDArray[np.int64]
"""The part of a passage that each vector encodes, (n, 4): its first token, its last token + 1, and
the same of characters in `Passage.content`. All 0 for a vector of a whole passage."""


@dataclass(frozen=True, slots=True)
class PassageVectors:
    """Stored vectors (n, dim) of passages.

    Attributes:
        rows: The row of each vector's passage (n,), ascending. The vectors of one passage follow
            each other, and the first one encodes as much of it as the encoder reads.
        vectors: The vectors.
        spans: The part that each vector encodes (n, 4); None if all encode whole passages.
    """

    rows: Rows
    vectors: Vectors
    spans: Spans | None = None

    @classmethod
    def empty(cls, dim: int = 0) -> "PassageVectors":
        """Return no vectors."""
        return cls(np.empty(0, np.int64), np.empty((0, dim), np.float32))

    @classmethod
    def concatenate(cls, parts: Sequence["PassageVectors"], dim: int) -> "PassageVectors":
        """Return the vectors of all parts, whose rows ascend from part to part."""
        if not parts:
            return cls.empty(dim)
        spans: Spans | None = None
        if any(part.spans is not None for part in parts):
            spans = np.concatenate([part.filled_spans for part in parts])
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.vectors for part in parts]),
            spans,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: slice) -> "PassageVectors":
        spans = self.spans[at] if self.spans is not None else None
        if spans is not None and not spans.any():
            spans = None
        return PassageVectors(self.rows[at], self.vectors[at], spans)

    @property
    def filled_spans(self) -> Spans:
        """The spans, 0 where there are none."""
        return self.spans if self.spans is not None else np.zeros((len(self.rows), 4), np.int64)

    def by_passage(self) -> Iterator[tuple[int, "PassageVectors"]]:
        """Yield each passage's row and vectors."""
        starts = np.flatnonzero(np.diff(self.rows, prepend=-1)).tolist()
        for start, stop in pairwise([*starts, len(self.rows)]):
            yield int(self.rows[start]), self[start:stop]

    @classmethod
    def assign(cls, groups: Mapping[int, "PassageVectors"], dim: int) -> "PassageVectors":
        """Return groups, each of one passage, as the vectors of the rows that are their keys."""
        rows = sorted(groups)
        joined = cls.concatenate([groups[row] for row in rows], dim)
        counts = [len(groups[row].rows) for row in rows]
        return cls(np.repeat(np.array(rows, np.int64), counts), joined.vectors, joined.spans)
