"""Exact search over stored vectors by FAISS, with scores settled in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.concurrency import faiss_threads, run_parallel
from twofold.dense.vector_block import VectorPart
from twofold.errors import QueryError, VectorError
from twofold.similarity import Metric
from twofold.types import LegHits, Mask, Rows, Scores, Vectors
from twofold.validation import check_vectors

SPLIT = 20_000
"""From this many vectors on, a scan is worth a second thread."""
SPARSE = 4
"""Where fewer than one in this many is eligible, gathering those beats scanning all."""
MASKED = 1024
"""Up to this many deleted vectors are fetched and dropped, which beats masking them."""


def scan(
    metric: Metric,
    query: Vectors,
    part: VectorPart,
    eligible: NDArray[np.bool_] | None,
    wanted: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the places nearest to one query, and float32 scores, higher is better.

    A large part is scanned by halves on two threads, each by one thread of FAISS; of a few
    eligible vectors among many only those are read.
    """
    count = len(part.rows)
    if eligible is not None and np.count_nonzero(eligible) * SPARSE < count:
        return matrix_product(metric, query[None, :], part, eligible, wanted)[0]
    if count < SPLIT:
        return _scan(metric, query, part, eligible, wanted, slice(0, count))
    lower, upper = run_parallel(
        lambda: _scan(metric, query, part, eligible, wanted, slice(0, count // 2)),
        lambda: _scan(metric, query, part, eligible, wanted, slice(count // 2, count)),
    )
    return np.concatenate([lower[0], upper[0]]), np.concatenate([lower[1], upper[1]])


def _scan(
    metric: Metric,
    query: Vectors,
    part: VectorPart,
    eligible: NDArray[np.bool_] | None,
    wanted: int,
    some: slice,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Let FAISS scan some of a part's vectors."""
    import faiss

    vectors = part.vectors[some]
    flags = eligible[some] if eligible is not None else None
    search = faiss.knn_L2sqr if metric is Metric.EUCLIDEAN else faiss.knn_inner_product
    extra: list[Any] = []
    spared = 0
    if flags is not None and eligible is part.live:
        dead = len(flags) - int(np.count_nonzero(flags))
        flags = flags if dead else None
        spared = dead if dead <= MASKED else 0
    if flags is not None and not spared:
        bits = np.packbits(flags, bitorder="little")
        extra = [faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))]
        if metric is Metric.EUCLIDEAN:
            extra.insert(0, None)  # squared lengths of the vectors, not needed
    count, dim = vectors.shape
    fetched = min(wanted + spared, count)
    near = np.empty(fetched, np.float32)
    places = np.empty(fetched, np.int64)
    with faiss_threads(1):
        search(
            faiss.swig_ptr(query),
            faiss.swig_ptr(vectors),
            dim,
            1,
            count,
            fetched,
            faiss.swig_ptr(near),
            faiss.swig_ptr(places),
            *extra,
        )
    found = places >= 0
    if spared and flags is not None:
        found &= flags[places]
    places, near = places[found][:wanted] + some.start, near[found][:wanted]
    return places, -near if metric is Metric.EUCLIDEAN else near


def nearness(
    metric: Metric, queries: Vectors, vectors: Vectors, lengths: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return float32 scores (queries, vectors) by one matrix product; squared under Euclidean."""
    products: NDArray[np.float32] = queries @ vectors.T
    if metric is not Metric.EUCLIDEAN:
        return products
    squares = np.einsum("ij,ij->i", queries, queries)[:, None]
    near = 2 * products - squares - (lengths**2).astype(np.float32)
    return np.asarray(near, np.float32)


def matrix_product(
    metric: Metric,
    queries: Vectors,
    part: VectorPart,
    eligible: NDArray[np.bool_] | None,
    wanted: int,
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Return for each query (n, dim) the places nearest to it, and float32 scores.

    Products of all queries with a block of eligible vectors, of which the best are kept.
    """
    near = np.zeros((len(queries), 0), np.float32)
    places = np.zeros((len(queries), 0), np.int64)
    for some, vectors, lengths in part.chunks(eligible):
        scores = nearness(metric, queries, vectors, lengths)
        near = np.concatenate([near, scores], axis=1)
        here = np.broadcast_to(some, (len(queries), len(some)))
        places = np.concatenate([places, here], axis=1)
        if near.shape[1] > wanted:
            best = np.argpartition(near, -wanted, axis=1)[:, -wanted:]
            near = np.take_along_axis(near, best, axis=1)
            places = np.take_along_axis(places, best, axis=1)
    return list(zip(places, near, strict=True))


SPARE = 32
"""Candidates fetched beyond k, so that float32 errors at the border seldom need a second scan."""
FEW = 1024
"""Up to this many eligible vectors are scored directly, without FAISS."""
SMALL, LARGE = 1e-24, 1e36
"""Products of lengths outside of these could vanish or overflow in float32."""
GROUP = 256
"""Queries in one matrix product: 17 MB of scores."""
BATCH = 4
"""From this many queries on, one matrix product beats a scan for each."""


class FlatIndex:
    """Exact nearest vectors under one metric; hits and scores depend on the live vectors alone.

    FAISS proposes candidates in float32; each is scored again in float64 in a fixed order, and
    where rounding could have hidden a better one, all vectors near the border are scored.
    """

    def __init__(
        self,
        metric: Metric,
        dim: int,
        parts: Sequence[VectorPart] = (),
        ids_of: Callable[[Rows], list[str]] | None = None,
    ) -> None:
        self.metric = metric
        self.dim = dim
        self.parts = tuple(parts)
        self._ids: dict[int, str] = {}
        self.ids_of = ids_of if ids_of is not None else self._own_ids

    def add(self, rows: Rows, ids: Sequence[str], vectors: Vectors) -> None:
        """Index ``vectors`` (n, dim) under ascending rows, greater than all before."""
        stored = self.metric.stored(check_vectors(vectors, self.dim, len(rows)))
        self._ids.update(zip(rows.tolist(), ids, strict=True))
        self.parts = (*self.parts, VectorPart.of(self.metric, rows, stored))

    def delete(self, rows: Rows) -> None:
        """Forget these rows; unknown ones are ignored."""
        self.parts = tuple(part.without(rows) for part in self.parts)

    def search(
        self, queries: Vectors, k: int, allowed: Mask | None = None, effort: float = 1.0
    ) -> list[LegHits]:
        """Return the best ``k`` allowed rows for each query (n, dim)."""
        del effort  # always all
        queries = self.prepared(queries)
        flags, total = self.eligible(allowed)
        if total == 0:
            return [LegHits.none() for _ in queries]
        easy = self.comfortable(queries) & (total > max(FEW, k))
        hits = [LegHits.none() for _ in queries]
        if not easy.all():
            places = [part.places(on) for part, on in zip(self.parts, flags, strict=True)]
            for place in np.flatnonzero(~easy).tolist():
                hits[place] = self._settled(queries[place], places, k)
        chosen = np.flatnonzero(easy).tolist()
        for start in range(0, len(chosen), GROUP):
            some = chosen[start : start + GROUP]
            for place, each in zip(
                some, self._scanned(queries[some], k, flags, total), strict=True
            ):
                hits[place] = each
        return hits

    def scores(self, query: Vectors, rows: Rows) -> Scores:
        """Return the score of each row for one query (dim,); NaN where none is live."""
        point = self.prepared(query[None, :])[0]
        out = np.full(len(rows), np.nan)
        for part in self.parts:
            places = part.locate(rows)
            if part.live is not None:
                places[~part.live[places]] = -1
            here = np.flatnonzero(places >= 0)
            if len(here):
                out[here] = self.metric.scores(point, part.vectors, places[here])
        return out

    def stored(self, rows: Rows) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return the vectors (n, dim) of rows, deleted ones too, and which of them have one."""
        out = np.zeros((len(rows), self.dim), np.float32)
        found = np.zeros(len(rows), np.bool_)
        for part in self.parts:
            places = part.locate(rows)
            here = places >= 0
            out[here] = part.vectors[places[here]]
            found |= here
        return out, found

    def lowest(self, query: Vectors) -> float:
        """Return a bound that no live vector's score can be below, for one query (dim,)."""
        if self.metric is Metric.COSINE:
            return -1.0
        length = float(np.linalg.norm(query.astype(np.float64)))
        reach = max((part.live_reach for part in self.parts), default=0.0)
        return -(length + reach) if self.metric is Metric.EUCLIDEAN else -length * reach

    def prepared(self, queries: Vectors) -> Vectors:
        """Check query vectors (n, dim) and bring them into the metric's form.

        Raises QueryError for a wrong shape, for values that are not finite, and for a query of
        zero length under cosine.
        """
        try:
            return self.metric.stored(check_vectors(queries, self.dim, len(queries)))
        except VectorError as error:
            raise QueryError(f"query vectors: {error}") from None

    def eligible(self, allowed: Mask | None) -> tuple[list[NDArray[np.bool_] | None], int]:
        """Return each part's flags of what may be found, None for all, and how many may be."""
        flags = [part.eligible(allowed) for part in self.parts]
        counts = [
            part.count if on is part.live else int(np.count_nonzero(on))  # type: ignore[arg-type]  # live may be None
            for part, on in zip(self.parts, flags, strict=True)
        ]
        return flags, sum(counts)

    def best_of(self, query: Vectors, rows: Rows, k: int) -> LegHits:
        """Return the best ``k`` of some live rows for one prepared query (dim,)."""
        found = [part.locate(rows) for part in self.parts]
        places = [each[each >= 0] for each in found]
        if sum(len(each) for each in places) > k + SPARE:
            places = self._nearest(query, places, k)
        return self._settled(query, places, k)

    def comfortable(self, queries: Vectors) -> NDArray[np.bool_]:
        """Return for each query whether products with any vector stay well inside float32."""
        if self.metric is Metric.COSINE:
            return np.ones(len(queries), np.bool_)
        lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
        reach = self._longest()
        return np.asarray((lengths * reach > SMALL) & ((lengths * reach + reach) ** 2 < LARGE))

    def _scanned(
        self, queries: Vectors, k: int, flags: Sequence[NDArray[np.bool_] | None], total: int
    ) -> list[LegHits]:
        """Search all vectors for a group of queries."""
        if len(queries) < BATCH:
            return [self._by_scan(query, k, flags, total) for query in queries]
        return self._by_product(queries, k, flags, total)

    def _by_scan(
        self, query: Vectors, k: int, flags: Sequence[NDArray[np.bool_] | None], total: int
    ) -> LegHits:
        """Let FAISS scan every part for one query."""
        wanted = min(k + SPARE, total)
        found = [
            scan(self.metric, query, part, on, wanted)
            for part, on in zip(self.parts, flags, strict=True)
        ]
        return self._certain(query, found, k, wanted, flags, total)

    def _by_product(
        self, queries: Vectors, k: int, flags: Sequence[NDArray[np.bool_] | None], total: int
    ) -> list[LegHits]:
        """Multiply all queries with blocks of vectors, keeping the best of each block."""
        wanted = min(k + SPARE, total)
        of_parts = [
            matrix_product(self.metric, queries, part, on, wanted)
            for part, on in zip(self.parts, flags, strict=True)
        ]
        return [
            self._certain(query, each, k, wanted, flags, total)
            for query, each in zip(queries, zip(*of_parts, strict=True), strict=True)
        ]

    def _certain(
        self,
        query: Vectors,
        found: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]],
        k: int,
        wanted: int,
        flags: Sequence[NDArray[np.bool_] | None],
        total: int,
    ) -> LegHits:
        """Score candidates exactly; look at every vector near the border if that is in doubt."""
        if wanted == total:
            return self._settled(query, [places for places, _ in found], k)
        approximate = np.concatenate([scores for _, scores in found])
        # No vector that was left out is nearer than the wanted-th that was found, up to rounding.
        left_out = float(np.partition(approximate, -wanted)[-wanted])
        settled = self._settled(query, [at[near >= left_out] for at, near in found], k)
        slack = self._slack(query)
        worst = float(settled.scores[-1])
        border = -(worst**2) if self.metric is Metric.EUCLIDEAN else worst
        if border > left_out + slack:
            return settled
        places = []
        for part, on in zip(self.parts, flags, strict=True):
            candidates = [np.empty(0, np.int64)]
            for some, vectors, lengths in part.chunks(on):
                near = nearness(self.metric, query[None, :], vectors, lengths)[0]
                candidates.append(some[near >= border - slack])
            places.append(np.concatenate(candidates))
        return self._settled(query, places, k)

    def _nearest(
        self, query: Vectors, places: Sequence[NDArray[np.int64]], k: int
    ) -> list[NDArray[np.int64]]:
        """Leave out the places that float32 can tell are not among the best ``k``."""
        near = [
            nearness(self.metric, query[None, :], part.vectors[at], part.lengths[at])[0]
            for part, at in zip(self.parts, places, strict=True)
        ]
        border = -np.partition(-np.concatenate(near), k - 1)[k - 1]
        border -= 2 * self._slack(query)
        return [at[scores >= border] for at, scores in zip(places, near, strict=True)]

    def _slack(self, query: Vectors) -> float:
        """Return how far a float32 score can be off, for one query (dim,)."""
        length = float(np.linalg.norm(query.astype(np.float64)))
        return self.metric.error_bound(self.dim, length, self._longest())

    def _settled(self, query: Vectors, places: Sequence[NDArray[np.int64]], k: int) -> LegHits:
        """Return the best ``k`` of these places in each part by exact score, ties by id."""
        pairs = list(zip(self.parts, places, strict=True))
        rows = np.concatenate([part.rows[at] for part, at in pairs])
        scores = np.concatenate([self.metric.scores(query, part.vectors, at) for part, at in pairs])
        order = np.argsort(-scores, kind="stable")
        rows, scores = rows[order], scores[order]
        if len(scores) > k:
            keep = int(np.searchsorted(-scores, -scores[k - 1], side="right"))
            rows, scores = rows[:keep], scores[:keep]
        if (scores[1:] == scores[:-1]).any():
            ids = self.ids_of(rows)
            by_id = sorted(range(len(rows)), key=lambda at: (-scores[at], ids[at]))
            rows, scores = rows[by_id], scores[by_id]
        return LegHits(rows[:k], scores[:k])

    def _longest(self) -> float:
        """Return the greatest length of a vector, 0.0 if there is none."""
        return max((part.reach for part in self.parts), default=0.0)

    def _own_ids(self, rows: Rows) -> list[str]:
        """Return the ids given to ``add``."""
        return [self._ids[row] for row in rows.tolist()]
