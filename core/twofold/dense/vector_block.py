"""Stored vectors of some rows, as every search over them needs them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twofold.segments import allowed_flags, positions_of
from twofold.similarity import Metric
from twofold.types import Mask, Rows, Vectors

BLOCK = 16_384
"""Vectors in one matrix product of a batch: 25 MB at 384 dimensions."""


@dataclass(frozen=True, slots=True)
class VectorPart:
    """Vectors (n, dim) of ascending rows; ``live`` flags those not deleted, None for all.

    ``count`` of them are live. ``reach`` is the greatest length of any vector, ``live_reach`` that
    of a live one.
    """

    rows: Rows
    vectors: Vectors
    live: NDArray[np.bool_] | None
    lengths: NDArray[np.float64]
    reach: float
    live_reach: float
    count: int

    @classmethod
    def of(
        cls, metric: Metric, rows: Rows, vectors: Vectors, start: "VectorPart | None" = None
    ) -> "VectorPart":
        """Return a part of stored vectors with nothing deleted.

        ``start`` is a part of the same vectors when there were fewer: its lengths still hold.
        """
        if metric is Metric.COSINE:
            ones = np.broadcast_to(np.float64(1), len(rows))
            return cls(rows, vectors, None, ones, 1.0, 1.0, len(rows))
        known = start.lengths if start is not None else np.empty(0)
        fresh = vectors[len(known) :]
        cut = [fresh[start : start + BLOCK] for start in range(0, len(fresh), BLOCK)]
        squares = [np.einsum("ij,ij->i", block, block, dtype=np.float64) for block in cut]
        lengths = np.concatenate([known, *(np.sqrt(each) for each in squares)])
        reach = float(lengths.max(initial=0.0))
        return cls(rows, vectors, None, lengths, reach, reach, len(rows))

    def without(self, dead: Rows) -> "VectorPart":
        """Return this part without more rows."""
        places = self.locate(dead)
        places = places[places >= 0]
        if len(places) == 0:
            return self
        live = np.ones(len(self.rows), np.bool_) if self.live is None else self.live.copy()
        live[places] = False
        live_reach = float(self.lengths[live].max(initial=0.0))
        count = int(live.sum())
        return VectorPart(
            self.rows, self.vectors, live, self.lengths, self.reach, live_reach, count
        )

    def after(self, row: int) -> "VectorPart":
        """Return the part of greater rows."""
        start = int(np.searchsorted(self.rows, row + 1))
        live = self.live[start:] if self.live is not None else None
        count = len(self.rows) - start if live is None else int(live.sum())
        return replace(
            self,
            rows=self.rows[start:],
            vectors=self.vectors[start:],
            lengths=self.lengths[start:],
            live=live,
            count=count,
        )

    @property
    def dead(self) -> Rows:
        """The deleted rows."""
        return self.rows[~self.live] if self.live is not None else np.empty(0, np.int64)

    def locate(self, rows: Rows) -> NDArray[np.int64]:
        """Return the place of each row, -1 for rows that are not here."""
        return positions_of(rows, self.rows)

    def eligible(self, allowed: Mask | None) -> NDArray[np.bool_] | None:
        """Return one flag a vector, or None for all."""
        if allowed is None:
            return self.live
        flags = allowed_flags(self.rows, allowed)
        return flags if self.live is None else flags & self.live

    def places(self, eligible: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Return the places of all eligible vectors."""
        return np.arange(len(self.rows)) if eligible is None else np.flatnonzero(eligible)

    def chunks(
        self, eligible: NDArray[np.bool_] | None
    ) -> Iterator[tuple[NDArray[np.int64], Vectors, NDArray[np.float64]]]:
        """Yield places, vectors and lengths of all eligible vectors, a block at a time."""
        places = self.places(eligible)
        for start in range(0, len(places), BLOCK):
            some = places[start : start + BLOCK]
            if eligible is None:  # without a copy
                run = slice(start, start + len(some))
                yield some, self.vectors[run], self.lengths[run]
            else:
                yield some, self.vectors[some], self.lengths[some]
