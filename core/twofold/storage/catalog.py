"""The catalog: a SQLite file with passages, settings and the records of each generation."""

import json
import os
import re
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import xxhash

from twofold.concurrency import Forkable
from twofold.errors import (
    CorruptIndexError,
    IndexClosedError,
    IndexNotFoundError,
    StorageError,
    UnsupportedStorageError,
)
from twofold.storage.files import Version, not_plain_error
from twofold.storage.records import (
    APPLICATION_ID,
    FORMAT,
    OLDEST_FORMAT,
    SCHEMA,
    BlockRecord,
    IndexSettings,
    PassageFields,
    SegmentRecord,
    State,
    StoredPassage,
    VectorSetRecord,
    damaged_row_error,
    encode_rows,
    field_values,
    has_valid_types,
    new_identity,
    row_checksum,
    verify_record,
)
from twofold.types import Rows

_SELECT_PASSAGES = "SELECT row, id, title, text, metadata, content, checksum FROM passages"
_COUNTERS = "identity, generation, next_row, next_file, passages, segments, vectors, digest"
_IDENTITY = re.compile(r"[0-9a-f]{16}")
_BATCH = 500  # values in one IN (...)
_FORK_WAIT = 1.0  # seconds
_TRIES = 20  # openings of a file that is being replaced
_MMAP_SIZE = 1 << 30  # bytes
_DAMAGE = ("malformed", "not a database", "Could not decode", "no such", "corrupt")
"""Parts of SQLite's messages for damaged files. Python 3.10 has no names for its error codes."""
FileKey = tuple[int, ...]
"""Device and inode of a file."""
FileTimes = tuple[int, int]
"""Time of the last change of a file, in nanoseconds, and its size."""
CatalogKey = tuple[FileKey | None, str, int]
"""Catalog file, identity and generation. Copies made by other tools have the same identity."""
_INHERITED: list[Sequence[sqlite3.Connection]] = []
"""Connections of a parent process, kept so that they are never closed in this one."""


class CatalogReader:
    """A read transaction. All data is of one generation, and its checksums are verified."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._open_cursors: list[sqlite3.Cursor] = []

    def close(self) -> None:
        """Close unfinished statements, which would keep the transaction's snapshot alive."""
        for cursor in self._open_cursors:
            cursor.close()

    def version(self) -> Version:
        """Return the identity and the number of commits so far, without reading anything else."""
        identity, generation = self._select_state("identity, generation")
        valid = isinstance(identity, str) and _IDENTITY.fullmatch(identity) is not None
        if not valid or not isinstance(generation, int) or generation < 0:
            raise damaged_row_error("the state row")
        return identity, generation

    def key(self) -> CatalogKey:
        """Return the file, identity and generation that this transaction reads."""
        return getattr(self._connection, "file", None), *self.version()

    @property
    def times(self) -> FileTimes | None:
        """The times of the catalog file before this transaction, without its log."""
        return getattr(self._connection, "times", None)

    def format(self) -> int:
        """Return the storage format; raise CorruptIndexError for damaged settings of this format.

        The checksums of older formats may differ, so they are not verified.
        """
        text, checksum = self._select_settings()
        try:
            number = int(json.loads(text)["format"])
        except (TypeError, ValueError, LookupError, OverflowError, RecursionError):
            number = FORMAT
        if number >= OLDEST_FORMAT and row_checksum(text) != checksum:
            raise damaged_row_error("the settings row")
        return number

    def settings(self) -> IndexSettings:
        """Return the settings of the index."""
        text, checksum = self._select_settings()
        if row_checksum(text) != checksum:
            raise damaged_row_error("the settings row")
        return IndexSettings.from_json(text)

    def state(self) -> State:
        """Return the index's identity, and its generation, passages, segments and other counts."""
        *counters, digest, checksum = self._select_state(f"{_COUNTERS}, checksum")
        number = int(digest) if isinstance(digest, str) and digest.isdecimal() else -1
        values: tuple[Any, ...] = (*counters, number)
        state = State(*values)
        if not has_valid_types(state) or row_checksum(*field_values(state)) != checksum:
            raise damaged_row_error("the state row")
        return state

    def segments(self, *, blobs_after: int = -1) -> list[SegmentRecord]:
        """Return all segments in order of leg and row, with the blobs above ``blobs_after``."""
        return [
            verify_record(f"segment {fields[0]}", checksum, SegmentRecord(*fields))
            for *fields, checksum in self._connection.execute(
                "SELECT number, leg, first, last, rows, file, "
                "CASE WHEN number > ? THEN blob END, size, hash, checksum "
                "FROM segments ORDER BY leg, first",
                (blobs_after,),
            )
        ]

    def blocks(self, vector_set: int, known: Mapping[int, BlockRecord]) -> list[BlockRecord]:
        """Return the blocks of a vector set in row order; those in ``known`` are not read."""
        numbers = [
            number
            for (number,) in self._connection.execute(
                "SELECT number FROM vector_blocks WHERE vector_set = ? ORDER BY number",
                (vector_set,),
            )
        ]
        blocks = dict(known)
        for *fields, checksum in self._select_in(
            "SELECT number, vector_set, file, first, count, rows, hash, checksum "
            "FROM vector_blocks WHERE number",
            [number for number in numbers if number not in known],
        ):
            name = f"vector block {fields[0]}"
            blocks[fields[0]] = verify_record(name, checksum, BlockRecord(*fields))
        if not blocks.keys() >= set(numbers):  # SQLite reads a damaged schema otherwise
            raise damaged_row_error("the table of vector blocks")
        return [blocks[number] for number in numbers]

    def vector_set(self, *, active: bool = True) -> VectorSetRecord | None:
        """Return the active vector set or, if not ``active``, the one being filled; else None."""
        row = self._connection.execute(
            "SELECT number, identity, canaries, active, checksum FROM vector_sets WHERE active = ?",
            (int(active),),
        ).fetchone()
        if row is None:
            return None
        *fields, checksum = row
        record: VectorSetRecord = verify_record("the encoder", checksum, VectorSetRecord(*fields))
        return record

    def tombstones(self) -> list[tuple[int, bytes]]:
        """Return (number, rows as u32) of all deletes whose rows are still in segments."""
        out: list[tuple[int, bytes]] = []
        for number, data, checksum in self._connection.execute(
            "SELECT number, rows, checksum FROM tombstones ORDER BY number"
        ):
            if row_checksum(number, data) != checksum:
                raise damaged_row_error(f"delete {number}")
            out.append((number, data))
        return out

    def passages_by_id(self, ids: Sequence[str]) -> dict[str, StoredPassage]:
        """Return those passages with these ids that the table's index finds, if it is intact."""
        wanted = set(ids)
        try:
            rows = self._select_in(f"{_SELECT_PASSAGES} WHERE id", ids)
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # a subclass: it is locked, for example
                raise
            return {}
        return {
            fields[1]: StoredPassage(*fields)
            for *fields, checksum in rows
            if fields[1] in wanted and _is_intact(fields, checksum)
        }

    def passages_by_row(self, rows: Sequence[int]) -> list[PassageFields]:
        """Return the fields of the passages with these rows, in this order; all must exist."""
        selected = _verify_passages(self._select_in(f"{_SELECT_PASSAGES} WHERE row", rows))
        passages = {fields[0]: fields for fields in selected}
        try:
            return [passages[row] for row in rows]
        except KeyError as error:
            raise CorruptIndexError(f"passage row {error} is missing from the catalog") from None

    def passages_between(self, first: int, last: int) -> Iterator[StoredPassage]:
        """Yield the passages with rows from ``first`` to ``last``, ascending."""
        cursor = self._connection.execute(
            f"{_SELECT_PASSAGES} WHERE row BETWEEN ? AND ? ORDER BY row", (first, last)
        )
        self._open_cursors.append(cursor)
        while rows := cursor.fetchmany(_BATCH):
            for fields in _verify_passages(rows):
                yield StoredPassage(*fields)

    def rows_with_content(self, contents: Sequence[bytes]) -> dict[bytes, int]:
        """Return the first stored row by content hash; unknown hashes are left out."""
        found: dict[bytes, int] = dict(
            self._select_in(
                "SELECT content, min(row) FROM passages WHERE content",
                contents,
                " GROUP BY content",
            )
        )
        passages = self.passages_by_row(list(found.values()))  # whose checksums are verified
        return {content: row for row, *_, content in passages if found.get(content) == row}

    def check(self) -> list[str]:
        """Return the problems that SQLite's integrity check finds."""
        rows = self._connection.execute("PRAGMA integrity_check").fetchall()
        return [str(row[0]) for row in rows if row[0] != "ok"]

    def copy_to(self, path: Path) -> None:
        """Write this generation's catalog to a new file, with a new identity."""
        target = sqlite3.connect(path, isolation_level=None)
        try:
            self._connection.backup(target)
        finally:
            target.close()
        Catalog.renew_identity(path)

    def _select_settings(self) -> tuple[str, int]:
        row = self._connection.execute("SELECT value, checksum FROM settings").fetchone()
        if row is None or not isinstance(row[0], str):
            return "", 0
        text, checksum = row
        return text, checksum

    def _select_state(self, columns: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._connection.execute(
            f"SELECT {columns} FROM state"
        ).fetchone()
        if row is None:
            raise CorruptIndexError("the catalog has lost its state: restore the index from a copy")
        return row

    def _select_in(self, select: str, values: Sequence[Any], end: str = "") -> list[Any]:
        """Return the rows of ``select IN (values) end``, read in batches that fit one statement."""
        rows: list[Any] = []
        for start in range(0, len(values), _BATCH):
            batch = values[start : start + _BATCH]
            marks = ",".join("?" * len(batch))
            rows += self._connection.execute(f"{select} IN ({marks}){end}", batch)
        return rows


class CatalogWriter(CatalogReader):
    """A write transaction, committed as a whole."""

    def put_settings(self, settings: IndexSettings) -> None:
        """Replace the settings."""
        text = settings.to_json()
        self._connection.execute("DELETE FROM settings")
        self._connection.execute("INSERT INTO settings VALUES (?, ?)", (text, row_checksum(text)))

    def put_state(self, state: State) -> None:
        """Replace the counters."""
        self._connection.execute("DELETE FROM state")
        *counters, digest = field_values(state)
        # The digest is stored as text: it is unsigned, and SQLite's integers are signed.
        row = (*counters, str(digest), row_checksum(*field_values(state)))
        self._connection.execute(f"INSERT INTO state VALUES ({','.join('?' * len(row))})", row)

    def put_vector_set(self, record: VectorSetRecord) -> None:
        """Add or replace a vector set."""
        self._connection.execute(
            "INSERT OR REPLACE INTO vector_sets VALUES (?, ?, ?, ?, ?)",
            (*field_values(record), record.checksum),
        )

    def drop_vector_set(self, number: int) -> None:
        """Delete a vector set, but not its blocks (see ``put_blocks``)."""
        self._connection.execute("DELETE FROM vector_sets WHERE number = ?", (number,))

    def add_passages(self, passages: Iterable[StoredPassage]) -> int:
        """Insert passages under new rows; return the sum of their checksums."""
        rows = [(*field_values(passage), passage.checksum) for passage in passages]
        self._connection.executemany("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        return sum(row[-1] for row in rows)

    def remove_passages(self, rows: Iterable[int]) -> None:
        """Delete passages by row."""
        self._connection.executemany("DELETE FROM passages WHERE row = ?", ((row,) for row in rows))

    def put_segments(self, added: Iterable[SegmentRecord], dropped: Iterable[int]) -> None:
        """Add segments, and delete others by number."""
        self._put_records("segments", added, dropped)

    def put_blocks(self, added: Iterable[BlockRecord], dropped: Iterable[int]) -> None:
        """Add vector blocks, and delete others by number."""
        self._put_records("vector_blocks", added, dropped)

    def add_tombstones(self, rows: Rows, *, replace_all: bool = False) -> None:
        """Record deleted rows, or replace all recorded ones by ``rows``."""
        if replace_all:
            self._connection.execute("DELETE FROM tombstones")
        if len(rows):
            number = self._connection.execute(
                "SELECT coalesce(max(number), 0) + 1 FROM tombstones"
            ).fetchone()[0]
            data = encode_rows(rows)
            self._connection.execute(
                "INSERT INTO tombstones VALUES (?, ?, ?)",
                (number, data, row_checksum(number, data)),
            )

    def _put_records(self, table: str, added: Iterable[Any], dropped: Iterable[int]) -> None:
        self._connection.executemany(
            f"DELETE FROM {table} WHERE number = ?", ((number,) for number in dropped)
        )
        for record in added:
            row = (*field_values(record), record.checksum)
            marks = ",".join("?" * len(row))
            self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)


def _change_stamp(path: Path) -> tuple[int, ...]:
    """Return times and sizes of a catalog and its log, which change with every commit."""
    numbers: list[int] = []
    for file in (path, path.with_name(path.name + "-wal")):
        with suppress(FileNotFoundError):
            found = file.stat()
            numbers += [found.st_mtime_ns, found.st_size]
    return tuple(numbers)


def file_key(path: Path) -> FileKey:
    """Return device and inode of the file at a path.

    Raises:
        IndexNotFoundError: The file is missing.
        CorruptIndexError: It is not a plain file.
    """
    return _stat_plain(path)[0]


def _stat_plain(path: Path) -> tuple[FileKey, FileTimes]:
    """Return the key and the times of a plain file; raise as ``file_key`` does."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise IndexNotFoundError(f"there is no index at {path.parent}") from None
    if not stat.S_ISREG(found.st_mode):
        raise not_plain_error(path)
    return (found.st_dev, found.st_ino), (found.st_mtime_ns, found.st_size)


def _check_plain(path: Path) -> None:
    """Raise CorruptIndexError if a catalog or a file of its log is there but no plain file."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            _stat_plain(file)


def _set_sync(connection: sqlite3.Connection) -> None:
    """Let SQLite sync each commit, as ``sync_file`` does."""
    connection.execute("PRAGMA synchronous = FULL")
    if sys.platform == "darwin":
        connection.execute("PRAGMA fullfsync = ON")


class _Connection(sqlite3.Connection):
    """A connection that knows the file that it has opened."""

    file: FileKey | None = None
    times: FileTimes | None = None
    stamp: tuple[int, ...] | None = None  # of a file opened as immutable
    user = 0  # the thread that has taken it
    for_reading = False  # SQLite opens a file so where the system refuses more, if only for once


class Catalog(Forkable):
    """The SQLite file of one index, with a pool of connections.

    Each connection is used by one thread at a time. If another file replaces it, connections to
    the old file are closed as soon as their transactions end.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._idle: list[_Connection] = []
        self._file: FileKey | None = None  # that idle connections have open
        self._lock = threading.Lock()
        self._entrance = threading.Lock()  # held while the process forks
        self._users: list[int] = []  # the thread of each connection that is taken
        self.register()
        self._process = os.getpid()
        self._closed = False
        with self.read_transaction() as reader:
            self._check_format(reader)

    def before_fork(self) -> None:
        """Wait for other threads' transactions: a child forked during one can't use SQLite."""
        self._entrance.acquire()
        this, deadline = threading.get_ident(), time.monotonic() + _FORK_WAIT
        while any(thread != this for thread in list(self._users)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.0005)

    def after_fork(self, *, in_child: bool) -> None:
        """In the child, replace the lock."""
        if in_child:
            self._lock, self._entrance = threading.Lock(), threading.Lock()
            self._users = [user for user in self._users if user == threading.get_ident()]
        else:
            self._entrance.release()

    @classmethod
    def create(cls, path: Path, settings: IndexSettings) -> None:
        """Create an empty catalog in one transaction, unless there already is one."""
        _check_plain(path)
        with _single_connection(path) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            _set_sync(connection)
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("PRAGMA application_id").fetchone()[0] == 0:
                for statement in SCHEMA:
                    connection.execute(statement)
                writer = CatalogWriter(connection)
                writer.put_settings(settings)
                writer.put_state(State(new_identity()))
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("COMMIT")

    @classmethod
    def renew_identity(cls, path: Path) -> None:
        """Give a copy of a catalog an identity of its own; raise CorruptIndexError if damaged."""
        with _single_connection(path) as connection:
            if not has_schema(connection):
                raise CorruptIndexError(f"{path} is damaged: its tables are not those of an index")
            writer = CatalogWriter(connection)
            writer.put_state(replace(writer.state(), identity=new_identity()))

    def read_transaction(self) -> "ReadTransaction":
        """Open a read transaction; raise IndexClosedError if the catalog was closed."""
        return ReadTransaction(self)

    @contextmanager
    def write_transaction(self) -> Iterator[CatalogWriter]:
        """Open a write transaction. Commit and sync it at the end; roll it back on an error."""
        connection = self._begin_write()
        try:
            yield CatalogWriter(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self.raise_translated(error)
            raise
        finally:
            self.return_connection(connection)

    def _begin_write(self, *, again: bool = True) -> _Connection:
        """Begin a write transaction; ``again``, if the connection is for reading alone."""
        connection = self.take_connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "DELETE FROM state WHERE FALSE"
            )  # only this says that it can't write
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            refused = isinstance(error, sqlite3.OperationalError) and "readonly" in str(error)
            connection.for_reading = refused
            self.return_connection(connection)
            if refused and again:
                return self._begin_write(again=False)
            self.raise_translated(error)
            raise
        return connection

    def close(self) -> None:
        """Close all idle connections. The last one checkpoints the write-ahead log."""
        with self._lock:
            self._closed = True
            if os.getpid() == self._process:
                self._close_idle()

    def take_connection(self) -> _Connection:
        """Take a connection from the pool, or open one; raise IndexClosedError if closed."""
        with self._entrance, self._lock:
            if self._closed:
                raise IndexClosedError(f"the index {self._path.parent} was closed: open it again")
            if os.getpid() != self._process:
                # SQLite connections must be neither used nor closed in a forked child.
                _INHERITED.append(self._idle)
                self._idle, self._process = [], os.getpid()
            file, times = _stat_plain(self._path)
            if file != self._file:
                self._close_idle()
                self._file = file
            stamp = self._idle[-1].stamp if self._idle else None
            if stamp is not None and stamp != _change_stamp(self._path):
                self._close_idle()  # a user who may write has changed it
            connection = self._idle.pop() if self._idle else None
            self._users.append(threading.get_ident())
        try:
            connection = connection if connection is not None else self._connect()
        except BaseException:
            self._users.remove(threading.get_ident())
            raise
        connection.user, connection.times = threading.get_ident(), times
        return connection

    def return_connection(self, connection: _Connection) -> None:
        """Return a connection to the pool; close it if its transaction could not be ended.

        If a write found it to be open for reading alone, the idle ones are closed as well.
        """
        with self._lock:
            if connection.for_reading:
                self._close_idle()
            if (
                self._closed
                or connection.in_transaction
                or connection.for_reading
                or connection.file != self._file
            ):
                connection.close()
            else:
                self._idle.append(connection)
            if connection.user in self._users:  # not in a child, where threads are gone
                self._users.remove(connection.user)

    def raise_translated(self, error: BaseException | None) -> None:
        """Raise CorruptIndexError if SQLite reports damage, StorageError for its other errors."""
        _raise_translated(self._path, error)

    def _close_idle(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _connect(self) -> _Connection:
        """Open a connection; try again if another file takes the path meanwhile."""
        for _ in range(_TRIES):
            file = file_key(self._path)
            try:
                connection = self._open_file()
            except (StorageError, CorruptIndexError):
                if file_key(self._path) != file:
                    continue  # SQLite has opened the log or its index in another folder
                raise
            if file_key(self._path) == file:
                connection.file = file
                return connection
            connection.close()
        raise CorruptIndexError(f"{self._path} is replaced faster than it can be opened")

    def _open_file(self) -> _Connection:
        """Open the file for writing, or for reading where that is all this user can do.

        In a folder that can't be written, SQLite can't create files next to the catalog: without a
        write-ahead log, the file is opened as immutable. A log needs its shared-memory file.
        """
        _check_plain(self._path)
        folder, log = self._path.parent, self._path.with_name(self._path.name + "-wal")
        mode = "ro" if self._read_only or not os.access(self._path, os.W_OK) else "rw"
        stamp: tuple[int, ...] | None = None
        writable = os.access(folder, os.W_OK)
        if not writable and (not log.exists() or log.stat().st_size == 0):
            mode, stamp = "ro&immutable=1", _change_stamp(self._path)
        try:
            connection = sqlite3.connect(
                f"{self._path.resolve().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                timeout=30.0,
                check_same_thread=False,
                factory=_Connection,
            )
            _set_sync(connection)
            connection.execute(f"PRAGMA mmap_size = {_MMAP_SIZE}")
            connection.execute("PRAGMA schema_version").fetchone()  # opens the log as well
        except sqlite3.DatabaseError as error:
            if not writable or not os.access(self._path, os.R_OK):
                raise StorageError(
                    f"{self._path} can't be read by this user ({error}): it needs read permission, "
                    "and write permission for the folder while another process writes the index"
                ) from error
            self.raise_translated(error)
            raise
        except UnicodeDecodeError as error:
            raise _undecodable_error(self._path, error) from error
        connection.stamp = stamp
        return connection

    def _check_format(self, reader: CatalogReader) -> None:
        application = reader._connection.execute("PRAGMA application_id").fetchone()[0]
        if application != APPLICATION_ID:
            raise IndexNotFoundError(f"{self._path} is not a twofold catalog")
        schema = _read_schema(reader._connection)
        if not all(text.startswith(("CREATE TABLE", "CREATE INDEX")) for text in schema):
            raise CorruptIndexError(f"{self._path} has views or triggers, which no index has")
        number = reader.format()
        if not OLDEST_FORMAT <= number <= FORMAT:
            advice = "upgrade twofold" if number > FORMAT else "index the passages again"
            raise UnsupportedStorageError(
                f"the index at {self._path.parent} has format {number}, but this version of "
                f"twofold reads format {FORMAT}: {advice}"
            )
        if set(schema) != set(SCHEMA):
            raise CorruptIndexError(
                f"{self._path} is damaged: its tables are not those of an index; restore the index "
                "from a copy"
            )


def has_schema(connection: sqlite3.Connection) -> bool:
    """Return whether a catalog has the tables of an index alone.

    Views, triggers and virtual tables of a stranger would run when tables are read and written.
    """
    return set(_read_schema(connection)) == set(SCHEMA)


def _read_schema(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return [str(text) for (text,) in rows]


@contextmanager
def _single_connection(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a catalog outside of a pool, and raise the library's errors for those of SQLite."""
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        yield connection
    except sqlite3.DatabaseError as error:
        _raise_translated(path, error)
        raise
    except UnicodeDecodeError as error:
        raise _undecodable_error(path, error) from error
    finally:
        if connection is not None:
            connection.close()


def _raise_translated(path: Path, error: BaseException | None) -> None:
    """Raise the library's error for one of SQLite about the catalog at ``path``."""
    if not isinstance(error, sqlite3.DatabaseError):
        return
    message = str(error)
    if any(words in message for words in _DAMAGE):
        raise CorruptIndexError(
            f"{path} is damaged ({error}): restore the index from a copy"
        ) from error
    raise StorageError(f"{path} can't be read or written: {error}") from error


def _undecodable_error(path: Path, error: UnicodeDecodeError) -> CorruptIndexError:
    """Return the error for a damaged schema whose text SQLite puts into a message."""
    return CorruptIndexError(f"{path} is damaged ({error}): restore the index from a copy")


class ReadTransaction:
    """A context manager for a read transaction of a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __enter__(self) -> CatalogReader:
        self._connection = self._catalog.take_connection()
        self._reader = CatalogReader(self._connection)
        self._connection.execute("BEGIN")  # deferred: the first statement reads the file
        return self._reader

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._reader.close()
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        finally:
            self._catalog.return_connection(self._connection)
        if error is not None:
            self._catalog.raise_translated(error)


def passage_checksum(
    row: int, name: str, title: str, text: str, metadata: str, content: bytes
) -> int:
    """Return ``row_checksum`` of a passage's fields, computed faster: every hit is checked."""
    fields = (
        f"i{row}\0s{len(name)}:{name}\0s{len(title)}:{title}\0s{len(text)}:{text}"
        f"\0s{len(metadata)}:{metadata}\0b{content.hex()}"
    )
    digest = xxhash.xxh3_64_intdigest(fields.encode())
    return digest - (1 << 64) if digest >> 63 else digest


def _is_intact(fields: Sequence[Any], checksum: object) -> bool:
    """Return whether the fields of a passage have this checksum."""
    try:
        return passage_checksum(*fields) == checksum
    except (TypeError, AttributeError):  # a field has another type than was written
        return False


def _verify_passages(rows: Sequence[Any]) -> list[PassageFields]:
    """Return the fields of passages; raise CorruptIndexError for a wrong checksum."""
    passages: list[PassageFields] = []
    for *fields, checksum in rows:
        if not _is_intact(fields, checksum):
            raise damaged_row_error(f"passage {fields[1]!r}")
        passages.append(tuple(fields))
    return passages
