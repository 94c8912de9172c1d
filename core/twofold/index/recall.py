"""How much of the exact answer an approximate dense leg finds."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twofold.dense import check_effort
from twofold.errors import QueryError
from twofold.index.dense_leg import DenseLeg
from twofold.index.view import IndexView
from twofold.types import LegHits, Rows, Vectors


@dataclass(frozen=True, slots=True)
class Recall:
    """The mean share of the exact best ``k`` that is found, with its 95 percent interval.

    ``milliseconds`` are those of a search, ``exact_milliseconds`` those of an exact one, both as
    part of one batch of ``queries``.
    """

    mean: float
    low: float
    high: float
    k: int
    queries: int
    milliseconds: float
    exact_milliseconds: float


def measure_recall(
    view: IndexView,
    queries: Sequence[str] | Vectors | None,
    sample: int,
    k: int,
    effort: float,
) -> Recall:
    """Ask for the best ``k`` of texts or vectors with this effort, and exactly.

    Without queries a sample of the stored vectors asks, and finds everything but itself. Raises
    QueryError where there is nothing to ask with or for.
    """
    dense = view.snapshot.dense
    for name, value in (("sample", sample), ("k", k)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise QueryError(f"{name} is {value!r:.40}: a whole number of at least 1 is wanted")
    check_effort(effort)
    if dense is None:
        raise QueryError("there are no vectors to measure the recall of")
    own: Rows | None = None
    if queries is None:
        own, vectors = _sampled(dense, sample)
    elif len(queries) and all(isinstance(each, str) for each in queries):
        vectors = view.encode_queries([str(each) for each in queries])
    else:
        vectors = np.asarray(queries)
    if not len(vectors):
        raise QueryError("there are no queries to measure the recall with")
    if vectors.ndim != 2:
        raise QueryError(f"query vectors have shape {vectors.shape}: (n, {dense.dim}) is wanted")
    return _measured(dense, vectors, k, effort, own)


def _measured(dense: DenseLeg, queries: Vectors, k: int, effort: float, own: Rows | None) -> Recall:
    """Compare; ``own`` rows are the queries themselves, and are left out of both answers."""
    index = dense.index()
    wanted = k if own is None else k + 1
    started = time.perf_counter()
    found = index.search(queries, wanted, effort=effort)
    between = time.perf_counter()
    best = index.search(queries, wanted, effort=math.inf)
    ended = time.perf_counter()
    shares = np.array(
        [
            _share(_rows(some, k, own, place), _rows(all_, k, own, place))
            for place, (some, all_) in enumerate(zip(found, best, strict=True))
        ]
    )
    margin = 1.96 * float(shares.std(ddof=1)) / math.sqrt(len(shares)) if len(shares) > 1 else 1.0
    mean = float(shares.mean())
    return Recall(
        mean=mean,
        low=max(mean - margin, 0.0),
        high=min(mean + margin, 1.0),
        k=k,
        queries=len(queries),
        milliseconds=(between - started) * 1e3 / len(queries),
        exact_milliseconds=(ended - between) * 1e3 / len(queries),
    )


def _sampled(dense: DenseLeg, count: int) -> tuple[Rows, Vectors]:
    """Return a seeded sample of live rows that have a vector, and those (n, dim)."""
    rows = np.sort(np.random.default_rng(0).permutation(dense.live_rows)[:count])
    return rows, dense.vectors(rows)[0]


def _rows(hits: LegHits, k: int, own: Rows | None, place: int) -> set[int]:
    rows = hits.rows if own is None else hits.rows[hits.rows != own[place]]
    return set(rows[:k].tolist())


def _share(found: set[int], best: set[int]) -> float:
    return len(found & best) / len(best) if best else 1.0
