"""One pass over stored vectors in float32: by FAISS for a query, by a product for many."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.dense.part import VectorPart
from twofold.metrics import Metric
from twofold.threads import beside, faiss_threads
from twofold.types import Vectors

SPLIT = 20_000
"""From this many vectors on, a scan is worth a second thread."""
SPARSE = 4
"""Where fewer than one in this many is eligible, gathering those beats scanning all."""
MASKED = 1024
"""Up to this many deleted vectors are fetched and dropped, which beats masking them."""


def scanned(
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
        return multiplied(metric, query[None, :], part, eligible, wanted)[0]
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


def multiplied(
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
