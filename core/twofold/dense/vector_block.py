"""Stored vectors of ascending rows, with their lengths and deletions."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twofold.dense.passage_vectors import PassageVectors, Spans
from twofold.segments import delete_rows, expand_runs, find_positions, find_runs
from twofold.similarity import Metric
from twofold.types import Rows, Vectors

CHUNK_ROWS = 16_384  # vectors per matrix product of a batch: 25 MB at 384 dimensions

Flags = NDArray[np.bool_]
Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class VectorBlock:
    """Vectors (n, dim) of ascending ``rows`` (n,), in the form that the metric stores.

    ``live`` flags the vectors that are not deleted, or is None for all; ``count`` is their number.
    ``lengths`` (n,) are Euclidean; ``max_length`` counts deleted vectors too. A passage with
    windows has several vectors, and then ``spans`` are as in `PassageVectors`.
    """

    rows: Rows
    vectors: Vectors
    live: Flags | None
    lengths: NDArray[np.float64]
    max_length: float
    max_live_length: float
    count: int
    spans: Spans | None = None

    @classmethod
    def from_vectors(
        cls, metric: Metric, stored: PassageVectors, prefix: "VectorBlock | None" = None
    ) -> "VectorBlock":
        """Return a block with nothing deleted.

        ``prefix`` is a block of the first vectors; its lengths are reused.
        """
        rows, vectors, spans = stored.rows, stored.vectors, stored.spans
        if metric is Metric.COSINE:
            ones = np.broadcast_to(np.float64(1), len(rows))
            return cls(rows, vectors, None, ones, 1.0, 1.0, len(rows), spans)
        known = prefix.lengths if prefix is not None else np.empty(0)
        new = vectors[len(known) :]
        chunks = [new[start : start + CHUNK_ROWS] for start in range(0, len(new), CHUNK_ROWS)]
        squares = [np.einsum("ij,ij->i", chunk, chunk, dtype=np.float64) for chunk in chunks]
        lengths = np.concatenate([known, *map(np.sqrt, squares)])
        longest = float(lengths.max(initial=0.0))
        return cls(rows, vectors, None, lengths, longest, longest, len(rows), spans)

    def without(self, dead: Rows) -> "VectorBlock":
        """Return this block with the rows ``dead`` deleted too; rows outside it are ignored."""
        live = delete_rows(self.live, self.rows, dead, repeated=self.spans is not None)
        if live is None or live is self.live:
            return self
        longest = float(self.lengths[live].max(initial=0.0))
        return replace(self, live=live, max_live_length=longest, count=int(live.sum()))

    def after(self, row: int) -> "VectorBlock":
        """Return the block of the rows greater than ``row``."""
        start = int(np.searchsorted(self.rows, row + 1))
        live = self.live[start:] if self.live is not None else None
        return replace(
            self,
            rows=self.rows[start:],
            vectors=self.vectors[start:],
            lengths=self.lengths[start:],
            live=live,
            count=len(self.rows) - start if live is None else int(live.sum()),
            spans=self.spans[start:] if self.spans is not None else None,
        )

    def find_first(self, rows: Rows) -> Positions:
        """Return the position of the first vector of each of ``rows``, -1 for rows without one."""
        if self.spans is None:
            return find_positions(rows, self.rows)
        starts, counts = find_runs(rows, self.rows)
        return np.where(counts > 0, starts, -1)

    def find_all(self, rows: Rows) -> tuple[Positions, NDArray[np.int64]]:
        """Return the positions of all vectors of ``rows``, and how many vectors each row has."""
        starts, counts = find_runs(rows, self.rows)
        return expand_runs(starts, counts), counts

    def count_passages(self, eligible: Flags | None) -> int:
        """Return how many passages have ``eligible`` vectors; None means all."""
        rows = self.rows if eligible is None else self.rows[eligible]
        return int(np.count_nonzero(np.diff(rows))) + 1 if len(rows) else 0

    def positions(self, eligible: Flags | None) -> Positions:
        """Return the positions of the ``eligible`` vectors; None means all."""
        return np.arange(len(self.rows)) if eligible is None else np.flatnonzero(eligible)

    def chunks(
        self, eligible: Flags | None
    ) -> Iterator[tuple[Positions, Vectors, NDArray[np.float64]]]:
        """Yield positions, vectors and lengths of all eligible vectors, CHUNK_ROWS at a time."""
        positions = self.positions(eligible)
        for start in range(0, len(positions), CHUNK_ROWS):
            chunk = positions[start : start + CHUNK_ROWS]
            # A slice reads the vectors without a copy.
            index = slice(start, start + len(chunk)) if eligible is None else chunk
            yield chunk, self.vectors[index], self.lengths[index]


@dataclass(frozen=True, slots=True)
class VectorRuns:
    """Positions of vectors in a block, grouped by passage; ``starts`` is where each group begins.

    A group has all vectors of its passage, one after the other.
    """

    positions: Positions
    starts: Positions

    @classmethod
    def from_positions(cls, block: VectorBlock, positions: Positions) -> "VectorRuns":
        """Group the positions, which have the vectors of a passage one after the other."""
        return cls(positions, np.flatnonzero(np.diff(block.rows[positions], prepend=-1)))

    def best(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the best of the positions' ``scores`` for each passage."""
        if not len(self.starts):
            return np.empty(0)
        return np.maximum.reduceat(scores, self.starts).astype(np.float64)

    def repeat_values(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the passages' ``values`` for each position."""
        lengths = np.diff(np.append(self.starts, len(self.positions)))
        return np.repeat(values, lengths)
