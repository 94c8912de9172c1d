"""Approximate search: FAISS structures propose rows, and exact scores of stored vectors decide."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from twofold.concurrency import run_parallel
from twofold.dense.faiss_index import AnnStructure
from twofold.dense.flat import FlatIndex
from twofold.dense.index_types import Auto, Flat, IndexType, resolve_index_type
from twofold.dense.vector_block import VectorBlock
from twofold.segments import allowed_flags, delete_rows, next_merge
from twofold.similarity import Metric
from twofold.types import LegHits, Mask, Rows, Scores, Vectors

MAX_TAIL = 10_000
"""Up to this many rows outside all structures are scanned; more become a structure."""
SCAN_FACTOR = 1_000  # m eligible of n vectors are scanned where m^2 <= SCAN_FACTOR * n
_MOST_ASKED = 4  # times the average number of k passages' vectors that structures are asked for
MIN_HALF_BATCH = 16  # queries in each half of a batch from which on a second thread pays


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """A structure to build from the live rows of existing ones, or the one to ``reuse``.

    ``members`` are the existing structures' numbers; the one after the last is the tail.
    """

    index_type: IndexType
    members: tuple[int, ...]
    reuse: bool = False


class ApproximateIndex:
    """Approximate nearest vectors under one metric, found by FAISS structures.

    The structures and ``effort`` decide which rows are found; scores are exact. Rows outside the
    structures, the tail, are scanned. Where few rows are eligible, or the structures find fewer
    than k, all eligible rows are scanned; ``effort=math.inf`` always scans.
    """

    def __init__(
        self,
        index_type: IndexType | Auto,
        metric: Metric,
        dim: int,
        blocks: Sequence[VectorBlock],
        structures: Sequence[AnnStructure],
        ids_of: Callable[[Rows], list[str]],
    ) -> None:
        self.index_type = index_type
        self.flat = FlatIndex(metric, dim, blocks, ids_of)
        self.structures = tuple(structures)
        end = max((int(structure.rows[-1]) for structure in structures), default=-1)
        self._tail = FlatIndex(metric, dim, [block.after(end) for block in blocks], ids_of)
        deleted = [block.rows[~block.live] for block in blocks if block.live is not None]
        dead = np.concatenate([np.empty(0, np.int64), *deleted])
        repeated = self.flat.has_windows
        self._live = tuple(
            delete_rows(None, structure.rows, dead, repeated=repeated) for structure in structures
        )

    def plan_builds(self, *, compact: bool = False) -> list[BuildPlan] | None:
        """Return plans of the structures to replace all present ones, or None for no change.

        Structures are merged in tiers, and rebuilt when most of their rows are deleted. ``compact``
        merges all rows into one structure.
        """
        structures = self.structures
        sizes = [len(structure.rows) for structure in structures]
        pairs = zip(sizes, self._live, strict=True)
        live = [size if on is None else int(on.sum()) for size, on in pairs]
        sparse = [2 * count < size for count, size in zip(live, sizes, strict=True)]
        live.append(sum(block.count for block in self._tail.blocks))
        total = sum(live)
        chosen = resolve_index_type(self.index_type, total, self.flat.dim)
        if chosen == Flat() or not total:
            return [] if structures and (compact or any(sparse)) else None
        if compact:
            everything = tuple(number for number, count in enumerate(live) if count)
            done = sizes == live[:1] == [total] and structures[0].index_type == chosen
            return None if done else [BuildPlan(chosen, everything)]
        plans = [
            BuildPlan(chosen, (at,)) if sparse[at] else BuildPlan(old.index_type, (at,), reuse=True)
            for at, old in enumerate(structures)
            if live[at]
        ]
        if live[-1] > MAX_TAIL:
            plans.append(BuildPlan(chosen, (len(structures),)))
        counts = [sum(live[number] for number in plan.members) for plan in plans]
        while (run := next_merge(counts)) is not None:
            members = tuple(number for plan in plans[run] for number in plan.members)
            plans[run], counts[run] = [BuildPlan(chosen, members)], [sum(counts[run])]
        unchanged = len(plans) == len(structures) and all(plan.reuse for plan in plans)
        return None if unchanged else plans

    def build(self, plan: BuildPlan) -> AnnStructure:
        """Return the structure of a plan, building it unless it is reused."""
        if plan.reuse:
            return self.structures[plan.members[0]]
        rows = np.concatenate([self._live_rows(number) for number in plan.members])
        flat, places = self.flat, self.flat.locate(rows)
        return AnnStructure.build(
            plan.index_type, flat.metric, rows, lambda some: flat.vectors_at(places[some])
        )

    def search(
        self, queries: Vectors, k: int, allowed: Mask | None = None, effort: float = 1.0
    ) -> list[LegHits]:
        """Return, per query (n, dim), about the best ``k`` allowed rows, or all if fewer exist.

        ``effort`` multiplies the index type's usual work; ``math.inf`` is exact.
        """
        flat = self.flat
        points = flat.prepare_queries(queries)
        eligible = flat.eligible(allowed)
        total = eligible[1]
        count = sum(len(block.rows) for block in flat.blocks)
        k = min(k, max(count, 1))  # which FAISS and floats can hold
        if not self.structures or math.isinf(effort) or total**2 <= SCAN_FACTOR * count:
            return flat.search_prepared(points, k, eligible)
        safe = np.flatnonzero(flat.is_float32_safe(points))
        if not len(safe):
            return flat.search_prepared(points, k, eligible)
        # The fewer rows are eligible, the further a structure must look.
        effort *= count / total
        hits = [LegHits.empty() for _ in points]
        asked, wanted, most = safe.tolist(), k, _MOST_ASKED * flat.vector_count(k)
        while asked:
            proposed = self._propose(points[asked], k, wanted, allowed, effort)
            for number, rows in zip(asked, proposed, strict=True):
                hits[number] = flat.rank_rows(points[number], rows, k)
            if not flat.has_windows or wanted >= most:
                break
            # The vectors found are those of fewer passages.
            asked = [number for number in asked if len(hits[number].keys) < k]
            wanted = min(2 * wanted, most)
        short = [number for number, found in enumerate(hits) if len(found.keys) < k]
        if short and (most := min(k, flat.count_passages(eligible))):
            short = [number for number in short if len(hits[number].keys) < most]
        if short:
            scanned = flat.search_prepared(points[short], k, eligible)
            for number, found in zip(short, scanned, strict=True):
                hits[number] = found
        return hits

    def scores(self, query: Vectors, rows: Rows) -> Scores:
        """Return the score of each row for one query (dim,); NaN for rows without a live vector."""
        return self.flat.scores(query, rows)

    def _propose(
        self, queries: Vectors, k: int, wanted: int, allowed: Mask | None, effort: float
    ) -> list[Rows]:
        """Return candidate rows for each query (n, dim).

        They are the rows of the best ``wanted`` vectors in each structure, and the best ``k`` rows
        of the tail.
        """
        half = len(queries) // 2
        if half >= MIN_HALF_BATCH:
            first, second = run_parallel(
                lambda: self._ask_structures(queries[:half], wanted, allowed, effort),
                lambda: self._ask_structures(queries[half:], wanted, allowed, effort),
            )
            proposed = first + second
        else:
            proposed = self._ask_structures(queries, wanted, allowed, effort)
        tail = self._tail.search_prepared(queries, k, self._tail.eligible(allowed))
        pairs = zip(proposed, tail, strict=True)
        return [np.concatenate([rows, hits.keys]) for rows, hits in pairs]

    def _ask_structures(
        self, queries: Vectors, k: int, allowed: Mask | None, effort: float
    ) -> list[Rows]:
        """Return the live, allowed rows that the structures propose for each query."""
        proposed: list[list[Rows]] = [[] for _ in queries]
        for structure, live in zip(self.structures, self._live, strict=True):
            flags = live if allowed is None else allowed_flags(structure.rows, allowed, live)
            found = structure.propose(queries, k, effort, flags)
            for of_query, rows in zip(proposed, found, strict=True):
                of_query.append(rows[rows >= 0])
        return [np.concatenate(of_query) for of_query in proposed]

    def _live_rows(self, number: int) -> Rows:
        """Return the live rows of structure ``number``, or of the tail after the last number."""
        if number == len(self.structures):
            tails = [block.rows[block.positions(block.live)] for block in self._tail.blocks]
            return np.concatenate([np.empty(0, np.int64), *tails])
        rows, live = self.structures[number].rows.astype(np.int64), self._live[number]
        return rows if live is None else rows[live]
