"""Measures the recall of the approximate dense leg against an exact search."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twofold.errors import QueryError
from twofold.index.dense_leg import DenseLeg
from twofold.index.view import IndexView
from twofold.types import LegHits, Rows, Vectors
from twofold.validation import check_effort, check_integer


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall of the dense leg against exact search.

    Attributes:
        mean: Mean recall@``k``: the share of the exact best ``k`` passages that is found.
        low: Lower end of the 95 percent confidence interval of ``mean``, ``high`` the upper end.
        milliseconds: Time per query, all in one batch; ``exact_milliseconds`` for exact search.
    """

    mean: float
    low: float
    high: float
    k: int
    queries: int
    milliseconds: float
    exact_milliseconds: float


def measure_recall(
    view: IndexView, queries: Sequence[str] | Vectors | None, sample: int, k: int, effort: float
) -> Recall:
    """Measure the recall@``k`` of a search with ``effort``; raise QueryError for bad arguments.

    ``queries`` are texts or vectors (n, dim). If None, the queries are a seeded sample of stored
    vectors (``sample`` is their number), each without itself in the results.
    """
    dense = view.snapshot.dense
    check_integer("sample", sample, error=QueryError)
    check_integer("k", k, error=QueryError)
    check_effort(effort)
    if dense is None:
        raise QueryError("recall needs stored vectors: add passages with an encoder or vectors")
    sampled: Rows | None = None
    if queries is None:
        sampled = np.sort(np.random.default_rng(0).permutation(dense.live_rows)[:sample])
        vectors = dense.vectors(sampled)[0]
    elif len(queries) and all(isinstance(query, str) for query in queries):
        vectors = view.scope.encode_queries([str(query) for query in queries])
    else:
        vectors = np.asarray(queries)
    if not len(vectors):
        raise QueryError("recall needs at least one query: pass queries, or add passages")
    if vectors.ndim != 2:
        raise QueryError(f"query vectors must have shape (n, {dense.dim}), got {vectors.shape}")
    return _compare(dense, vectors, k, effort, sampled)


def _compare(
    dense: DenseLeg, queries: Vectors, k: int, effort: float, sampled: Rows | None
) -> Recall:
    """Compare with exact search, leaving each query's ``sampled`` row out of its results."""
    index = dense.index
    searched = k if sampled is None else k + 1
    started = time.perf_counter()
    found = index.search(queries, searched, effort=effort)
    between = time.perf_counter()
    exact = index.search(queries, searched, effort=math.inf)
    ended = time.perf_counter()
    shares = []
    for position in range(len(queries)):
        row = int(sampled[position]) if sampled is not None else None
        best = _best_rows(exact[position], k, row)
        both = _best_rows(found[position], k, row) & best
        shares.append(len(both) / len(best) if best else 1.0)
    mean = float(np.mean(shares))
    deviation = float(np.std(shares, ddof=1)) if len(shares) > 1 else math.inf
    margin = min(1.96 * deviation / math.sqrt(len(shares)), 1.0)
    return Recall(
        mean=mean,
        low=max(mean - margin, 0.0),
        high=min(mean + margin, 1.0),
        k=k,
        queries=len(queries),
        milliseconds=(between - started) * 1e3 / len(queries),
        exact_milliseconds=(ended - between) * 1e3 / len(queries),
    )


def _best_rows(hits: LegHits, k: int, excluded: int | None) -> set[int]:
    rows = hits.keys if excluded is None else hits.keys[hits.keys != excluded]
    return set(rows[:k].tolist())
