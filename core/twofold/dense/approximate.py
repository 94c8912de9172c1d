"""Approximate search: structures propose rows, and their stored vectors decide."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold import segments as tiers
from twofold.concurrency import run_parallel
from twofold.dense.faiss_index import AnnStructure
from twofold.dense.flat import FlatIndex
from twofold.dense.index_types import Auto, Flat, IndexType, resolved
from twofold.dense.vector_block import VectorPart
from twofold.segments import allowed_flags, positions_of
from twofold.similarity import Metric
from twofold.types import LegHits, Mask, Rows, Scores, Vectors

TAIL = 10_000
"""So many rows that no structure holds yet are scanned; more become a structure."""


@dataclass(frozen=True, slots=True)
class StructureInfo:
    """A structure of ``rows`` rows, of which ``live`` are not deleted."""

    kind: IndexType
    rows: int
    live: int


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The live rows of some structures, by number, and of the tail, whose number comes after.

    ``stays``: it is one structure as it stands; else one is built.
    """

    kind: IndexType
    members: tuple[int, ...]
    stays: bool


def plan_compaction(
    kind: IndexType | Auto, dim: int, held: Sequence[StructureInfo], tail: int, *, compact: bool
) -> list[BuildPlan] | None:
    """Return what should stand instead of the structures ``held``, None if nothing is due.

    ``tail`` rows came after them. A structure goes when most of its rows are deleted. ``compact``
    leaves one structure of the kind for all rows.
    """
    total = sum(each.live for each in held) + tail
    chosen = resolved(kind, total, dim)
    sparse = [2 * each.live < each.rows for each in held]
    if chosen == Flat() or not total:
        return [] if held and (compact or any(sparse)) else None
    live = [*(each.live for each in held), tail]
    if compact:
        whole = [StructureInfo(chosen, total, total)]
        everything = tuple(number for number, count in enumerate(live) if count)
        return None if list(held) == whole else [BuildPlan(chosen, everything, stays=False)]
    pieces = [
        BuildPlan(chosen, (number,), stays=False)
        if sparse[number]
        else BuildPlan(each.kind, (number,), stays=True)
        for number, each in enumerate(held)
        if each.live
    ]
    if tail > TAIL:
        pieces.append(BuildPlan(chosen, (len(held),), stays=False))
    while (
        run := tiers.next_merge([sum(live[at] for at in each.members) for each in pieces])
    ) is not None:
        members = tuple(number for each in pieces[run] for number in each.members)
        pieces[run] = [BuildPlan(chosen, members, stays=False)]
    as_it_is = len(pieces) == len(held) and all(each.stays for each in pieces)
    return None if as_it_is else pieces


FEW = 1_000
"""Of n vectors, m that may be found are scanned where m^2 <= FEW * n: 10,000 of 100,000."""
SPLIT = 16
"""Queries in each half of a batch, below which a second thread is not worth it."""

Flags = NDArray[np.bool_]


class ApproximateIndex:
    """Near vectors under one metric, found by structures of one or more kinds.

    Which rows are found depends on the structures and on ``effort``; their scores are exact. Rows
    that came after the structures are scanned. Where a filter leaves few, or the structures find
    fewer than asked for, all that may be found are scanned, and ``effort=math.inf`` always does.
    """

    def __init__(
        self,
        kind: IndexType | Auto,
        metric: Metric,
        dim: int,
        parts: Sequence[VectorPart] = (),
        structures: Sequence[AnnStructure] = (),
        ids_of: Callable[[Rows], list[str]] | None = None,
    ) -> None:
        self.kind = kind
        self.exact = FlatIndex(metric, dim, parts, ids_of)
        self.structures = tuple(structures)
        self._refresh()

    @property
    def parts(self) -> tuple[VectorPart, ...]:
        """All vectors."""
        return self.exact.parts

    def add(self, rows: Rows, ids: Sequence[str], vectors: Vectors) -> None:
        """Index ``vectors`` (n, dim) under ascending rows, greater than all before."""
        self.exact.add(rows, ids, vectors)
        self._refresh()
        self.tend()

    def delete(self, rows: Rows) -> None:
        """Forget these rows; unknown ones are ignored."""
        self.exact.delete(rows)
        self._refresh()
        self.tend()

    def tend(self, *, compact: bool = False) -> None:
        """Build the structures that are due; ``compact`` leaves one, or none if none is needed."""
        pieces = self.due(compact=compact)
        if pieces is not None:
            self.structures = tuple(self.made(piece) for piece in pieces)
            self._refresh()

    def due(self, *, compact: bool = False) -> list[BuildPlan] | None:
        """Return what the structures should be instead, None if they are as they should be."""
        held = [
            StructureInfo(
                each.kind, len(each.rows), len(each.rows) if on is None else int(on.sum())
            )
            for each, on in zip(self.structures, self._live, strict=True)
        ]
        tail = sum(part.count for part in self._tail.parts)
        return plan_compaction(self.kind, self.exact.dim, held, tail, compact=compact)

    def made(self, piece: BuildPlan) -> AnnStructure:
        """Return the structure of a piece, built if it is not there yet."""
        if piece.stays:
            return self.structures[piece.members[0]]
        rows = np.concatenate([self._live_rows(number) for number in piece.members])
        exact = self.exact
        return AnnStructure.build(
            piece.kind, exact.metric, rows, lambda some: exact.stored(some)[0]
        )

    def search(
        self, queries: Vectors, k: int, allowed: Mask | None = None, effort: float = 1.0
    ) -> list[LegHits]:
        """Return about the best ``k`` allowed rows for each query (n, dim): min(k, matches)."""
        points = self.exact.prepared(queries)
        _, total = self.exact.eligible(allowed)
        count = sum(len(part.rows) for part in self.parts)
        easy = np.flatnonzero(self.exact.comfortable(points))
        if not self.structures or math.isinf(effort) or total**2 <= FEW * count or not len(easy):
            return self.exact.search(queries, k, allowed)
        # Among fewer that may be found, as many are found only by looking further.
        found = self._proposed(points[easy], k, allowed, effort * count / total)
        hits = [LegHits.none() for _ in points]
        for place, rows in zip(easy.tolist(), found, strict=True):
            hits[place] = self.exact.best_of(points[place], rows, k)
        short = [place for place, each in enumerate(hits) if len(each.rows) < min(k, total)]
        if short:
            again = self.exact.search(np.asarray(queries)[short], k, allowed)
            for place, each in zip(short, again, strict=True):
                hits[place] = each
        return hits

    def scores(self, query: Vectors, rows: Rows) -> Scores:
        """Return the score of each row for one query (dim,); NaN where none is live."""
        return self.exact.scores(query, rows)

    def lowest(self, query: Vectors) -> float:
        """Return a bound that no live vector's score can be below, for one query (dim,)."""
        return self.exact.lowest(query)

    def _proposed(
        self, queries: Vectors, k: int, allowed: Mask | None, effort: float
    ) -> list[Rows]:
        """Return for each query the live, allowed rows worth scoring."""
        half = len(queries) // 2
        if half >= SPLIT:
            first, second = run_parallel(
                lambda: self._by_structures(queries[:half], k, allowed, effort),
                lambda: self._by_structures(queries[half:], k, allowed, effort),
            )
            found = first + second
        else:
            found = self._by_structures(queries, k, allowed, effort)
        tail = self._tail.search(queries, k, allowed)
        return [np.concatenate([rows, hits.rows]) for rows, hits in zip(found, tail, strict=True)]

    def _by_structures(
        self, queries: Vectors, k: int, allowed: Mask | None, effort: float
    ) -> list[Rows]:
        found: list[list[Rows]] = [[] for _ in queries]
        for each, live in zip(self.structures, self._live, strict=True):
            on = live
            if allowed is not None:
                on = allowed_flags(each.rows, allowed)
                on = on if live is None else on & live
            for rows, proposed in zip(found, each.propose(queries, k, effort, on), strict=True):
                rows.append(proposed[proposed >= 0])
        return [np.concatenate(rows) for rows in found]

    def _live_rows(self, number: int) -> Rows:
        """Return the rows of a structure, or after all of them the tail's, that are not deleted."""
        if number == len(self.structures):
            tails = [part.rows[part.places(part.live)] for part in self._tail.parts]
            return np.concatenate([np.empty(0, np.int64), *tails])
        rows, on = self.structures[number].rows.astype(np.int64), self._live[number]
        return rows if on is None else rows[on]

    def _refresh(self) -> None:
        """Note which rows no structure holds, and which of a structure's are deleted."""
        end = max((int(each.rows[-1]) for each in self.structures), default=-1)
        exact = self.exact
        tails = [part.after(end) for part in self.parts]
        self._tail = FlatIndex(exact.metric, exact.dim, tails, exact.ids_of)
        dead = np.concatenate([np.empty(0, np.int64), *(part.dead for part in self.parts)])
        self._live = tuple(_live(each, dead) for each in self.structures)


def _live(structure: AnnStructure, dead: Rows) -> Flags | None:
    """Return which of a structure's rows are not among the ``dead``, None for all."""
    places = positions_of(dead, structure.rows)
    places = places[places >= 0]
    if not len(places):
        return None
    flags = np.ones(len(structure.rows), np.bool_)
    flags[places] = False
    return flags
