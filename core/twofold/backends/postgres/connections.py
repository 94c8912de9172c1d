"""Connections to a PostgreSQL server: time limits, retries, and errors without secrets."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from urllib.parse import unquote

import psycopg
from psycopg import errors as pg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict

from twofold.errors import BackendError, IndexLockedError, InputError, ReadOnlyError

GRACE = 2.0
"""Seconds beyond a statement's time limit after which a server that says nothing is given up."""
OPENING = 3.0
"""Seconds within which opening a backend is tried again, so that a wrong address fails soon."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0  # seconds
_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2}
_DEFAULT_PORT = "5432"
DEFAULT_SCHEMA = "twofold"
_Result = TypeVar("_Result")

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]

TRANSIENT: tuple[type[psycopg.Error], ...] = (
    pg.SerializationFailure,
    pg.DeadlockDetected,
    pg.AdminShutdown,
    pg.CrashShutdown,
    pg.CannotConnectNow,
    pg.TooManyConnections,
    pg.ConnectionException,
)
"""Faults after which the same operation may succeed."""
_PASSING = (
    *("starting up", "shutting down", "recovery", "not yet accepting", "terminating connection"),
    *("too many", "remaining connection slots"),
)
"""Parts of the messages by which a server refuses a connection that it may accept later."""
_STANDBY = "this server is a standby: pass the URL of the primary to write"
_ADVICE: tuple[tuple[type[psycopg.Error], str], ...] = (
    (pg.DiskFull, "free space on the server, and repeat the call: what was committed is stored"),
    (pg.OutOfMemory, "the server has too little memory, or its shared memory is too small"),
    (pg.InsufficientPrivilege, "grant the user rights on the database and the schema"),
    (pg.QueryCanceled, "pass a larger timeout, or an index_type that searches faster"),
    (pg.InvalidPassword, "check the user and the password, or set PGPASSWORD"),
    (pg.InvalidAuthorizationSpecification, "check the user, or the server's pg_hba.conf"),
    (pg.InvalidCatalogName, "create the database, or correct its name in the URL"),
)


def split_url(url: object) -> tuple[str, str]:
    """Return a URL without its parameter ``schema``, and the parameter's value."""
    if not isinstance(url, str) or not url.startswith(("postgresql://", "postgres://")):
        return cast(str, url), DEFAULT_SCHEMA  # Server.from_url refuses what is no string
    base, _, query = url.partition("?")
    pairs = [part for part in query.split("&") if part]
    names = [unquote(part[len("schema=") :]) for part in pairs if part.startswith("schema=")]
    others = "&".join(part for part in pairs if not part.startswith("schema="))
    return f"{base}?{others}" if others else base, names[-1] if names else DEFAULT_SCHEMA


class LimitedConnection(psycopg.Connection[Any]):
    """A connection whose every wait ends after ``limit`` seconds, also if the server is silent."""

    limit: float | None = None

    def wait(
        self, gen: "PQGen[_Result]", interval: float = 0.1, timeout: float | None = None
    ) -> _Result:
        """Wait for the server; close the connection and raise OperationalError after ``limit``."""
        limit = timeout if timeout is not None else self.limit
        try:
            return super().wait(gen, interval, limit)
        except pg._WaitTimeout:
            self.close()
            raise psycopg.OperationalError(f"no answer within {limit:.0f} s") from None


@dataclass(frozen=True)
class Server:
    """A server and database by URL.

    Attributes:
        label: Host, port and database, as messages name them.
        user: The user's name.
    """

    label: str
    user: str
    _parameters: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_url(cls, url: object) -> "Server":
        """Parse a connection URL or string; raise InputError, which never shows it."""
        example = "pass one such as 'postgresql://user@localhost:5432/database'"
        if not isinstance(url, str) or not url.strip():
            raise InputError(f"url must be a string, got {type(url).__name__}: {example}")
        try:
            parameters = conninfo_to_dict(url)
        except psycopg.Error:  # its message may repeat the password
            raise InputError(f"url is no PostgreSQL connection URL: {example}") from None
        host = str(parameters.get("host") or os.environ.get("PGHOST") or "localhost")
        port = str(parameters.get("port") or os.environ.get("PGPORT") or _DEFAULT_PORT)
        user = str(parameters.get("user") or os.environ.get("PGUSER") or "")
        name = str(parameters.get("dbname") or os.environ.get("PGDATABASE") or user)
        return cls(f"{host}:{port}/{name}", user, parameters)

    def connect(self, timeout: float) -> LimitedConnection:
        """Open a connection; raise BackendError if there is none within ``timeout`` seconds."""
        given: dict[str, Any] = {
            **_KEEPALIVE,
            "application_name": "twofold",
            **self._parameters,
            "connect_timeout": max(round(timeout), 2),
            "tcp_user_timeout": round(timeout * 1000),
        }
        try:
            connection = LimitedConnection.connect(**given)
        except psycopg.Error as error:
            failure = self.to_error(error)
            text = str(error)
            refused = "FATAL:" in text and not any(reason in text for reason in _PASSING)
            if isinstance(failure, BackendError):
                failure.transient = not refused
            raise failure from None
        connection.limit = timeout + GRACE
        return connection

    def to_error(self, error: psycopg.Error) -> Exception:
        """Return the library's error for one of psycopg; it names the server and no secret."""
        text = self._describe(error)
        if isinstance(error, pg.LockNotAvailable):
            return IndexLockedError(
                f"another writer holds the lock of {self.label}: wait for it, or pass a larger wait"
            )
        if isinstance(error, pg.ReadOnlySqlTransaction):
            return ReadOnlyError(f"PostgreSQL at {self.label}: {text}: {_STANDBY}")
        advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), None)
        if advice is None and isinstance(error, psycopg.OperationalError):
            advice = "check that the server runs and can be reached"
        ending = f": {advice}" if advice is not None else ""
        return BackendError(f"PostgreSQL at {self.label}: {text}{ending}")

    def _describe(self, error: psycopg.Error) -> str:
        """Return the first lines of a message, without passwords and values of passages."""
        primary = getattr(error.diag, "message_primary", None)
        text = " ".join((primary or str(error)).split()) or type(error).__name__
        text = text.split(" Multiple connection attempts failed")[0]
        secrets = [self._parameters.get(name) for name in ("password", "sslpassword")]
        for secret in (*secrets, os.environ.get("PGPASSWORD")):
            if secret:
                text = text.replace(str(secret), "***")
        return text[:300]


class Connections:
    """A pool of connections to one server, each used by one thread at a time.

    A connection that fails is closed. After a fork, the child opens its own.
    """

    def __init__(self, server: Server, size: int, timeout: float) -> None:
        self.server = server
        self.timeout = timeout
        self._size = size
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._idle: list[LimitedConnection] = []
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(self._size)
        self.closed = False

    @contextmanager
    def connection(self, *, fresh: bool = False) -> Iterator[LimitedConnection]:
        """Lend a connection without an open transaction; a ``fresh`` one was not used before."""
        if self._process != os.getpid():
            self._start()  # psycopg leaves the parent's connections alone
        free = self._free
        if not free.acquire(timeout=self.timeout):
            raise BackendError(
                f"all {self._size} connections to PostgreSQL at {self.server.label} have been in "
                f"use for {self.timeout:.0f} s: pass a larger pool_size"
            )
        connection: LimitedConnection | None = None
        try:
            connection = None if fresh else self._take()
            if connection is None:
                connection = self.server.connect(self.timeout)
            yield connection
        finally:
            if connection is not None:
                self._put(connection)
            free.release()

    def _take(self) -> LimitedConnection | None:
        """Return an idle connection that the server has not closed, None if there is none."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not connection.closed:
                return connection

    def _put(self, connection: LimitedConnection) -> None:
        """Take a connection back; close it if it is not usable any more."""
        try:
            if not connection.closed and connection.info.transaction_status:
                connection.rollback()
        except psycopg.Error:
            connection.close()
        if connection.closed:
            return
        with self._lock:
            if not self.closed:
                self._idle.append(connection)
                return
        connection.close()

    def drop_idle(self) -> None:
        """Close the connections that nobody uses, which a server that has restarted has lost."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(psycopg.Error):
                connection.close()

    def close(self) -> None:
        """Close all connections; those in use are closed when they are given back."""
        if self._process == os.getpid():
            self.closed = True
            self.drop_idle()


def is_transient(error: psycopg.Error) -> bool:
    """Return whether the same operation may succeed later: the connection or a lock failed."""
    if isinstance(error, TRANSIENT):
        return True
    lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return lost and error.sqlstate is None


def retry(
    server: Server, operation: Callable[[], _Result], seconds: float, failed: Callable[[], None]
) -> _Result:
    """Return what an idempotent operation returns, tried again after transient faults.

    Args:
        server: The server, which names errors.
        operation: The operation, which must be safe to repeat.
        seconds: How long it is tried again, such as while a server recovers from a crash.
        failed: Called after each transient fault.

    Raises:
        BackendError: It failed for good, or for too long.
    """
    end, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        try:
            return operation()
        except psycopg.Error as error:
            if not is_transient(error) or time.monotonic() + pause > end:
                raise server.to_error(error) from None
            failed()
        except BackendError as error:
            if not error.transient or time.monotonic() + pause > end:
                raise
            failed()
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that clients don't retry in step
        pause = min(2 * pause, _LONGEST_PAUSE)
