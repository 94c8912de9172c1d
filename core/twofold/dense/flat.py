"""The dense leg: exact search over stored vectors by FAISS, with scores settled in float64."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import QueryError, VectorError
from twofold.metrics import Metric
from twofold.rownumbers import allowed_places, places_of
from twofold.threads import beside, one_faiss_thread
from twofold.types import LegHits, Mask, Rows, Scores, Vectors

SPARE = 32
"""Candidates fetched beyond k, so that float32 errors at the border seldom need a second scan."""
FEW = 1024
"""Up to this many eligible vectors are scored directly, without FAISS."""
BLOCK = 16_384
"""Vectors in one matrix product of a batch: 25 MB at 384 dimensions."""
SMALL, LARGE = 1e-24, 1e36
"""Products of lengths outside of these could vanish or overflow in float32."""
SPLIT = 20_000
"""From this many vectors on, a scan is worth a second thread."""
MASKED = 1024
"""Up to this many deleted vectors are fetched and dropped, which beats masking them."""
GROUP = 256
"""Queries in one matrix product: 17 MB of scores."""
BATCH = 4
"""From this many queries on, one matrix product beats a scan for each."""


@dataclass(frozen=True, slots=True)
class VectorPart:
    """Vectors (n, dim) of ascending rows; ``live`` flags those not deleted, None for all.

    ``reach`` is the greatest length of any vector, ``live_reach`` that of a live one.
    """

    rows: Rows
    vectors: Vectors
    live: NDArray[np.bool_] | None
    lengths: NDArray[np.float64]
    reach: float
    live_reach: float

    @classmethod
    def of(
        cls, metric: Metric, rows: Rows, vectors: Vectors, start: "VectorPart | None" = None
    ) -> "VectorPart":
        """Return a part of stored vectors with nothing deleted.

        ``start`` is a part of the same vectors when there were fewer: its lengths still hold.
        """
        if metric is Metric.COSINE:
            return cls(rows, vectors, None, np.ones(len(rows)), 1.0, 1.0)
        known = start.lengths if start is not None else np.empty(0)
        squares = [
            np.einsum("ij,ij->i", block, block, dtype=np.float64)
            for block in _blocks(vectors[len(known) :])
        ]
        lengths = np.concatenate([known, *(np.sqrt(each) for each in squares)])
        reach = float(lengths.max(initial=0.0))
        return cls(rows, vectors, None, lengths, reach, reach)

    def without(self, dead: Rows) -> "VectorPart":
        """Return this part without more rows."""
        places = self.locate(dead)
        places = places[places >= 0]
        if len(places) == 0:
            return self
        live = np.ones(len(self.rows), np.bool_) if self.live is None else self.live.copy()
        live[places] = False
        live_reach = float(self.lengths[live].max(initial=0.0))
        return VectorPart(self.rows, self.vectors, live, self.lengths, self.reach, live_reach)

    def locate(self, rows: Rows) -> NDArray[np.int64]:
        """Return the place of each row, -1 for rows that are not here."""
        return places_of(rows, self.rows)

    def eligible(self, allowed: Mask | None) -> NDArray[np.bool_] | None:
        """Return one flag a vector, or None for all."""
        if allowed is None:
            return self.live
        flags = allowed_places(self.rows, allowed)
        return flags if self.live is None else flags & self.live


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
        self._ids_of = ids_of if ids_of is not None else self._own_ids

    def add(self, rows: Rows, ids: Sequence[str], vectors: Vectors) -> None:
        """Index ``vectors`` (n, dim) under ascending rows, greater than all before."""
        stored = self.metric.stored(check_vectors(vectors, self.dim, len(rows)))
        self._ids.update(zip(rows.tolist(), ids, strict=True))
        self.parts = (*self.parts, VectorPart.of(self.metric, rows, stored))

    def delete(self, rows: Rows) -> None:
        """Forget these rows; unknown ones are ignored."""
        self.parts = tuple(part.without(rows) for part in self.parts)

    def search(self, queries: Vectors, k: int, allowed: Mask | None = None) -> list[LegHits]:
        """Return the best ``k`` allowed rows for each query (n, dim)."""
        queries = self.prepared(queries)
        flags = [part.eligible(allowed) for part in self.parts]
        total = sum(
            len(part.rows) if on is None else int(on.sum())
            for part, on in zip(self.parts, flags, strict=True)
        )
        if total == 0:
            return [LegHits.none() for _ in queries]
        if total <= max(FEW, k) or not self._comfortable(queries):
            places = [_places(part, on) for part, on in zip(self.parts, flags, strict=True)]
            return [self._settled(query, places, k) for query in queries]
        if len(queries) < BATCH:
            return [self._by_scan(query, k, flags, total) for query in queries]
        groups = [queries[at : at + GROUP] for at in range(0, len(queries), GROUP)]
        return [hits for group in groups for hits in self._by_product(group, k, flags, total)]

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
                out[here] = self.metric.scores(point, part.vectors[places[here]])
        return out

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

    def _comfortable(self, queries: Vectors) -> bool:
        """Whether products of these queries with any vector stay well inside float32."""
        if self.metric is Metric.COSINE:
            return True
        lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
        reach = self._longest()
        low, high = float(lengths.min(initial=1.0)) * reach, float(lengths.max(initial=0.0))
        return low > SMALL and (high + reach) ** 2 < LARGE

    def _by_scan(
        self, query: Vectors, k: int, flags: Sequence[NDArray[np.bool_] | None], total: int
    ) -> LegHits:
        """Let FAISS scan every part for one query."""
        wanted = min(k + SPARE, total)
        found = [
            _scanned(self.metric, query, part, on, wanted)
            for part, on in zip(self.parts, flags, strict=True)
        ]
        return self._certain(query, found, k, wanted, flags, total)

    def _by_product(
        self, queries: Vectors, k: int, flags: Sequence[NDArray[np.bool_] | None], total: int
    ) -> list[LegHits]:
        """Multiply all queries with blocks of vectors, keeping the best of each block."""
        wanted = min(k + SPARE, total)
        found: list[list[tuple[NDArray[np.int64], NDArray[np.float32]]]] = [[] for _ in queries]
        for part, on in zip(self.parts, flags, strict=True):
            near = np.full((len(queries), 0), -np.inf, np.float32)
            places = np.zeros((len(queries), 0), np.int64)
            for start in range(0, len(part.rows), BLOCK):
                some = slice(start, min(start + BLOCK, len(part.rows)))
                scores = _nearness(self.metric, queries, part, some)
                if on is not None:
                    scores[:, ~on[some]] = -np.inf
                near = np.concatenate([near, scores], axis=1)
                numbers = np.arange(some.start, some.stop)
                places = np.concatenate(
                    [places, np.broadcast_to(numbers, (len(queries), len(numbers)))], axis=1
                )
                if near.shape[1] > wanted:
                    best = np.argpartition(near, -wanted, axis=1)[:, -wanted:]
                    near = np.take_along_axis(near, best, axis=1)
                    places = np.take_along_axis(places, best, axis=1)
            for number, each in enumerate(found):
                real = near[number] > -np.inf
                each.append((places[number][real], near[number][real]))
        return [
            self._certain(query, each, k, wanted, flags, total)
            for query, each in zip(queries, found, strict=True)
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
        length = float(np.linalg.norm(query.astype(np.float64)))
        slack = self.metric.error_bound(self.dim, length, self._longest())
        worst = float(settled.scores[-1])
        border = -(worst**2) if self.metric is Metric.EUCLIDEAN else worst
        if border > left_out + slack:
            return settled
        places = []
        for part, on in zip(self.parts, flags, strict=True):
            near = [
                np.flatnonzero(
                    _nearness(self.metric, query[None, :], part, some)[0] >= border - slack
                )
                + some.start
                for some in _slices(len(part.rows))
            ]
            candidates = np.concatenate([np.empty(0, np.int64), *near])
            places.append(candidates if on is None else candidates[on[candidates]])
        return self._settled(query, places, k)

    def _settled(self, query: Vectors, places: Sequence[NDArray[np.int64]], k: int) -> LegHits:
        """Return the best ``k`` of these places in each part by exact score, ties by id."""
        pairs = list(zip(self.parts, places, strict=True))
        rows = np.concatenate([part.rows[at] for part, at in pairs])
        scores = np.concatenate([self.metric.scores(query, part.vectors[at]) for part, at in pairs])
        order = np.argsort(-scores, kind="stable")
        rows, scores = rows[order], scores[order]
        if len(scores) > k:
            keep = int(np.searchsorted(-scores, -scores[k - 1], side="right"))
            rows, scores = rows[:keep], scores[:keep]
        if (scores[1:] == scores[:-1]).any():
            ids = self._ids_of(rows)
            by_id = sorted(range(len(rows)), key=lambda at: (-scores[at], ids[at]))
            rows, scores = rows[by_id], scores[by_id]
        return LegHits(rows[:k], scores[:k])

    def _longest(self) -> float:
        """Return the greatest length of a vector, 0.0 if there is none."""
        return max((part.reach for part in self.parts), default=0.0)

    def _own_ids(self, rows: Rows) -> list[str]:
        """Return the ids given to ``add``."""
        return [self._ids[row] for row in rows.tolist()]


def check_vectors(vectors: Vectors, dim: int, count: int) -> Vectors:
    """Return ``vectors`` as contiguous float32 (count, dim), or raise VectorError saying why not.

    Floats of any width are taken; what is not finite as float32 is refused.
    """
    given = np.asarray(vectors)
    if given.ndim != 2 or given.shape != (count, dim):
        raise VectorError(f"vectors have shape {given.shape}: ({count}, {dim}) is wanted")
    if given.dtype.kind != "f":
        raise VectorError(f"vectors are of {given.dtype}: floats are wanted, best float32")
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(given, np.float32)
    finite = np.isfinite(out).all(axis=1)
    if not finite.all():
        place = int(np.flatnonzero(~finite)[0])
        raise VectorError(f"vector {place} has a value that is NaN or infinite as float32")
    return out


def _scanned(
    metric: Metric,
    query: Vectors,
    part: VectorPart,
    eligible: NDArray[np.bool_] | None,
    wanted: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the places nearest to one query, and float32 scores, higher is better.

    A large part is scanned by halves on two threads, each by one thread of FAISS.
    """
    count = len(part.rows)
    if count < SPLIT:
        return _scan(metric, query, part, eligible, wanted, slice(0, count))
    lower, upper = beside(
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
    with one_faiss_thread():
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


def _nearness(
    metric: Metric, queries: Vectors, part: VectorPart, some: slice
) -> NDArray[np.float32]:
    """Return float32 scores (queries, vectors) by one matrix product; squared under Euclidean."""
    products: NDArray[np.float32] = queries @ part.vectors[some].T
    if metric is not Metric.EUCLIDEAN:
        return products
    squares = np.einsum("ij,ij->i", queries, queries)[:, None]
    near = 2 * products - squares - (part.lengths[some] ** 2).astype(np.float32)
    return np.asarray(near, np.float32)


def _places(part: VectorPart, eligible: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Return the places of all eligible vectors."""
    return np.arange(len(part.rows)) if eligible is None else np.flatnonzero(eligible)


def _slices(count: int) -> list[slice]:
    """Cut ``count`` vectors into blocks."""
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def _blocks(vectors: Vectors) -> list[Vectors]:
    """Cut vectors into blocks."""
    return [vectors[some] for some in _slices(len(vectors))]
