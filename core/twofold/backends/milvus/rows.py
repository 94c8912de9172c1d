"""Rows of the collections: what is stored of a passage, and what is read of it."""

import json
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from twofold.backends.batches import Batch, TermCounts
from twofold.backends.milvus.filters import MAX_TOKENS, filter_fields, hash_id, in_keys
from twofold.backends.milvus.schema import Names
from twofold.backends.milvus.server import Server
from twofold.backends.milvus.terms import MAX_TEXT, join_counted
from twofold.dense import PassageVectors
from twofold.errors import PassageError
from twofold.storage import PassageFields
from twofold.types import Passage

FIELDS = ["key", "row", "id", "title", "body", "metadata"]
PARTS = ["key", "row", "id", "parts"]
KEYS_PER_QUERY = 500
_EPOCH = 1_704_067_200_000  # milliseconds to the year 2024
_CLIENT_BITS, _COUNT_BITS = 16, 6
_PER_TICK, _TICK_SHIFT = 1 << _COUNT_BITS, _CLIENT_BITS + _COUNT_BITS
_REQUEST = 8 << 20  # bytes of one request, about
_ROW = 400  # bytes of a row beside its texts and vectors, about


class Numbers:
    """Gives each write of a passage a number: ascending with time, and unlike other clients'.

    41 bits are milliseconds, 16 are random for each client, and 6 count within a millisecond. One
    client never repeats a number; two that drew the same bits could, one pair in 65,536.
    """

    def __init__(self) -> None:
        self._client = secrets.randbelow(1 << _CLIENT_BITS)
        self._tick = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> list[int]:
        """Return the next ``count`` numbers, ascending."""
        with self._lock:
            start = max(time.time_ns() // 1_000_000 - _EPOCH, self._tick)
            self._tick = start + -(-count // _PER_TICK)
        return [
            ((start + at // _PER_TICK) << _TICK_SHIFT)
            | (self._client << _COUNT_BITS)
            | (at % _PER_TICK)
            for at in range(count)
        ]


def check_storable(batch: Batch) -> None:
    """Raise PassageError for a passage that is larger than Milvus stores."""
    for passage, metadata in batch:
        fields = {"id": passage.id, "title": passage.title, "text": passage.text}
        for name, value in {**fields, "metadata": metadata}.items():
            _check_size(passage, name, len(value.encode("utf-8", "surrogatepass")))
        tokens, values = filter_fields(json.loads(metadata))
        if len(tokens) > MAX_TOKENS:
            raise PassageError(
                f"passage {passage.id!r:.60}: metadata has {len(tokens):,} values to filter by, "
                f"and Milvus takes {MAX_TOKENS:,}: shorten its lists"
            )
        _check_size(passage, "metadata, as filters need it,", len(json.dumps(values)))


def _check_size(passage: Passage, name: str, size: int) -> None:
    if size > MAX_TEXT:
        raise PassageError(
            f"passage {passage.id!r:.60}: {name} has {size:,} bytes, and Milvus stores "
            f"{MAX_TEXT:,}: split the passage, or shorten it"
        )


def passage_row(
    passage: Passage,
    metadata: str,
    row: int,
    terms: TermCounts,
    vectors: PassageVectors | None,
    dim: int,
) -> dict[str, Any]:
    """Return the row of a passage, with the first of its vectors."""
    joined = join_counted(terms[0])
    _check_size(passage, "text, as terms,", len(joined))
    return {
        "key": hash_id(passage.id),
        "id": passage.id,
        "title": passage.title,
        "body": passage.text,
        "metadata": metadata,
        "terms": joined,
        "parts": len(vectors) if vectors is not None else 0,
        **_searchable(metadata, row, vectors, 0, dim),
    }


def part_key(key: str, row: int, at: int) -> str:
    """Return the primary key of a passage's vector after the first."""
    return f"{key}.{row}.{at}"


def window_keys(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the primary keys of the windows of passages, from their key, row and parts."""
    return [
        part_key(row["key"], row["row"], at) for row in rows for at in range(1, int(row["parts"]))
    ]


def window_rows(
    passage: Passage, metadata: str, row: int, vectors: PassageVectors, dim: int
) -> list[dict[str, Any]]:
    """Return the rows of a passage's further vectors."""
    key = hash_id(passage.id)
    return [
        {"part": part_key(key, row, at), "key": key, **_searchable(metadata, row, vectors, at, dim)}
        for at in range(1, len(vectors))
    ]


def _searchable(
    metadata: str, row: int, vectors: PassageVectors | None, at: int, dim: int
) -> dict[str, Any]:
    tokens, values = filter_fields(json.loads(metadata))
    vector, span = np.zeros(dim, np.float32), ""
    if vectors is not None:
        vector = vectors.vectors[at]
        if vectors.spans is not None:
            span = " ".join(map(str, vectors.spans[at].tolist()))
    return {"row": row, "vector": vector, "span": span, "tokens": tokens, "values": values}


def send(server: Server, collection: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store rows, in requests of a few megabytes."""
    some: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        some.append(row)
        size += _ROW + 4 * len(row["vector"]) + 30 * len(row["tokens"])
        size += sum(len(value) for value in row.values() if isinstance(value, str))
        if size >= _REQUEST:
            server.call("upsert", collection, some)
            some, size = [], 0
    if some:
        server.call("upsert", collection, some)


def query_keys(
    server: Server,
    collection: str,
    keys: Sequence[str],
    fields: Sequence[str],
    consistency: str,
    condition: str = "",
) -> Iterator[dict[str, Any]]:
    """Yield the passages with these keys that satisfy a condition, in any order."""
    for start in range(0, len(keys), KEYS_PER_QUERY):
        some = in_keys(keys[start : start + KEYS_PER_QUERY])
        yield from server.call(
            "query",
            collection,
            filter=f"({some}) and ({condition})" if condition else some,
            output_fields=list(fields),
            consistency_level=consistency,
        )


def _query_parts(
    server: Server, collection: str, parts: Sequence[str], fields: Sequence[str], consistency: str
) -> Iterator[dict[str, Any]]:
    """Yield the windows with these primary keys, in any order."""
    for start in range(0, len(parts), KEYS_PER_QUERY):
        yield from server.call(
            "query",
            collection,
            filter=in_keys(parts[start : start + KEYS_PER_QUERY], "part"),
            output_fields=list(fields),
            consistency_level=consistency,
        )


def query_all(
    server: Server, collection: str, condition: str, fields: Sequence[str], consistency: str
) -> Iterator[dict[str, Any]]:
    """Yield all rows that satisfy a condition, or all if it is empty, in any order.

    One query would end at Milvus's limit without a word.
    """
    with server.errors():
        iterator = server.call(
            "query_iterator",
            collection,
            filter=condition or "row >= 0",
            output_fields=list(fields),
            batch_size=KEYS_PER_QUERY,
            consistency_level=consistency,
        )
        try:
            while found := iterator.next():
                yield from found
        finally:
            iterator.close()


def count_rows(server: Server, collection: str, condition: str, consistency: str) -> int:
    """Return how many rows satisfy a condition, or the number of all if it is empty."""
    found = server.call(
        "query",
        collection,
        filter=condition,
        output_fields=["count(*)"],
        consistency_level=consistency,
    )
    return int(found[0]["count(*)"])


def passage_fields(row: Mapping[str, Any]) -> PassageFields:
    """Return a row with `FIELDS` as the fields of a stored passage; the content hash is empty."""
    return (row["row"], row["id"], row["title"], row["body"], row["metadata"], b"")


def read_vectors(
    server: Server,
    names: Names,
    rows_by_key: Mapping[str, int],
    consistency: str,
    *,
    windows: bool,
) -> PassageVectors:
    """Return the vectors of passages by their rows; with ``windows``, those of windows as well."""
    fields, kept = ["key", "row", "vector", "span"], []
    found: dict[int, list[tuple[int, Any, str]]] = {}
    keys = list(rows_by_key)
    for row in query_keys(server, names.passages, keys, [*fields, "parts"], consistency):
        if row["parts"] and row["row"] == rows_by_key[row["key"]]:
            found[row["row"]] = [(0, row["vector"], row["span"])]
            kept.append(row)
    if windows:
        parts = window_keys(kept)
        for row in _query_parts(server, names.windows, parts, ["part", *fields], consistency):
            at = int(row["part"].rpartition(".")[2])
            found[row["row"]].append((at, row["vector"], row["span"]))
    if not found:
        return PassageVectors.empty()
    ordered = [
        (row, vector, span)
        for row in sorted(found)
        for _, vector, span in sorted(found[row], key=lambda each: each[0])
    ]
    spans = [
        [int(number) for number in span.split()] if span else [0] * 4 for _, _, span in ordered
    ]
    some_spans = np.array(spans, np.int64)
    return PassageVectors(
        np.array([row for row, _, _ in ordered], np.int64),
        np.array([vector for _, vector, _ in ordered], np.float32),
        some_spans if some_spans.any() else None,
    )
