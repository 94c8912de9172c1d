"""Writes: batches of passages, each stored in one transaction with its vectors and postings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from twofold.backends.batches import (
    Batch,
    BatchPlan,
    GivenVectors,
    Preparation,
    StoredBatch,
    TermCounts,
    count_stored,
    plan_batch,
    select_vectors,
)
from twofold.backends.postgres.connections import Cursor
from twofold.backends.postgres.dense import read_vectors
from twofold.backends.postgres.filters import find_unstorable, storable_fields
from twofold.backends.postgres.lexical import hash_key
from twofold.backends.postgres.schema import PASSAGE_COLUMNS, StoredState, create_vectors
from twofold.dense import PassageVectors
from twofold.errors import PassageError
from twofold.filters.values import flatten_metadata
from twofold.storage import IndexSettings, StoredPassage

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_CHUNK = 1 << 20  # bytes sent at a time
_POSTING = np.dtype(
    [
        *(("n", ">i2"), ("l0", ">i4"), ("term", ">i4"), ("l1", ">i4"), ("row", ">i8")),
        *(("l2", ">i4"), ("tf", ">i4"), ("l3", ">i4"), ("length", ">i4")),
    ]
)
"""A row of the table of postings in the binary form of COPY."""
_PASSAGES = (
    "COPY passages (row, key, id, title, body, metadata, fields, instants, folded, length, terms) "
    "FROM STDIN"
)


def check_storable(batch: Batch) -> None:
    """Raise PassageError for a passage that PostgreSQL can't store."""
    for passage, metadata in batch:
        for name, value in (("id", passage.id), ("title", passage.title), ("text", passage.text)):
            if "\0" in value:
                raise PassageError(
                    f"passage {passage.id!r:.60}: {name} has a NUL character, which PostgreSQL "
                    "can't store: remove it"
                )
        if "\\u0000" in metadata and _has_unstorable_field(metadata):
            raise PassageError(
                f"passage {passage.id!r:.60}: metadata has a NUL character, which PostgreSQL "
                "can't store: remove it"
            )


def _has_unstorable_field(metadata: str) -> bool:
    """Return whether a field that filters see has text that PostgreSQL can't store."""
    return find_unstorable(flatten_metadata(json.loads(metadata))) is not None


def plan_stored(
    cursor: Cursor, state: StoredState, batch: Batch, given: GivenVectors | None
) -> BatchPlan:
    """Find the passages of a batch that differ from what is stored."""
    cursor.execute(
        f"SELECT {PASSAGE_COLUMNS} FROM passages d WHERE d.key = ANY(%s::uuid[])",
        ([hash_key(name) for name in {passage.id for passage, _ in batch}],),
    )
    stored = {row[1]: StoredPassage(*row) for row in cursor.fetchall()}

    def read(rows: Sequence[int]) -> Mapping[int, PassageVectors]:
        if state.vector_set is None:
            return {}
        return dict(read_vectors(cursor, np.array(rows, np.int64)).by_passage())

    return plan_batch(batch, given, stored, read, dense=state.settings.dense)


def store_batch(
    cursor: Cursor,
    state: StoredState,
    batch: Batch,
    plan: BatchPlan,
    prepared: Preparation,
    given: GivenVectors | None,
) -> StoredBatch:
    """Store the changed passages of a batch; ``state`` was read with the lock."""
    first = state.next_row
    rows = {position: first + at for at, position in enumerate(plan.changed)}
    settings, vector_set = state.settings, state.vector_set
    if settings.dense and vector_set is None and prepared.vector_set is not None:
        first_settings, vector_set = prepared.vector_set
        settings = replace(settings, metric=first_settings.metric, dim=first_settings.dim)
    vectors = _assign_vectors(batch, plan, prepared, given, rows, settings)
    if not len(vectors) and state.vector_set is None:
        settings, vector_set = state.settings, None
    elif len(vectors) and settings.dim is None:
        settings = replace(settings, dim=vectors.vectors.shape[1])
    if plan.replaced:
        rows_before = [passage.row for passage in plan.replaced.values()]
        state = delete_rows(cursor, state, rows_before)
    numbers = _number_terms(cursor, {t for at in plan.changed for t in prepared.terms[at][0]})
    _copy_passages(cursor, batch, rows, prepared.terms, numbers)
    _copy_postings(cursor, rows, prepared.terms, numbers)
    if vector_set is not None and state.vector_set is None:
        assert settings.dim is not None  # of the first vectors
        create_vectors(cursor, settings.dim)
    longest = state.longest
    if len(vectors):
        _copy_vectors(cursor, vectors)
        longest = max(longest, float(np.linalg.norm(vectors.vectors.astype(float), axis=1).max()))
    lengths = [prepared.terms[position][1] for position in plan.changed]
    with_vector = set(vectors.rows.tolist())
    settings = _count_changed(settings, len(rows))
    write_state(
        cursor,
        replace(
            state,
            next_row=first + len(rows),
            passages=state.passages + len(rows),
            with_terms=state.with_terms + sum(length > 0 for length in lengths),
            length=state.length + sum(lengths),
            vectors=state.vectors + len(vectors),
            longest=longest,
            settings_text=settings.to_json(),
            vector_set_number=vector_set.number if vector_set is not None else 0,
            model=vector_set.identity if vector_set is not None else "null",
            canaries=vector_set.canaries if vector_set is not None else b"",
        ),
    )
    return count_stored(
        batch,
        plan,
        [position for position, row in rows.items() if row in with_vector],
        given=given is not None,
        dense=settings.dense,
    )


def _count_changed(settings: IndexSettings, count: int) -> IndexSettings:
    return replace(settings, agreement_changed=settings.agreement_changed + count)


def write_state(cursor: Cursor, state: StoredState) -> None:
    """Write the counters, settings and model of the next generation."""
    cursor.execute(
        "UPDATE state SET generation = generation + 1, next_row = %s, passages = %s, "
        "with_terms = %s, length = %s, vectors = %s, longest = %s, settings = %s, "
        "vector_set = %s, model = %s, "
        "canaries = CASE WHEN canaries = %s THEN canaries ELSE %s END",
        (
            *(state.next_row, state.passages, state.with_terms, state.length, state.vectors),
            *(state.longest, state.settings_text, state.vector_set_number, state.model),
            *(state.canaries, state.canaries),
        ),
    )


def delete_rows(cursor: Cursor, state: StoredState, rows: Sequence[int]) -> StoredState:
    """Delete passages with their postings and vectors; return the state without them."""
    cursor.execute(
        """WITH gone AS (
            DELETE FROM passages WHERE row = ANY(%s::bigint[]) RETURNING row, length, terms),
        occurrences AS (SELECT row, unnest(terms) AS term FROM gone),
        without_postings AS (
            DELETE FROM postings p USING occurrences o WHERE p.term = o.term AND p.row = o.row),
        without_terms AS (
            UPDATE terms t SET df = t.df - o.n
            FROM (SELECT term, count(*) AS n FROM occurrences GROUP BY term) o
            WHERE t.number = o.term)
        SELECT count(*), count(*) FILTER (WHERE length > 0), coalesce(sum(length), 0) FROM gone""",
        (list(rows),),
    )
    found = cursor.fetchone()
    passages, with_terms, length = found if found is not None else (0, 0, 0)
    vectors = 0
    if state.vector_set is not None:
        cursor.execute("DELETE FROM vectors WHERE row = ANY(%s::bigint[])", (list(rows),))
        vectors = cursor.rowcount
    return replace(
        state,
        passages=state.passages - passages,
        with_terms=state.with_terms - with_terms,
        length=state.length - int(length),
        vectors=state.vectors - vectors,
    )


def _assign_vectors(
    batch: Batch,
    plan: BatchPlan,
    prepared: Preparation,
    given: GivenVectors | None,
    rows: dict[int, int],
    settings: IndexSettings,
) -> PassageVectors:
    """Return the vectors of the changed passages under their new rows."""
    if not settings.dense or settings.metric is None:
        return PassageVectors.empty()
    found = select_vectors(batch, plan, prepared, given)
    found = {rows[position]: vectors for position, vectors in found.items()}
    return PassageVectors.assign(found, settings.dim or 0)


def _number_terms(cursor: Cursor, terms: set[str]) -> dict[str, int]:
    """Return the number of each term in the table; new terms get one."""
    keys = {hash_key(term): term for term in terms}
    statement = (
        "SELECT replace(hash::text, '-', ''), number FROM terms WHERE hash = ANY(%s::uuid[])"
    )
    cursor.execute(statement, (list(keys),))
    numbers = {keys[key]: int(number) for key, number in cursor.fetchall()}
    missing = [key for key, term in keys.items() if term not in numbers]
    if missing:
        cursor.execute(
            "INSERT INTO terms (hash, df) SELECT unnest(%s::uuid[]), 0 "
            "RETURNING replace(hash::text, '-', ''), number",
            (missing,),
        )
        numbers |= {keys[key]: int(number) for key, number in cursor.fetchall()}
    return numbers


def _copy_passages(
    cursor: Cursor,
    batch: Batch,
    rows: dict[int, int],
    terms: dict[int, TermCounts],
    numbers: dict[str, int],
) -> None:
    with cursor.copy(sql.SQL(_PASSAGES)) as copy:
        for position, row in rows.items():
            passage, metadata = batch[position]
            counts, length = terms[position]
            fields = storable_fields(json.loads(metadata))
            of_terms = [numbers[term] for term in counts]
            texts = (passage.id, passage.title, passage.text, metadata)
            copy.write_row((row, hash_key(passage.id), *texts, *fields, length, of_terms))


def _copy_postings(
    cursor: Cursor, rows: dict[int, int], terms: dict[int, TermCounts], numbers: dict[str, int]
) -> None:
    """Add the postings of new rows, and count their terms' document frequencies."""
    sizes = [len(terms[position][0]) for position in rows]
    records = np.zeros(sum(sizes), _POSTING)
    records["n"], records["l0"], records["l1"], records["l2"], records["l3"] = 4, 4, 8, 4, 4
    records["term"] = [numbers[term] for position in rows for term in terms[position][0]]
    records["tf"] = [tf for position in rows for tf in terms[position][0].values()]
    records["row"] = np.repeat(np.array(list(rows.values()), np.int64), sizes)
    lengths = np.array([terms[position][1] for position in rows], np.int64)
    records["length"] = np.repeat(lengths, sizes)
    records = records[np.argsort(records["term"], kind="stable")]
    _copy_binary(cursor, "COPY postings FROM STDIN (FORMAT binary)", records)
    used, counts = np.unique(records["term"].astype(np.int64), return_counts=True)
    cursor.execute(
        "UPDATE terms t SET df = t.df + n.df "
        "FROM unnest(%s::integer[], %s::integer[]) AS n (number, df) WHERE t.number = n.number",
        (used.tolist(), counts.tolist()),
    )


def _copy_vectors(cursor: Cursor, vectors: PassageVectors) -> None:
    dim = vectors.vectors.shape[1]
    kind = [("n", ">i2"), ("l0", ">i4"), ("row", ">i8")]
    for name in ("part", "s0", "s1", "s2", "s3"):
        kind += [(f"l_{name}", ">i4"), (name, ">i4")]
    kind += [("l1", ">i4"), ("dim", ">i2"), ("unused", ">i2")]
    records = np.zeros(len(vectors), np.dtype([*kind, ("values", ">f4", (dim,))]))
    records["n"], records["l0"], records["row"] = 7, 8, vectors.rows
    starts = np.flatnonzero(np.diff(vectors.rows, prepend=-1))
    counts = np.diff([*starts.tolist(), len(vectors)])
    records["part"] = np.arange(len(vectors)) - np.repeat(starts, counts)
    spans: NDArray[np.int64] = vectors.filled_spans
    for at, name in enumerate(("part", "s0", "s1", "s2", "s3")):
        records[f"l_{name}"] = 4
        if at:
            records[name] = spans[:, at - 1]
    records["l1"], records["dim"], records["values"] = 4 + 4 * dim, dim, vectors.vectors
    _copy_binary(cursor, "COPY vectors FROM STDIN (FORMAT binary)", records)


def _copy_binary(cursor: Cursor, statement: str, records: NDArray[Any]) -> None:
    """Send records that have the binary form of COPY."""
    data = memoryview(records.tobytes())
    with cursor.copy(sql.SQL(statement)) as copy:
        copy.write(_SIGNATURE)
        for start in range(0, len(data), _CHUNK):
            copy.write(bytes(data[start : start + _CHUNK]))
        copy.write(_END)
