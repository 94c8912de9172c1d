"""Exact search over stored vectors: FAISS scans in float32, and float64 scores decide."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.concurrency import limit_faiss_threads, run_parallel
from twofold.dense.passage_vectors import PassageVectors, Spans
from twofold.dense.vector_block import Flags, Positions, VectorBlock, VectorRuns
from twofold.errors import QueryError, VectorError
from twofold.segments import allowed_flags, find_positions, run_offsets
from twofold.similarity import Metric
from twofold.types import LegHits, Mask, Rows, Scores, Vectors
from twofold.validation import check_vectors

PARALLEL_ROWS = 20_000  # vectors from which on a second thread speeds up a scan
GATHER_RATIO = 4  # where fewer than one vector in this many is eligible, those are gathered
MAX_OVERFETCH = 1024  # up to this many deleted vectors are fetched and dropped instead of masked
SPARE_CANDIDATES = 32  # fetched beyond k, so that float32 errors rarely need a second scan
DIRECT_ROWS = 1024  # up to this many eligible vectors are scored directly, without FAISS
MIN_PRODUCT, MAX_PRODUCT = 1e-24, 1e36
"""Products of lengths outside these limits could vanish or overflow in float32."""
GROUP_QUERIES = 256  # queries in one matrix product: 17 MB of scores
MAX_SCORES = 1 << 24  # float32 scores held at once where passages have several vectors
PRODUCT_QUERIES = 4  # queries from which on one matrix product is faster than a scan per query

Candidates = tuple[Positions, NDArray[np.float32]]  # in a block, with their float32 scores
Eligible = tuple[Sequence[Flags | None], int]
"""Each block's flags of eligible rows (None: all are), and the number of eligible rows."""


def scan(
    metric: Metric, query: Vectors, block: VectorBlock, eligible: Flags | None, count: int
) -> Candidates:
    """Return at least the ``count`` nearest vectors of a block for one query (dim,).

    Two threads scan the halves of a large block. If few vectors are eligible, only those are read.
    """
    size = len(block.rows)
    if eligible is not None and np.count_nonzero(eligible) * GATHER_RATIO < size:
        return matrix_product(metric, query[None, :], block, eligible, count)[0]
    if size < PARALLEL_ROWS:
        return _scan_slice(metric, query, block, eligible, count, slice(0, size))
    lower, upper = run_parallel(
        lambda: _scan_slice(metric, query, block, eligible, count, slice(0, size // 2)),
        lambda: _scan_slice(metric, query, block, eligible, count, slice(size // 2, size)),
    )
    return np.concatenate([lower[0], upper[0]]), np.concatenate([lower[1], upper[1]])


def _scan_slice(
    metric: Metric, query: Vectors, block: VectorBlock, eligible: Flags | None, k: int, at: slice
) -> Candidates:
    """Return the ``k`` nearest vectors of a block's slice ``at``, scanned with FAISS."""
    import faiss

    vectors = block.vectors[at]
    flags = eligible[at] if eligible is not None else None
    search = faiss.knn_L2sqr if metric is Metric.EUCLIDEAN else faiss.knn_inner_product
    selector: list[Any] = []
    extra = 0
    if flags is not None and eligible is block.live:
        dead = len(flags) - int(np.count_nonzero(flags))
        flags = flags if dead else None
        extra = dead if dead <= MAX_OVERFETCH else 0
    if flags is not None and not extra:
        bits = np.packbits(flags, bitorder="little")
        selector = [faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))]
        if metric is Metric.EUCLIDEAN:
            selector.insert(0, None)  # squared lengths of the vectors, not needed
    size, dim = vectors.shape
    fetched = min(k + extra, size)
    scores, positions = np.empty(fetched, np.float32), np.empty(fetched, np.int64)
    arrays = faiss.swig_ptr(query), faiss.swig_ptr(vectors)
    outputs = faiss.swig_ptr(scores), faiss.swig_ptr(positions)
    with limit_faiss_threads(1):
        search(*arrays, dim, 1, size, fetched, *outputs, *selector)
    found = positions >= 0
    if extra and flags is not None:
        found &= flags[positions]
    positions, scores = positions[found][:k] + at.start, scores[found][:k]
    return positions, -scores if metric is Metric.EUCLIDEAN else scores


def float32_scores(
    metric: Metric, queries: Vectors, vectors: Vectors, lengths: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return float32 scores (queries, vectors) by one matrix product.

    Euclidean scores are negative squared distances; ``lengths`` are the vectors'.
    """
    products: NDArray[np.float32] = queries @ vectors.T
    if metric is not Metric.EUCLIDEAN:
        return products
    squares = np.einsum("ij,ij->i", queries, queries)[:, None]
    scores = 2 * products - squares - (lengths**2).astype(np.float32)
    return np.asarray(scores, np.float32)


def score_vectors(
    metric: Metric, queries: Vectors, block: VectorBlock, eligible: Flags | None
) -> NDArray[np.float32]:
    """Return float32 scores (queries, vectors) of all eligible vectors of a block.

    A matrix product of few queries is not used: where other processes keep the cores busy, the
    threads of a BLAS library wait for each other, for milliseconds.
    """
    chunks = block.chunks(eligible)
    if len(queries) >= PRODUCT_QUERIES:
        scores = [float32_scores(metric, queries, *chunk[1:]) for chunk in chunks]
    elif eligible is None and len(block.rows) >= PARALLEL_ROWS:
        listed = list(chunks)  # slices, which copy nothing
        half = len(listed) // 2
        lower, upper = run_parallel(
            lambda: [_scan_scores(metric, queries, chunk[1]) for chunk in listed[:half]],
            lambda: [_scan_scores(metric, queries, chunk[1]) for chunk in listed[half:]],
        )
        scores = lower + upper
    else:
        scores = [_scan_scores(metric, queries, chunk[1]) for chunk in chunks]
    return np.concatenate([np.empty((len(queries), 0), np.float32), *scores], axis=1)


def _scan_scores(metric: Metric, queries: Vectors, vectors: Vectors) -> NDArray[np.float32]:
    """Return float32 scores (queries, vectors) as `float32_scores` does, in this thread alone."""
    import faiss

    score = faiss.fvec_inner_products_ny
    if metric is Metric.EUCLIDEAN:
        score = faiss.fvec_L2sqr_ny
    out = np.empty((len(queries), len(vectors)), np.float32)
    size, dim = vectors.shape
    for query, row in zip(queries, out, strict=True):
        score(faiss.swig_ptr(row), faiss.swig_ptr(query), faiss.swig_ptr(vectors), dim, size)
    return -out if metric is Metric.EUCLIDEAN else out


def matrix_product(
    metric: Metric, queries: Vectors, block: VectorBlock, eligible: Flags | None, count: int
) -> list[Candidates]:
    """Return the ``count`` nearest vectors of a block for each query (n, dim).

    Multiplies all queries with one chunk of eligible vectors after the other.
    """
    scores = np.zeros((len(queries), 0), np.float32)
    positions = np.zeros((len(queries), 0), np.int64)
    for chunk, vectors, lengths in block.chunks(eligible):
        of_chunk = float32_scores(metric, queries, vectors, lengths)
        scores = np.concatenate([scores, of_chunk], axis=1)
        here = np.broadcast_to(chunk, (len(queries), len(chunk)))
        positions = np.concatenate([positions, here], axis=1)
        if scores.shape[1] > count:
            best = np.argpartition(scores, -count, axis=1)[:, -count:]
            scores = np.take_along_axis(scores, best, axis=1)
            positions = np.take_along_axis(positions, best, axis=1)
    return list(zip(positions, scores, strict=True))


def best_of_passages(hits: LegHits, k: int) -> LegHits:
    """Return the ``k`` best passages of hits in which a passage occurs once per window."""
    first = np.sort(np.unique(hits.keys, return_index=True)[1])[:k]
    return LegHits(hits.keys[first], hits.scores[first])


class FlatIndex:
    """Exact nearest passages under one metric; results depend on the live vectors alone.

    A passage with windows has several vectors, and the score of the best one. FAISS proposes
    candidates in float32, and each is rescored in float64 in a fixed order. Where rounding could
    have hidden a better vector, all vectors near the k-th score are rescored. Ids, which ``ids_of``
    returns, decide ties.
    """

    def __init__(
        self,
        metric: Metric,
        dim: int,
        blocks: Sequence[VectorBlock],
        ids_of: Callable[[Rows], list[str]],
    ) -> None:
        self.metric = metric
        self.dim = dim
        self.blocks = tuple(blocks)
        self.ids_of = ids_of
        self.has_windows = any(block.spans is not None for block in blocks)
        self._passages, self._per_passage = 0, 1.0
        if self.has_windows:
            self._passages = sum(block.count_passages(None) for block in blocks)
            self._per_passage = sum(len(each.rows) for each in blocks) / max(self._passages, 1)
        # Completing the candidates of a search needs its query again.
        self._prepared: tuple[tuple[object, ...], Vectors] | None = None

    def search_prepared(self, queries: Vectors, k: int, eligible: Eligible) -> list[LegHits]:
        """Return the best ``k`` eligible rows for each query (n, dim) of `prepare_queries`."""
        if self.has_windows:
            return self._search_windows(queries, k, eligible)
        flags, total = eligible
        if total == 0:
            return [LegHits.empty() for _ in queries]
        few = total <= max(DIRECT_ROWS, k)
        scannable = np.zeros(len(queries), np.bool_) if few else self.is_float32_safe(queries)
        hits: dict[int, LegHits] = {}
        if not scannable.all():
            positions = [
                np.arange(len(block.rows)) if on is None else np.flatnonzero(on)
                for block, on in zip(self.blocks, flags, strict=True)
            ]
            for number in np.flatnonzero(~scannable).tolist():
                hits[number] = self.rescore_exact(queries[number], positions, k)
        numbers = np.flatnonzero(scannable).tolist()
        for start in range(0, len(numbers), GROUP_QUERIES):
            group = numbers[start : start + GROUP_QUERIES]
            found = self._scan_group(queries[group], k, eligible)
            hits |= zip(group, found, strict=True)
        return [hits[number] for number in range(len(queries))]

    def vector_count(self, k: int) -> int:
        """Return how many vectors ``k`` passages have on average, or all have, rounded up."""
        return math.ceil(min(k, self._passages) * self._per_passage) if self.has_windows else k

    def count_passages(self, eligible: Eligible) -> int:
        """Return the number of passages with eligible vectors."""
        if not self.has_windows:
            return eligible[1]
        pairs = zip(self.blocks, eligible[0], strict=True)
        return sum(block.count_passages(on) for block, on in pairs)

    def scores(self, query: Vectors, rows: Rows) -> Scores:
        """Return the score of each row for one query (dim,); NaN for rows without a live vector."""
        point = self.prepare_queries(query[None, :])[0]
        out = np.full(len(rows), np.nan)
        for block in self.blocks:
            if block.spans is not None:
                self._score_windows(point, block, rows, out)
                continue
            positions = find_positions(rows, block.rows, block.live)
            here = np.flatnonzero(positions >= 0)
            if len(here):
                out[here] = self.metric.score(point, block.vectors, positions[here])
        return out

    def best_spans(self, query: Vectors, rows: Rows) -> Spans:
        """Return the part of each passage that scores best for one query (dim,), (n, 4).

        It is 0 for passages without windows, and for rows without a live vector.
        """
        out = np.zeros((len(rows), 4), np.int64)
        if not self.has_windows:
            return out
        point = self.prepare_queries(query[None, :])[0]
        for block in self.blocks:
            if block.spans is None:
                continue
            positions, counts = block.find_all(rows)
            scores = self.metric.score(point, block.vectors, positions)
            if block.live is not None:
                scores[~block.live[positions]] = -np.inf
            offsets = run_offsets(counts).tolist()
            for at, (start, stop) in enumerate(pairwise(offsets)):
                if stop > start and scores[start] > -np.inf:
                    best = positions[start + int(np.argmax(scores[start:stop]))]
                    out[at] = block.spans[best]
        return out

    def get_vectors(self, rows: Rows) -> tuple[Vectors, Flags]:
        """Return one vector of each of ``rows`` (n, dim), and flags of rows with one.

        Deleted rows still have theirs. Of several vectors, it is the first one.
        """
        out = np.zeros((len(rows), self.dim), np.float32)
        found = np.zeros(len(rows), np.bool_)
        for block in self.blocks:
            positions = block.find_first(rows)
            here = positions >= 0
            out[here] = block.vectors[positions[here]]
            found |= here
        return out, found

    def get_all_vectors(self, rows: Rows) -> PassageVectors:
        """Return all vectors of ``rows``, which ascend; rows without one are left out."""
        parts: list[PassageVectors] = []
        for block in self.blocks:
            positions, _ = block.find_all(rows)
            spans = block.spans[positions] if block.spans is not None else None
            parts.append(PassageVectors(block.rows[positions], block.vectors[positions], spans))
        return PassageVectors.concatenate(parts, self.dim)

    def locate(self, rows: Rows) -> Positions:
        """Return the position of each of ``rows`` among all blocks' vectors, one after the other.

        ``rows`` ascend. A row that occurs several times stands for its first vectors.
        """
        out = np.zeros(len(rows), np.int64)
        occurrence = np.arange(len(rows)) - np.searchsorted(rows, rows) if self.has_windows else 0
        start = 0
        for block in self.blocks:
            positions = block.find_first(rows)
            here = positions >= 0
            out[here] = (positions + occurrence)[here] + start
            start += len(block.rows)
        return out

    def vectors_at(self, positions: Positions) -> Vectors:
        """Return the vectors (n, dim) at the positions that ``locate`` returned."""
        out = np.zeros((len(positions), self.dim), np.float32)
        start = 0
        for block in self.blocks:
            here = (positions >= start) & (positions < start + len(block.rows))
            out[here] = block.vectors[positions[here] - start]
            start += len(block.rows)
        return out

    def lower_bound(self, query: Vectors) -> float:
        """Return a lower bound on the score of every live vector for one query (dim,)."""
        if self.metric is Metric.COSINE:
            return -1.0
        length = float(np.linalg.norm(query.astype(np.float64)))
        longest = max((block.max_live_length for block in self.blocks), default=0.0)
        return -(length + longest) if self.metric is Metric.EUCLIDEAN else -length * longest

    def prepare_queries(self, queries: Vectors) -> Vectors:
        """Check query vectors (n, dim) and return them in the metric's stored form.

        The last single query is cached. Raises QueryError for a wrong shape, values that are not
        finite, and length zero under cosine.
        """
        last = self._prepared
        key = (queries.dtype, queries.shape, queries.tobytes()) if len(queries) == 1 else None
        if last is not None and last[0] == key:
            return last[1]
        try:
            prepared = self.metric.prepare(check_vectors(queries, self.dim, len(queries)))
        except VectorError as error:
            raise QueryError(f"query vectors: {error}") from None
        if key is not None:
            self._prepared = key, prepared.copy()
        return prepared

    def eligible(self, allowed: Mask | None) -> Eligible:
        """Return flags of the rows that are live and ``allowed``, and their number."""
        flags = [
            block.live if allowed is None else allowed_flags(block.rows, allowed, block.live)
            for block in self.blocks
        ]
        counts = [
            block.count if on is block.live else int(np.count_nonzero(on))  # type: ignore[arg-type]  # live may be None
            for block, on in zip(self.blocks, flags, strict=True)
        ]
        return flags, sum(counts)

    def is_float32_safe(self, queries: Vectors) -> Flags:
        """Return for each query whether float32 products with vectors don't vanish or overflow."""
        if self.metric is Metric.COSINE:
            return np.ones(len(queries), np.bool_)
        lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
        longest = self._max_length()
        products = lengths * longest
        return np.asarray((products > MIN_PRODUCT) & ((products + longest) ** 2 < MAX_PRODUCT))

    def rank_rows(self, query: Vectors, rows: Rows, k: int) -> LegHits:
        """Return the best ``k`` of live ``rows`` for one query (dim,) of `prepare_queries`."""
        if self.has_windows:
            return self._rank_windows(query, np.unique(rows), k)
        located = [find_positions(rows, block.rows) for block in self.blocks]
        positions = [here[here >= 0] for here in located]
        if sum(map(len, positions)) > k + SPARE_CANDIDATES:
            # Leave out what float32 scores can tell is not among the best k.
            scores = [
                float32_scores(self.metric, query[None, :], block.vectors[at], block.lengths[at])[0]
                for block, at in zip(self.blocks, positions, strict=True)
            ]
            border = -np.partition(-np.concatenate(scores), k - 1)[k - 1]
            border -= 2 * self._error_bound(query)
            positions = [at[dense >= border] for at, dense in zip(positions, scores, strict=True)]
        return self.rescore_exact(query, positions, k)

    def rescore_exact(self, query: Vectors, positions: Sequence[Positions], k: int) -> LegHits:
        """Return the best ``k`` of each block's ``positions`` by exact score, ties by id."""
        pairs = list(zip(self.blocks, positions, strict=True))
        rows = np.concatenate([block.rows[at] for block, at in pairs])
        by_block = [self.metric.score(query, block.vectors, at) for block, at in pairs]
        scores = np.concatenate(by_block)
        order = np.argsort(-scores, kind="stable")
        rows, scores = rows[order], scores[order]
        if len(scores) > k:
            keep = int(np.searchsorted(-scores, -scores[k - 1], side="right"))
            rows, scores = rows[:keep], scores[:keep]
        equal = scores[1:] == scores[:-1]
        if equal.any():
            tied = np.append(equal, False)
            tied[1:] |= equal
            at = np.flatnonzero(tied)
            keys = list(zip((-scores[at]).tolist(), self.ids_of(rows[at]), strict=True))
            rows[at] = rows[at[sorted(range(len(at)), key=keys.__getitem__)]]
        return LegHits(rows[:k], scores[:k])

    def _score_windows(self, point: Vectors, block: VectorBlock, rows: Rows, out: Scores) -> None:
        """Enter the best score of each row's live vectors in a block into ``out``."""
        positions, counts = block.find_all(rows)
        here = np.flatnonzero(counts)
        if not len(here):
            return
        starts = run_offsets(counts[here])[:-1]
        scores = np.maximum.reduceat(self.metric.score(point, block.vectors, positions), starts)
        live = slice(None) if block.live is None else block.live[positions[starts]]
        out[here[live]] = scores[live]

    def _search_windows(self, queries: Vectors, k: int, eligible: Eligible) -> list[LegHits]:
        """Return the best ``k`` eligible passages for each query (n, dim), scoring all vectors."""
        if eligible[1] == 0:
            return [LegHits.empty() for _ in queries]
        pairs = list(zip(self.blocks, eligible[0], strict=True))
        runs = [VectorRuns.from_positions(block, block.positions(on)) for block, on in pairs]
        safe = self.is_float32_safe(queries)
        group = max(MAX_SCORES // eligible[1], 1)
        hits: list[LegHits] = []
        for start in range(0, len(queries), group):
            some = queries[start : start + group]
            scores = [score_vectors(self.metric, some, block, on) for block, on in pairs]
            for number, query in enumerate(some):
                of_query = [each[number] for each in scores] if safe[start + number] else None
                hits.append(self._rank_runs(query, runs, of_query, k))
        return hits

    def _rank_windows(self, query: Vectors, rows: Rows, k: int) -> LegHits:
        """Return the best ``k`` of live ``rows``, each once, of which some have several vectors."""
        runs = [VectorRuns.from_positions(block, block.find_all(rows)[0]) for block in self.blocks]
        scores = [
            _scan_scores(self.metric, query[None, :], block.vectors[run.positions])[0]
            for block, run in zip(self.blocks, runs, strict=True)
        ]
        return self._rank_runs(query, runs, scores, k)

    def _rank_runs(
        self,
        query: Vectors,
        runs: Sequence[VectorRuns],
        scores: Sequence[NDArray[np.float32]] | None,
        k: int,
    ) -> LegHits:
        """Return the best ``k`` passages of each block's ``runs``.

        ``scores`` are those of their vectors in float32; None if they can't tell anything.
        """
        positions = [run.positions for run in runs]
        if scores is not None:
            # Rescore what float32 scores can't tell to be worse than its passage's best vector, or
            # than the best vectors of k passages.
            best = [run.best(each) for run, each in zip(runs, scores, strict=True)]
            every, border = np.concatenate(best), -np.inf
            slack = 2 * self._error_bound(query)
            if len(every) > k:
                border = -np.partition(-every, k - 1)[k - 1] - slack
            positions = [
                run.positions[each >= run.repeat_values(np.maximum(top - slack, border))]
                for run, each, top in zip(runs, scores, best, strict=True)
            ]
        everything = self.rescore_exact(query, positions, sum(map(len, positions)))
        return best_of_passages(everything, k)

    def _scan_group(self, queries: Vectors, k: int, eligible: Eligible) -> list[LegHits]:
        """Return the best ``k`` eligible rows for each query of a group (n, dim)."""
        count = min(k + SPARE_CANDIDATES, eligible[1])
        pairs = list(zip(self.blocks, eligible[0], strict=True))
        found: list[Sequence[Candidates]]
        if len(queries) < PRODUCT_QUERIES:
            found = [
                [scan(self.metric, query, block, on, count) for block, on in pairs]
                for query in queries
            ]
        else:
            products = [matrix_product(self.metric, queries, *pair, count) for pair in pairs]
            found = list(zip(*products, strict=True))
        return [
            self._confirm(query, candidates, k, count, eligible)
            for query, candidates in zip(queries, found, strict=True)
        ]

    def _confirm(
        self, query: Vectors, found: Sequence[Candidates], k: int, count: int, eligible: Eligible
    ) -> LegHits:
        """Return the exact best ``k`` of ``found``; of all near the k-th if rounding matters."""
        if count == eligible[1]:
            return self.rescore_exact(query, [positions for positions, _ in found], k)
        approximate = np.concatenate([scores for _, scores in found])
        # Every vector that was not fetched scores at most this, up to rounding.
        left_out = float(np.partition(approximate, -count)[-count])
        best = self.rescore_exact(query, [at[scores >= left_out] for at, scores in found], k)
        slack = self._error_bound(query)
        worst = float(best.scores[-1])
        border = -(worst**2) if self.metric is Metric.EUCLIDEAN else worst
        if border > left_out + slack:
            return best
        positions = []
        for block, on in zip(self.blocks, eligible[0], strict=True):
            parts = [np.empty(0, np.int64)]
            for chunk, vectors, lengths in block.chunks(on):
                scores = float32_scores(self.metric, query[None, :], vectors, lengths)[0]
                parts.append(chunk[scores >= border - slack])
            positions.append(np.concatenate(parts))
        return self.rescore_exact(query, positions, k)

    def _error_bound(self, query: Vectors) -> float:
        """Return an upper bound of the error of float32 scores for one query (dim,)."""
        length = float(np.linalg.norm(query.astype(np.float64)))
        return self.metric.error_bound(self.dim, length, self._max_length())

    def _max_length(self) -> float:
        """Return the greatest length of a vector, 0.0 without vectors."""
        return max((block.max_length for block in self.blocks), default=0.0)
