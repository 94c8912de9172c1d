"""The dense leg: pgvector proposes passages, and scores are computed from their stored vectors.

pgvector adds in float32. Scores in float64, by the functions of the local index, are equal to its
scores whatever the server's processor is.
"""

import math
from typing import Any

import numpy as np

from twofold.backend import Keys
from twofold.backends.postgres.connections import Cursor
from twofold.backends.postgres.schema import StoredState, operator_of
from twofold.backends.stored_vectors import best_scores
from twofold.dense import PassageVectors
from twofold.errors import QueryError, VectorError
from twofold.types import LegHits, Moments, Vectors
from twofold.validation import check_vectors

_SPARE = 16
"""Passages proposed beyond ``k``, because pgvector rounds to float32."""
_MAX_EF = 1_000  # of pgvector's hnsw.ef_search
_SCAN = 2_000_000  # vectors that a filtered search of the graph visits before it gives up
_HEADER = 4  # bytes before the values of a vector in binary form
_EXACT = """
    WITH scored AS MATERIALIZED (
        SELECT v.row, min(v.embedding {operator} %(vector)s::vector) AS distance
        FROM vectors v {condition} GROUP BY v.row)
    SELECT s.row FROM scored s JOIN passages d ON d.row = s.row
    WHERE s.distance <= (SELECT max(b.distance) FROM
        (SELECT distance FROM scored ORDER BY distance LIMIT %(k)s::bigint) b)
    ORDER BY s.distance, d.id LIMIT %(k)s::bigint"""
_GRAPH = """
    SELECT v.row FROM vectors v {condition}
    ORDER BY v.embedding {operator} %(vector)s::vector LIMIT %(k)s::bigint"""
_MOMENTS = """
    SELECT avg(score), stddev_pop(score) FROM (
        SELECT max(-(v.embedding {operator} %(vector)s::vector)) AS score
        FROM vectors v GROUP BY v.row) s"""


def as_text(vector: Vectors) -> str:
    """Return a vector (dim,) as pgvector reads it; the digits keep every bit."""
    return "[" + ",".join([f"{value:.9g}" for value in vector.tolist()]) + "]"


def from_binary(data: bytes) -> Vectors:
    """Return a vector (dim,) of pgvector's binary form."""
    return np.frombuffer(data, ">f4", offset=_HEADER).astype(np.float32)


def prepare_queries(state: StoredState, vectors: Vectors) -> Vectors:
    """Check query vectors (n, dim) and return them in the metric's stored form."""
    settings = state.settings
    assert settings.metric is not None  # of an index with vectors
    assert settings.dim is not None
    try:
        return settings.metric.prepare(check_vectors(vectors, settings.dim, len(vectors)))
    except VectorError as error:
        raise QueryError(f"query vectors: {error}") from None


def search(
    cursor: Cursor,
    state: StoredState,
    vector: Vectors,
    k: int,
    condition: str,
    parameters: dict[str, Any],
    effort: float,
) -> LegHits:
    """Return the ``k`` passages nearest to a prepared vector that satisfy the condition."""
    metric = state.settings.metric
    assert metric is not None  # of an index with vectors
    wanted = min(k, state.passages) + _SPARE
    rows = _propose(cursor, state, vector, wanted, condition, parameters, effort)
    found = read_vectors(cursor, rows)
    if not len(found):
        return LegHits.empty()
    scores = best_scores(metric, vector, found, rows)
    order = np.argsort(-scores, kind="stable")
    best = scores[order]
    if (best[1:] == best[:-1]).any():  # equal scores are ordered by id
        ids = dict(read_ids(cursor, rows))
        names = [ids[row] for row in rows.tolist()]
        by_id = sorted(range(len(rows)), key=lambda at: (-scores[at], names[at]))
        order = np.array(by_id, np.int64)
    order = order[:k]
    return LegHits(rows[order], scores[order])


def _propose(
    cursor: Cursor,
    state: StoredState,
    vector: Vectors,
    wanted: int,
    condition: str,
    parameters: dict[str, Any],
    effort: float,
) -> Keys:
    """Return up to ``wanted`` passages, nearest first, by the graph if there is one."""
    metric, graph = state.settings.metric, state.built_graph
    assert metric is not None  # of an index with vectors
    operator = operator_of(metric)
    joined = f"JOIN passages d ON d.row = v.row AND {condition}" if condition else ""
    given = {**parameters, "vector": as_text(vector)}
    if graph is not None and not math.isinf(effort):
        width = min(max(math.ceil(graph.search_effort * effort), wanted), _MAX_EF)
        cursor.execute(
            "SELECT set_config('hnsw.ef_search', %s, true), "
            "set_config('hnsw.iterative_scan', 'strict_order', true), "
            "set_config('hnsw.max_scan_tuples', %s, true)",
            (str(width), str(_SCAN)),
        )
        # A long passage has several vectors, of which the nearest counts.
        limit = math.ceil(wanted * max(state.vectors / max(state.passages, 1), 1.0) * 1.5)
        statement = _GRAPH.format(operator=operator, condition=joined)
        cursor.execute(statement, {**given, "k": limit})
        rows = list(dict.fromkeys(row for (row,) in cursor.fetchall()))[:wanted]
        if len(rows) >= wanted or len(rows) >= state.passages:
            return np.array(rows, np.int64)
    statement = _EXACT.format(operator=operator, condition=joined)
    cursor.execute(statement, {**given, "k": wanted})
    return np.array([row for (row,) in cursor.fetchall()], np.int64)


def read_ids(cursor: Cursor, rows: Keys) -> list[tuple[int, str]]:
    """Return the row and the id of each passage, in no order."""
    cursor.execute("SELECT row, id FROM passages WHERE row = ANY(%s::bigint[])", (rows.tolist(),))
    return [(row, name) for row, name in cursor.fetchall()]


def read_vectors(cursor: Cursor, rows: Keys, *, first: bool = False) -> PassageVectors:
    """Return the vectors of some passages; with ``first``, of the whole texts alone."""
    part = "AND part = 0" if first else ""
    cursor.execute(
        "SELECT row, first_token, last_token, first_char, last_char, embedding FROM vectors "
        f"WHERE row = ANY(%s::bigint[]) {part} ORDER BY row, part",
        (rows.tolist(),),
        binary=True,
    )
    found = cursor.fetchall()
    if not found:
        return PassageVectors.empty()
    # One conversion of all bytes, each vector with its header of 4 bytes.
    data = np.frombuffer(b"".join([each[5] for each in found]), ">f4").reshape(len(found), -1)
    spans = np.array([each[1:5] for each in found], np.int64)
    return PassageVectors(
        np.array([each[0] for each in found], np.int64),
        data[:, 1:].astype(np.float32),
        spans if spans.any() else None,
    )


def moments(cursor: Cursor, state: StoredState, vector: Vectors) -> Moments:
    """Return the moments of all passages' scores for a prepared vector; reads all vectors."""
    metric = state.settings.metric
    assert metric is not None  # of an index with vectors
    statement = _MOMENTS.format(operator=operator_of(metric))
    cursor.execute(statement, {"vector": as_text(vector)})
    found = cursor.fetchone()
    mean, deviation = found if found is not None else (None, None)
    return Moments(float(mean or 0.0), float(deviation or 0.0))
