"""The catalog: passages, settings and the list of what belongs to a generation, in SQLite."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twofold.errors import CorruptIndexError, IndexNotFoundError, UnsupportedStorageError
from twofold.storage.checksum import passage_checksum, row_checksum
from twofold.storage.records import (
    APPLICATION_ID,
    FORMAT,
    SCHEMA,
    BlockRecord,
    PassageFields,
    SegmentRecord,
    Settings,
    State,
    StoredPassage,
    VectorSetRecord,
    not_as_written,
    rows_data,
    values,
    verified,
)
from twofold.types import Rows

_COUNTERS = "generation, next_row, next_file, passages, segments, vectors, digest"
_MANY = 500  # values in one IN (...)
_MAPPED = 1 << 30  # bytes of the catalog
_DAMAGE = ("malformed", "not a database", "Could not decode", "no such table", "corrupt")
"""What SQLite's messages say where bytes have changed; error codes have no name before 3.11."""
_INHERITED: list[list[sqlite3.Connection]] = []


class CatalogReader:
    """One read transaction: everything it returns is of one generation, and verified."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._unread: list[sqlite3.Cursor] = []

    def close(self) -> None:
        """End statements that were not read to their end: one would hold its snapshot for ever."""
        for cursor in self._unread:
            cursor.close()

    def generation(self) -> int:
        """Return the number of commits so far; nothing else is read."""
        row = self._connection.execute("SELECT generation FROM state").fetchone()
        if row is None:
            raise CorruptIndexError("the catalog has lost its state: restore the index from a copy")
        return int(row[0])

    def settings(self) -> Settings:
        """Return what was chosen when the index was made."""
        row = self._connection.execute("SELECT value, checksum FROM settings").fetchone()
        text, checksum = row if row is not None else ("", 0)
        if row_checksum(text) != checksum:
            raise CorruptIndexError("the index's settings in the catalog are damaged")
        return Settings.from_json(text)

    def stated_format(self) -> int:
        """Return the format that unverified settings name; FORMAT where they name none."""
        row = self._connection.execute("SELECT value FROM settings").fetchone()
        try:
            return int(json.loads(row[0])["format"])
        except (TypeError, ValueError, KeyError):
            return FORMAT

    def state(self) -> State:
        """Return the counters."""
        row = self._connection.execute(f"SELECT {_COUNTERS}, checksum FROM state").fetchone()
        if row is None:
            raise CorruptIndexError("the catalog has lost its state: restore the index from a copy")
        digest, checksum = row[-2:]
        counters: tuple[int, ...] = (*row[:-2], int(digest) if digest.isdecimal() else -1)
        state = State(*counters)
        if row_checksum(*values(state)) != checksum:
            raise CorruptIndexError("the catalog's state is damaged: restore the index from a copy")
        return state

    def segments(self, *, blobs_after: int = -1) -> list[SegmentRecord]:
        """Return all segments by leg and rows; blobs only of those numbered above a number."""
        return [
            verified(f"segment {fields[0]}", checksum, SegmentRecord(*fields))
            for *fields, checksum in self._connection.execute(
                "SELECT number, leg, first, last, rows, file, "
                "CASE WHEN number > ? THEN blob END, size, hash, checksum "
                "FROM segments ORDER BY leg, first",
                (blobs_after,),
            )
        ]

    def blocks(self, vector_set: int, known: Mapping[int, BlockRecord]) -> list[BlockRecord]:
        """Return the blocks of a vector set in the order of their rows; known ones aren't read."""
        numbers = [
            number
            for (number,) in self._connection.execute(
                "SELECT number FROM vector_blocks WHERE vector_set = ? ORDER BY number",
                (vector_set,),
            )
        ]
        fresh: dict[int, BlockRecord] = {}
        for some in _runs([number for number in numbers if number not in known]):
            marks = ",".join("?" * len(some))
            for *fields, checksum in self._connection.execute(
                "SELECT number, vector_set, file, first, count, rows, hash, checksum "
                f"FROM vector_blocks WHERE number IN ({marks})",
                some,
            ):
                what = f"vector block {fields[0]}"
                fresh[fields[0]] = verified(what, checksum, BlockRecord(*fields))
        return [fresh[number] if number in fresh else known[number] for number in numbers]

    def vector_set(self, *, active: bool = True) -> VectorSetRecord | None:
        """Return the active vector set, or the one that is being filled; None if there is none."""
        row = self._connection.execute(
            "SELECT number, identity, canaries, active, checksum FROM vector_sets WHERE active = ?",
            (int(active),),
        ).fetchone()
        if row is None:
            return None
        *fields, checksum = row
        record: VectorSetRecord = verified("the encoder", checksum, VectorSetRecord(*fields))
        return record

    def tombstones(self) -> list[tuple[int, bytes]]:
        """Return (number, rows as u32) of all deletes that segments still hold."""
        out: list[tuple[int, bytes]] = []
        for number, data, checksum in self._connection.execute(
            "SELECT number, rows, checksum FROM tombstones ORDER BY number"
        ):
            if row_checksum(number, data) != checksum:
                raise CorruptIndexError(f"delete {number} in the catalog is damaged")
            out.append((number, data))
        return out

    def by_id(self, ids: Sequence[str]) -> dict[str, StoredPassage]:
        """Return the passages of these ids; missing ones are left out."""
        return {each[1]: StoredPassage(*each) for each in self._passages("id", ids)}

    def by_row(self, rows: Sequence[int]) -> list[PassageFields]:
        """Return the fields of these rows' passages, in this order; raise if one is missing."""
        found = {each[0]: each for each in self._passages("row", rows)}
        try:
            return [found[row] for row in rows]
        except KeyError as error:
            raise CorruptIndexError(f"passage row {error} is missing from the catalog") from None

    def between(self, first: int, last: int) -> Iterator[StoredPassage]:
        """Yield the passages of rows from ``first`` to ``last``, ascending."""
        cursor = self._connection.execute(
            "SELECT row, id, title, text, metadata, content, checksum FROM passages "
            "WHERE row BETWEEN ? AND ? ORDER BY row",
            (first, last),
        )
        self._unread.append(cursor)
        for each in _verified(cursor):
            yield StoredPassage(*each)

    def rows_with_content(self, contents: Sequence[bytes]) -> dict[bytes, int]:
        """Return the first row of each of these contents that is stored already."""
        found: dict[bytes, int] = {}
        for some in _runs(contents):
            marks = ",".join("?" * len(some))
            found |= self._connection.execute(
                f"SELECT content, min(row) FROM passages WHERE content IN ({marks}) "
                "GROUP BY content",
                some,
            )
        return found

    def check(self) -> list[str]:
        """Return what SQLite itself finds wrong with its file."""
        rows = self._connection.execute("PRAGMA integrity_check").fetchall()
        return [str(row[0]) for row in rows if row[0] != "ok"]

    def copy_to(self, path: Path) -> None:
        """Write this generation's catalog as a new file."""
        target = sqlite3.connect(path, isolation_level=None)
        try:
            self._connection.backup(target)
        finally:
            target.close()

    def _passages(self, column: str, wanted: Sequence[Any]) -> Iterator[PassageFields]:
        for some in _runs(wanted):
            marks = ",".join("?" * len(some))
            yield from _verified(
                self._connection.execute(
                    "SELECT row, id, title, text, metadata, content, checksum FROM passages "
                    f"WHERE {column} IN ({marks})",
                    some,
                )
            )


class CatalogWriter(CatalogReader):
    """One write transaction, committed as a whole."""

    def put_settings(self, settings: Settings) -> None:
        """Replace the settings."""
        text = settings.to_json()
        self._connection.execute("DELETE FROM settings")
        self._connection.execute("INSERT INTO settings VALUES (?, ?)", (text, row_checksum(text)))

    def put_state(self, state: State) -> None:
        """Replace the counters."""
        self._connection.execute("DELETE FROM state")
        *counters, _ = values(state)
        checksum = row_checksum(*values(state))
        # The digest is unsigned 64-bit, which SQLite's integers are not.
        row = (*counters, str(state.digest), checksum)
        self._connection.execute(f"INSERT INTO state VALUES ({','.join('?' * len(row))})", row)

    def put_vector_set(self, record: VectorSetRecord) -> None:
        """Add or replace a vector set."""
        self._connection.execute(
            "INSERT OR REPLACE INTO vector_sets VALUES (?, ?, ?, ?, ?)",
            (*values(record), record.checksum),
        )

    def drop_vector_set(self, number: int) -> None:
        """Forget a vector set; its blocks are dropped beside."""
        self._connection.execute("DELETE FROM vector_sets WHERE number = ?", (number,))

    def add_passages(self, passages: Iterable[StoredPassage]) -> int:
        """Insert passages under new rows; return the sum of their checksums."""
        rows = [(*values(each), each.checksum) for each in passages]
        self._connection.executemany("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        return sum(row[-1] for row in rows)

    def remove_passages(self, rows: Iterable[int]) -> None:
        """Delete passages by row."""
        self._connection.executemany("DELETE FROM passages WHERE row = ?", ((r,) for r in rows))

    def put_segments(self, added: Iterable[SegmentRecord], dropped: Iterable[int]) -> None:
        """Add segments and drop others by number."""
        self._connection.executemany(
            "DELETE FROM segments WHERE number = ?", ((number,) for number in dropped)
        )
        self._connection.executemany(
            "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((*values(each), each.checksum) for each in added),
        )

    def put_blocks(self, added: Iterable[BlockRecord], dropped: Iterable[int]) -> None:
        """Add vector blocks and drop others by number."""
        self._connection.executemany(
            "DELETE FROM vector_blocks WHERE number = ?", ((number,) for number in dropped)
        )
        self._connection.executemany(
            "INSERT INTO vector_blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((*values(each), each.checksum) for each in added),
        )

    def add_tombstones(self, rows: Rows, *, instead: bool = False) -> None:
        """Record deleted rows, or replace all recorded ones."""
        if instead:
            self._connection.execute("DELETE FROM tombstones")
        if len(rows):
            number = self._connection.execute(
                "SELECT coalesce(max(number), 0) + 1 FROM tombstones"
            ).fetchone()[0]
            data = rows_data(rows)
            self._connection.execute(
                "INSERT INTO tombstones VALUES (?, ?, ?)",
                (number, data, row_checksum(number, data)),
            )


class Catalog:
    """The SQLite file of one index: a pool of connections, each used by one thread at a time."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False
        with self.reading() as reader:
            self._check_format(reader)

    @classmethod
    def create(cls, path: Path, settings: Settings) -> None:
        """Make an empty catalog in one transaction; nothing happens if it is there."""
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("PRAGMA application_id").fetchone()[0] == 0:
                for statement in SCHEMA:
                    connection.execute(statement)
                writer = CatalogWriter(connection)
                writer.put_settings(settings)
                writer.put_state(State())
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("COMMIT")
        finally:
            connection.close()

    @contextmanager
    def reading(self) -> Iterator[CatalogReader]:
        """Open one read transaction."""
        with self._connection() as connection, _translated(self._path):
            reader = CatalogReader(connection)
            try:
                connection.execute("BEGIN")
                yield reader
            finally:
                reader.close()
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[CatalogWriter]:
        """Open one write transaction: committed and synced at the end, or undone on an error."""
        with self._connection() as connection, _translated(self._path):
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield CatalogWriter(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close all idle connections; the last one folds the write-ahead log into the file."""
        with self._lock:
            self._closed = True
            if os.getpid() == self._process:
                for connection in self._idle:
                    connection.close()
                self._idle.clear()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if os.getpid() != self._process:
                # SQLite's connections must not be used, nor closed, in a forked child.
                _INHERITED.append(self._idle)
                self._idle, self._process = [], os.getpid()
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        try:
            yield connection
        finally:
            with self._lock:
                if self._closed or connection.in_transaction:
                    connection.close()
                else:
                    self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        mode = "rw"
        if self._read_only:
            mode = "ro"
            log = self._path.with_name(self._path.name + "-wal")
            read_only_media = os.statvfs(self._path.parent).f_flag & os.ST_RDONLY
            if read_only_media and not log.exists():
                mode = "ro&immutable=1"  # nobody writes, and there is no place for a log
        with _translated(self._path):
            connection = sqlite3.connect(
                f"{self._path.resolve().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                timeout=30.0,
                check_same_thread=False,
            )
            connection.execute("PRAGMA synchronous = FULL")
            # Pages are read where they are mapped, as segments and vectors are, not copied.
            connection.execute(f"PRAGMA mmap_size = {_MAPPED}")
        return connection

    def _check_format(self, reader: CatalogReader) -> None:
        found = reader._connection.execute("PRAGMA application_id").fetchone()[0]
        if found != APPLICATION_ID:
            raise IndexNotFoundError(f"{self._path} is not a twofold catalog")
        try:
            number = reader.settings().format
        except CorruptIndexError:
            number = reader.stated_format()  # before checksums were as they are
            if number >= FORMAT:
                raise
        if number != FORMAT:
            todo = "upgrade twofold" if number > FORMAT else "index the passages anew"
            raise UnsupportedStorageError(
                f"{self._path.parent} has format {number}, and this version of twofold reads "
                f"format {FORMAT}: {todo}"
            )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn SQLite's words for damage into ours; what else it says stays as it is."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if any(words in str(error) for words in _DAMAGE):
            raise CorruptIndexError(
                f"{path} is damaged ({error}): restore the index from a copy"
            ) from error
        raise


def _verified(rows: Iterable[Any]) -> Iterator[PassageFields]:
    """Yield passages whose content is that of their checksum; raise CorruptIndexError."""
    for row, name, title, text, metadata, content, checksum in rows:
        try:
            same = passage_checksum(row, name, title, text, metadata, content) == checksum
        except (TypeError, AttributeError):  # not even of the type that was written
            same = False
        if not same:
            raise not_as_written(f"passage {name!r}")
        yield row, name, title, text, metadata, content


def _runs(bound: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut a long list of values into runs that fit one statement."""
    for start in range(0, len(bound), _MANY):
        yield bound[start : start + _MANY]
