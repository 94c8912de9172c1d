"""The backend: an index in a PostgreSQL schema, in place of one in a folder."""

import json
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import psycopg
from psycopg import IsolationLevel

from twofold.backend import Capabilities, QueryMap, SearchProfile
from twofold.backends.batches import Batch, GivenVectors, Preparation, StoredBatch
from twofold.backends.postgres import schema as tables
from twofold.backends.postgres.connections import (
    GRACE,
    OPENING,
    Connections,
    Cursor,
    LimitedConnection,
    Server,
    retry,
    split_url,
)
from twofold.backends.postgres.dense import read_vectors
from twofold.backends.postgres.filters import FilterCompiler
from twofold.backends.postgres.lexical import hash_key
from twofold.backends.postgres.schema import StoredState
from twofold.backends.postgres.session import PostgresSession
from twofold.backends.postgres.writing import (
    check_storable,
    delete_rows,
    plan_stored,
    store_batch,
    write_state,
)
from twofold.backends.remote_index import RemoteIndex, Unprepared, settings_of
from twofold.dense import (
    HNSW,
    Auto,
    Flat,
    IndexType,
    PassageVectors,
    check_index_type,
    index_type_from_name,
)
from twofold.dense.index_types import (
    index_type_as_dict,
    index_type_from_dict,
    resolve_index_type,
)
from twofold.errors import (
    DegradedWarning,
    IndexNotFoundError,
    InputError,
    UnsupportedStorageError,
)
from twofold.filters import parse_filter
from twofold.index.index import Index
from twofold.index.open_options import AS_STORED, AsStored, OpenOptions
from twofold.index.saved.store import SavedUpdate
from twofold.index.view import StoredPassages, check_deletion
from twofold.index.writing.passage_input import BATCH
from twofold.lexical import AnalyzerLike
from twofold.protocols import Encoder
from twofold.similarity import Metric
from twofold.storage import IndexSettings
from twofold.types import MODES, Passage, Where
from twofold.validation import check_integer, check_number

_READ = IsolationLevel.REPEATABLE_READ
_WORK_MEMORY = "64MB"
_BUILD_MEMORY = "512MB"
_ANALYZED = 500
"""Passages stored by one call from which the server's statistics are renewed, if many are new."""
_OUTDATED = (
    "the tables are of an older version of twofold: open the backend once without read_only and "
    "with create=True, which changes them"
)
_DELETED = 10_000  # passages deleted by one statement
_Result = TypeVar("_Result")


class PostgresBackend(RemoteIndex):
    """An index in a PostgreSQL database: passages, vectors and postings in a schema of their own.

    Takes the place of an `Index` in a `Retriever` and in both adapters. Many clients can read and
    write. A query runs in one transaction, and so sees whole writes only. A write returns when the
    server has committed it.

    A dense leg needs the extension pgvector 0.8 or later, and PostgreSQL 14 or later.

    Args:
        url: The URL of the database. A password may be left to PGPASSWORD or a password file.
        schema: The schema, which is created if there is none. Default: that in the URL, as in
            ``postgresql://localhost/app?schema=manuals``, or ``"twofold"``.
        read_url: The URL of a standby that queries are sent to. It may be a moment behind.
        encoder: As in `Index.open`.
        dim: As in `Index.open`.
        metric: As in `Index.open`.
        analyzer: As in `Index.open`.
        title_weight: As in `Index.open`.
        windows: As in `Index.open`.
        index_type: ``Flat()`` scans all vectors, which is exact; ``HNSW(...)`` builds pgvector's
            graph. ``Auto()``, the default of a new index, builds one from 20,000 vectors on.
        template: An index whose settings and encoder a new schema gets; for `push`.
        profile: Search parameters, in place of the active profile.
        query_adapter: Maps query vectors, in place of the profile's adapter.
        create: Whether to create the tables if there are none.
        read_only: Whether to refuse writes. Nothing is created then.
        trust: As in `Index.open`.
        wait: Seconds that a write waits for another one.
        timeout: Seconds after which the server is given up that doesn't answer or can't be
            reached, as while it starts again after a crash. Building a graph has no limit.
            Opening a backend gives up a server that can't be reached after three seconds.
        pool_size: The most connections to each server.

    Raises:
        InputError: An argument is invalid.
        IndexNotFoundError: There are no tables, and they can't be created.
        IndexMismatchError: An argument contradicts what is stored.
        BackendError: The server can't be reached, or refuses.
        MissingExtraError: psycopg is not installed.

    Example:
        Backend and retriever, as with an index:

            backend = PostgresBackend("postgresql://app@db/app", schema="manuals")
            backend.upsert([{"id": "1", "text": "plants make food from light"}])
            Retriever(backend).retrieve("how do plants make food?")
    """

    same_lexical_scores = True
    features = Capabilities(MODES, scorers=True, statistics=True, explains=True, windows=True)

    def __init__(
        self,
        url: str,
        *,
        schema: str | None = None,
        read_url: str | None = None,
        encoder: Encoder | str | AsStored | None = AS_STORED,
        dim: int | Literal["first"] | None = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        title_weight: int | None = None,
        windows: bool | int | None = None,
        index_type: IndexType | Auto | str | None = None,
        template: Index | None = None,
        profile: SearchProfile | None = None,
        query_adapter: QueryMap | None = None,
        create: bool = True,
        read_only: bool = False,
        trust: Collection[str] = (),
        wait: float = 60.0,
        timeout: float = 30.0,
        pool_size: int = 8,
    ) -> None:
        check_number("timeout", timeout, 1)
        check_integer("pool_size", pool_size, 1)
        url, named = split_url(url)
        self._schema = tables.check_schema_name(schema if schema is not None else named)
        self._server = Server.from_url(url)
        self._read_server = self._server
        if read_url is not None:
            self._read_server = Server.from_url(split_url(read_url)[0])
        options = OpenOptions(
            encoder, dim, metric, analyzer, title_weight, windows, trust, wait, None
        )
        self._wait, self._timeout = float(wait), float(timeout)
        self.read_only = read_only
        self._writers = Connections(self._server, pool_size, self._timeout)
        self._readers = Connections(self._read_server, pool_size, self._timeout)
        self._extension: str | None = None
        kind = _as_index_type(index_type)
        try:
            state = self._open_tables(options, kind, template, create=create and not read_only)
            self._start(options, state, profile, query_adapter)
        except BaseException:
            self.close()
            raise

    def _open_tables(
        self,
        options: OpenOptions,
        kind: "Auto | Flat | HNSW | None",
        template: Index | None,
        *,
        create: bool,
    ) -> StoredState:
        """Return the state, after creating or migrating the tables if need be."""
        connections = self._writers if create else self._readers

        def read() -> StoredState | None:
            with connections.connection() as connection:
                tables.check_server(connection)
                cursor = connection.cursor()
                self._extension = tables.find_extension(cursor)
                if not tables.has_tables(cursor, self._schema):
                    return None
                tables.set_search_path(cursor, self._schema, self._extension)
                if tables.read_version(cursor) < tables.VERSION:
                    if not create:
                        raise UnsupportedStorageError(_OUTDATED)
                    tables.migrate(cursor)
                state = tables.read_state(cursor)
                connection.commit()
                return state

        patience = min(self._timeout, OPENING)
        state = retry(connections.server, read, patience, connections.drop_idle)
        if state is None and not create:
            raise IndexNotFoundError(
                f"there is no index in the schema {self._schema!r} of {connections.server.label}"
            )
        if state is None:
            settings = options.to_settings(Path()) if template is None else _settings_of(template)
            settings = replace(settings, home="")
            if kind is not None:
                settings = _with_index_type(settings, kind)
            return self._create(settings)
        return state

    def _create(self, settings: IndexSettings) -> StoredState:
        """Create the tables, unless another client has done so meanwhile."""

        def create() -> StoredState:
            with self._writers.connection(fresh=True) as connection:
                cursor = connection.cursor()
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(hashtext(%s))", (f"twofold {self._schema}",)
                )
                if settings.dense:
                    self._extension = tables.ensure_extension(cursor)
                exists = tables.has_tables(cursor, self._schema)
                tables.set_search_path(cursor, self._schema, self._extension)
                if not exists:
                    tables.create_tables(cursor, self._schema, settings)
                state = tables.read_state(cursor)
                connection.commit()
                return state

        return retry(self._server, create, self._timeout, self._writers.drop_idle)

    # Reading

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._writers.closed

    @property
    def schema(self) -> str:
        """The name of the schema."""
        return self._schema

    @property
    def index_type(self) -> "Flat | HNSW":
        """How the dense leg is searched: ``Flat()`` without a graph."""
        with self.session() as session:
            return session.state.built_graph or Flat()

    @contextmanager
    def session(self) -> Iterator[PostgresSession]:
        """Open a transaction that sees one state of the tables."""
        with self._reading() as (connection, state):
            yield PostgresSession(self._read_server, connection, state, self._find_analyzer(state))

    def get(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> list[Passage]:
        """Return the passages that satisfy ``ids``, ``where`` or both, if passed, as stored.

        Raises:
            InputError: Neither ``ids`` nor ``where`` is passed.
            FilterError: The filter is invalid.
        """
        selected = check_deletion("get", ids, where)
        condition, parameters = _selection(selected, where)
        with self._reading() as (connection, _):
            cursor = connection.execute(
                f"SELECT {tables.PASSAGE_COLUMNS} FROM passages d WHERE {condition} ORDER BY d.row",
                parameters,
            )
            found = list(StoredPassages(cursor.fetchall()))
        if selected is None:
            return found
        by_id = {passage.id: passage for passage in found}
        return [by_id[name] for name in selected if name in by_id]

    def count(self, where: Where | None = None) -> int:
        """Return the number of passages that match ``where``, or of all."""
        with self._reading() as (connection, state):
            if where is None:
                return state.passages
            condition, parameters = _selection(None, where)
            cursor = connection.execute(
                f"SELECT count(*) FROM passages d WHERE {condition}", parameters
            )
            found = cursor.fetchone()
            return int(found[0]) if found is not None else 0

    def __iter__(self) -> Iterator[Passage]:
        """Yield all passages of one state, in the order of storing."""
        with self._reading() as (connection, _):
            for rows in _read_pages(connection.cursor(), BATCH):
                yield from StoredPassages(rows)

    # Writing

    def delete(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> int:
        """Delete passages that satisfy ``ids``, ``where`` or both, if passed; return how many.

        Unknown ids are ignored.

        Raises:
            InputError: Neither ``ids`` nor ``where`` is passed.
            FilterError: The filter is invalid.
        """
        selected = check_deletion("delete", ids, where)
        condition, parameters = _selection(selected, where)

        def delete(cursor: Cursor, state: StoredState) -> int:
            cursor.execute(f"SELECT d.row FROM passages d WHERE {condition}", parameters)
            rows = [row for (row,) in cursor.fetchall()]
            if not rows:
                return 0
            after = state
            for start in range(0, len(rows), _DELETED):
                after = delete_rows(cursor, after, rows[start : start + _DELETED])
            settings = state.settings
            changed = settings.agreement_changed + len(rows)
            settings = replace(settings, agreement_changed=changed)
            write_state(cursor, replace(after, settings_text=settings.to_json()))
            return len(rows)

        return self._write(delete)

    def reindex(self, index_type: IndexType | Auto | str) -> "Flat | HNSW":
        """Change how the dense leg is searched, and build or drop pgvector's graph.

        Args:
            index_type: ``Flat()``, ``HNSW(...)``, ``Auto()`` or their names.

        Returns:
            The index type in use.
        """
        kind = _as_index_type(index_type)
        assert kind is not None  # one is given

        def change(cursor: Cursor, state: StoredState) -> None:
            settings = _with_index_type(state.settings, kind)
            tables.drop_graph(cursor)
            write_state(cursor, replace(state, settings_text=settings.to_json()))

        self._write(change)
        self._build_graph()
        return self.index_type

    def close(self) -> None:
        """Close the connections."""
        self._writers.close()
        self._readers.close()

    def __repr__(self) -> str:
        user = f"{self._server.user}@" if self._server.user else ""
        return f"PostgresBackend('postgresql://{user}{self._server.label}', schema={self.schema!r})"

    # Moving, by `twofold.backends.moving`

    def write_settings(self, settings: IndexSettings, adapters: Mapping[str, bytes]) -> None:
        """Replace the settings and the query adapters, and build the graph that is asked for."""

        def change(cursor: Cursor, state: StoredState) -> None:
            cursor.execute("DELETE FROM adapters")
            for name, data in adapters.items():
                cursor.execute("INSERT INTO adapters VALUES (%s, %s)", (name, data))
            kept = replace(settings, index_type=state.settings.index_type)
            write_state(cursor, replace(state, settings_text=kept.to_json()))

        self._write(change)
        self._build_graph()
        self._analyze()

    def change_saved(self, update: SavedUpdate) -> None:
        """Make one change of the newest settings and query adapters, for `profiles`."""

        def change(cursor: Cursor, state: StoredState) -> None:
            made = update(state.settings, state.vector_set)
            for name, data in made.written.items():
                cursor.execute("DELETE FROM adapters WHERE name = %s", (name,))
                cursor.execute("INSERT INTO adapters VALUES (%s, %s)", (name, data))
            for name in made.deleted:
                cursor.execute("DELETE FROM adapters WHERE name = %s", (name,))
            if made.settings != state.settings:
                write_state(cursor, replace(state, settings_text=made.settings.to_json()))

        self._write(change)

    def read_batches(self, size: int = BATCH) -> "Iterator[tuple[Batch, GivenVectors]]":
        """Yield all passages of one state with their metadata as JSON, and their vectors."""
        with self._reading(write=True) as (connection, state):
            cursor = connection.cursor()
            for found in _read_pages(cursor, size):
                rows = np.array([row[0] for row in found], np.int64)
                by_row: dict[int, PassageVectors] = {}
                if state.vector_set is not None:
                    by_row = dict(read_vectors(cursor, rows).by_passage())
                passages = StoredPassages(found)
                yield (
                    [(passages[at], found[at][4]) for at in range(len(found))],
                    [by_row.get(row) for row in rows.tolist()],
                )

    # Transactions

    @contextmanager
    def _reading(self, *, write: bool = False) -> Iterator[tuple[LimitedConnection, StoredState]]:
        """Open a transaction that sees one state; ``write`` asks the server that is written to."""
        connections = self._writers if write else self._readers
        self._check_open()

        def begin() -> tuple[ExitStack, LimitedConnection, StoredState]:
            with ExitStack() as stack:
                connection = stack.enter_context(connections.connection())
                connection.isolation_level, connection.read_only = _READ, True
                connection.limit = self._timeout + GRACE
                settings = {**self._local_settings(), "jit": "off", "work_mem": _WORK_MEMORY}
                found = connection.execute(
                    f"SELECT {', '.join(['set_config(%s, %s, true)'] * len(settings))}, "
                    f"{tables.STATE_COLUMNS} FROM {self._schema}.state",
                    [value for pair in settings.items() for value in pair],
                ).fetchone()
                state = tables.as_state(found[len(settings) :] if found is not None else None)
                return stack.pop_all(), connection, state

        with self._server_errors(connections.server):
            stack, connection, state = retry(
                connections.server, begin, self._timeout, connections.drop_idle
            )
            with stack:
                self._latest = state
                yield connection, state

    def _write(
        self, operation: Callable[[Cursor, StoredState], _Result], *, limited: bool = True
    ) -> _Result:
        """Return what an operation returns, run alone in a transaction that is then committed.

        It is run again after a transient fault. Without ``limited``, a statement may take any time.
        """
        self._check_writable()
        milliseconds = round(self._timeout * 1000) if limited else 0

        def run() -> _Result:
            with self._writers.connection() as connection:
                connection.isolation_level, connection.read_only = None, False
                connection.limit = self._wait + GRACE
                cursor = connection.cursor()
                wait = {"lock_timeout": f"{max(round(self._wait * 1000), 1)}"}
                _set_locally(cursor, {**self._local_settings(0), **wait})
                state = tables.read_state(cursor, lock=True)
                connection.limit = self._timeout + GRACE if limited else None
                _set_locally(cursor, {"statement_timeout": str(milliseconds)})
                result = operation(cursor, state)
                connection.commit()
                return result

        return retry(self._server, run, self._timeout, self._writers.drop_idle)

    def _local_settings(self, timeout: float | None = None) -> dict[str, str]:
        """Return every transaction's settings: where names are found, and how long it waits."""
        seconds = timeout if timeout is not None else self._timeout
        return {
            "search_path": tables.search_path(self._schema, self._extension),
            "statement_timeout": str(round(seconds * 1000)),
        }

    @contextmanager
    def _server_errors(self, server: Server) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise server.to_error(error) from None

    # Storing

    def _read_state(self) -> StoredState:
        with self._reading(write=True) as (_, state):
            return state

    def _check_storable(self, batch: Batch) -> None:
        check_storable(batch)

    def _try_store(
        self, batch: Batch, given: GivenVectors | None, prepared: Preparation
    ) -> StoredBatch | Unprepared:
        def attempt(cursor: Cursor, state: StoredState) -> StoredBatch | Unprepared:
            plan = plan_stored(cursor, state, batch, given)
            if not plan.changed:
                return StoredBatch(0, 0, 0, 0)
            if prepared.lacks(plan, state, given=given is not None):
                return Unprepared(plan, state)
            return store_batch(cursor, state, batch, plan, prepared, given)

        return self._write(attempt)

    def _finish_upsert(self, changed: int) -> None:
        self._build_graph()
        if changed >= max(_ANALYZED, len(self) // 10):
            self._analyze()

    def _analyze(self) -> None:
        """Count values, and mark the pages that all see: until then, searches are slow."""
        names = ", ".join(f"{self._schema}.{name}" for name in ("passages", "terms", "postings"))

        def run() -> None:
            with self._writers.connection(fresh=True) as connection:
                connection.autocommit = True  # VACUUM runs in no transaction
                connection.limit = None
                connection.execute(f"VACUUM (ANALYZE) {names}")
                connection.execute(f"ANALYZE {self._schema}.vectors")
                connection.autocommit = False

        retry(self._server, run, self._timeout, self._writers.drop_idle)

    def _build_graph(self) -> None:
        """Build the graph that the index type asks for, if there is none."""
        with self._reading(write=True) as (_, state):
            graph = _wanted_graph(state)
        if graph is None or state.graph:
            return
        dim, metric = state.settings.dim, state.settings.metric
        assert dim is not None  # of an index with vectors
        assert metric is not None  # likewise
        if dim > tables.MAX_GRAPH_DIM:
            if not isinstance(index_type_from_dict(_stored_type(state.settings)), Auto):
                warnings.warn(
                    f"pgvector builds graphs of at most {tables.MAX_GRAPH_DIM:,} dimensions, and "
                    f"the vectors have {dim:,}: searches scan all of them",
                    DegradedWarning,
                    stacklevel=3,
                )
            return

        def build(cursor: Cursor, now: StoredState) -> None:
            if not now.graph:
                _set_locally(cursor, {"maintenance_work_mem": _BUILD_MEMORY})
                tables.create_graph(cursor, metric, graph)

        self._write(build, limited=False)


def _read_pages(cursor: Cursor, size: int) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of all passages in the order of storing, ``size`` at a time."""
    last = -1
    while True:
        cursor.execute(
            f"SELECT {tables.PASSAGE_COLUMNS} FROM passages d "
            "WHERE d.row > %s ORDER BY d.row LIMIT %s",
            (last, size),
        )
        found = cursor.fetchall()
        if not found:
            return
        last = found[-1][0]
        yield found


def _set_locally(cursor: Cursor, settings: Mapping[str, str]) -> None:
    """Set parameters of the server for the rest of the transaction."""
    cursor.execute(
        f"SELECT {', '.join(['set_config(%s, %s, true)'] * len(settings))}",
        [value for pair in settings.items() for value in pair],
    )


def _selection(ids: list[str] | None, where: Where | None) -> tuple[str, dict[str, Any]]:
    """Return the condition on passages that satisfy ids and filter, and its parameters."""
    compiler = FilterCompiler()
    parts = [compiler.compile(parse_filter(where))] if where is not None else []
    if ids is not None:
        parts.append("d.key = ANY(%(keys)s::uuid[])")
        compiler.parameters["keys"] = [hash_key(name) for name in ids]
    return " AND ".join(parts), compiler.parameters


def _as_index_type(index_type: object) -> "Auto | Flat | HNSW | None":
    """Return an index type that pgvector offers; raise InputError for another one."""
    if index_type is None:
        return None
    kind = index_type_from_name(index_type) if isinstance(index_type, str) else index_type
    kind = check_index_type(kind)
    if not isinstance(kind, Auto | Flat | HNSW):
        raise InputError(
            f"PostgreSQL has the index types Flat(), HNSW() and Auto(), got {kind!r}: pass one of "
            "them"
        )
    if isinstance(kind, HNSW) and not (2 <= kind.links <= 100 and 4 <= kind.build_effort <= 1000):
        raise InputError(
            f"pgvector's graph takes links from 2 to 100 and build_effort from 4 to 1,000, got "
            f"{kind!r}"
        )
    return kind


def _with_index_type(settings: IndexSettings, kind: "Auto | Flat | HNSW") -> IndexSettings:
    return replace(settings, index_type=json.dumps(index_type_as_dict(kind)))


def _settings_of(index: Index) -> IndexSettings:
    """Return the settings for a copy of an index that has no passages yet."""
    settings = settings_of(index)
    kind = index_type_from_dict(_stored_type(settings))
    return settings if isinstance(kind, Auto | Flat | HNSW) else _with_index_type(settings, Auto())


def _stored_type(settings: IndexSettings) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(settings.index_type)
    return values


def _wanted_graph(state: StoredState) -> HNSW | None:
    """Return the graph that the index type asks for, None to scan all vectors."""
    kind = index_type_from_dict(_stored_type(state.settings))
    if not state.vectors:
        return None
    if isinstance(kind, Auto):
        kind = resolve_index_type(kind, state.vectors, state.settings.dim or 1)
        return HNSW(links=16, build_effort=128) if not isinstance(kind, Flat) else None
    return kind if isinstance(kind, HNSW) else None
