"""Connections to Milvus: addresses, time limits, versions, and errors without secrets."""

import logging
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import grpc
from pymilvus import MilvusClient, MilvusException

from twofold.errors import BackendError, IndexLockedError, InputError, MissingExtraError
from twofold.extras import is_installed

Consistency = Literal["strong", "session", "bounded", "eventually"]
CONSISTENCIES: tuple[Consistency, ...] = ("strong", "session", "bounded", "eventually")
DEFAULT_COLLECTION = "twofold"
TOKEN = "MILVUS_TOKEN"  # noqa: S105  # the name of the variable
_EXAMPLE = "pass one such as 'http://localhost:19530', or the path of a Milvus Lite file"
_COLLECTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_SCHEMES = {"milvus": "http", "milvus+https": "https", "http": "http", "https": "https"}
_PORT, _TLS_PORT = 19530, 443
_FULL_TEXT, _INFIX = (2, 5), (2, 4)  # the versions that brought BM25, and patterns with %text%
_ADVICE = (
    ("auth ", f"check the environment variable {TOKEN}: 'user:password' or an API key"),
    ("permission", f"grant the user of {TOKEN} rights on the collection"),
    ("connect", "check that the server runs and can be reached"),
    ("unavailable", "check that the server runs and can be reached"),
    ("deadline", "pass a larger timeout, or an index_type that searches faster"),
    ("timeout", "check that the server runs, or pass a larger timeout"),
    ("no space", "free space on the server, and repeat the call: what it acknowledged is stored"),
    ("disk", "free space on the server, and repeat the call: what it acknowledged is stored"),
    ("quota", "the server limits its memory or rate: wait, or raise its limits"),
)
_FIRST_PAUSE, _LONGEST_PAUSE, _LEAST = 0.1, 3.0, 0.1  # seconds
_REFUSING = 1.0  # seconds for which a server may refuse the first connection
_UNLOADED = ("call load()", "not loaded")
_TRANSIENT = ("connect", "unavailable", "deadline", "timeout", "rate limit")


_opened: Counter[Path] = Counter()
"""How often each Milvus Lite file is open in this process, where its server runs."""
_opened_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Milvus is.

    Attributes:
        uri: The address that pymilvus takes, or the path of a Milvus Lite file.
        database: The name of the database, "" for the default one.
        collection: The collection that the URL names, None if it names none.
    """

    uri: str
    database: str
    collection: str | None

    @classmethod
    def from_uri(cls, uri: object) -> "Address":
        """Parse a URI; raise InputError, which never shows a password."""
        if not isinstance(uri, str | os.PathLike) or not str(uri).strip():
            raise InputError(f"uri must be a string, got {type(uri).__name__}: {_EXAMPLE}")
        text = str(uri)
        if "://" not in text:
            return cls(_as_file(text), "", None)
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise InputError(f"uri is no URL of a Milvus: {_EXAMPLE}") from None
        if parts.scheme not in _SCHEMES:
            raise InputError(f"uri begins with {parts.scheme!r:.20}: {_EXAMPLE}")
        if parts.username is not None or parts.password is not None:
            raise InputError(
                f"uri holds a user or a password, which messages could show: set the environment "
                f"variable {TOKEN} to 'user:password' or an API key"
            )
        named = parse_qs(parts.query)
        unknown = sorted(set(named) - {"collection"})
        if unknown:
            raise InputError(f"uri has the parameter {unknown[0]!r:.40}: it takes only collection")
        collection = named.get("collection", [None])[-1]
        if not parts.netloc or parts.netloc == ".":
            path = unquote(parts.path)
            return cls(_as_file(f".{path}" if parts.netloc else path), "", collection)
        host = parts.hostname or "localhost"
        host = f"[{host}]" if ":" in host else host
        default = _PORT if _SCHEMES[parts.scheme] == "http" else _TLS_PORT
        address = f"{_SCHEMES[parts.scheme]}://{host}:{port if port is not None else default}"
        return cls(address, unquote(parts.path.strip("/")), collection)

    @property
    def is_file(self) -> bool:
        """Whether it is a Milvus Lite file."""
        return "://" not in self.uri

    @property
    def label(self) -> str:
        """The address as messages name it."""
        return f"{self.uri}/{self.database}" if self.database else self.uri


def _as_file(path: str) -> str:
    """Return the path of a Milvus Lite file; raise InputError for one that can't be created."""
    if "@" in path:
        raise InputError(f"uri has an @, as before a host after a password: {_EXAMPLE}")
    file = Path(path).expanduser()
    if not file.name.endswith(".db"):
        raise InputError(f"a Milvus Lite file must end in .db, got {path!r:.80}: {_EXAMPLE}")
    if not file.resolve().parent.is_dir():
        raise InputError(f"there is no folder {str(file.parent)!r} for the file {file.name!r}")
    return str(file.resolve())


def check_collection_name(name: object) -> str:
    """Return the name of a collection; raise InputError for one that Milvus doesn't take."""
    if not isinstance(name, str) or not _COLLECTION.fullmatch(name):
        raise InputError(
            "collection must be a name of up to 200 letters, digits and underscores that doesn't "
            f"begin with a digit, got {name!r:.80}"
        )
    return name


class Server:
    """A Milvus, asked by one client. Threads share it.

    Attributes:
        label: The address, as messages name it.
        version: Its version, such as (2, 6).
        is_lite: Whether it is Milvus Lite.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self.label = address.label
        self.timeout = timeout
        self._process = os.getpid()
        self._token = os.environ.get(TOKEN, "")
        self.closed = False
        self._file = Path(address.uri) if address.is_file else None
        if self._file is not None and not is_installed("milvus_lite"):
            raise MissingExtraError(
                f"the file {address.uri} needs Milvus Lite: pip install milvus-lite, or pass the "
                "address of a server"
            )
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # errors are raised, too
        self._client: Any = None
        if self._file is not None:  # before it is opened, so that no other backend releases it
            with _opened_lock:
                _opened[self._file] += 1
        try:
            self._client = self._connect(address)
            text = str(self.call("get_server_version"))
        except BaseException:
            self.close()
            raise
        self.is_lite = text.startswith("milvus_lite")
        numbers = re.findall(r"\d+", text)
        self.version = tuple(int(number) for number in numbers[:2])
        self.name = "Milvus Lite" if self.is_lite else f"Milvus {'.'.join(numbers[:3])}"

    def _connect(self, address: Address) -> MilvusClient:
        """Return a client. A server that refuses at first is tried again, for a moment."""
        end = time.monotonic() + _REFUSING
        while True:
            try:
                with self.errors():
                    return MilvusClient(
                        address.uri,
                        token=self._token,
                        db_name=address.database,
                        timeout=self.timeout,
                    )
            except BackendError as error:
                if not error.transient or time.monotonic() > end:
                    raise
            time.sleep(_FIRST_PAUSE)

    @property
    def has_full_text(self) -> bool:
        """Whether it computes BM25."""
        return self.is_lite or self.version >= _FULL_TEXT

    @property
    def has_infix(self) -> bool:
        """Whether its filters find a text within another one."""
        return self.is_lite or self.version >= _INFIX

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client, again after transient faults, within the time limit.

        Every call is safe to repeat.

        Raises:
            BackendError: The server failed, or has not answered in time.
        """
        if self._process != os.getpid():
            raise BackendError(
                f"the connection to {self.label} was opened by another process: create a "
                "MilvusBackend in each process"
            )
        end, pause, loaded = time.monotonic() + self.timeout, _FIRST_PAUSE, False
        while True:
            left = max(end - time.monotonic(), _LEAST)
            try:
                with self.errors():
                    return getattr(self._client, method)(*args, timeout=left, **kwargs)
            except BackendError as error:
                unloaded = bool(args) and any(part in str(error) for part in _UNLOADED)
                late = time.monotonic() + pause > end
                if not (error.transient or unloaded) or (late and (loaded or not unloaded)):
                    raise
            if unloaded:  # the server was restarted
                self.call("load_collection", args[0])
                loaded = True
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that clients don't retry in step
            pause = min(2 * pause, _LONGEST_PAUSE)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise the library's errors for those of pymilvus and gRPC."""
        try:
            yield
        except MilvusException as error:
            raise self._to_error(str(error.message)) from None
        except grpc.RpcError as error:
            code = getattr(error, "code", lambda: None)()
            raise self._to_error(f"{getattr(code, 'name', code)}") from None
        except grpc.FutureTimeoutError:
            raise self._to_error(f"no answer within {self.timeout:.0f} s") from None

    def _to_error(self, message: str) -> Exception:
        text = " ".join(message.split()) or "it failed without a message"
        for secret in {self._token, *self._token.split(":")[1:]} - {""}:
            text = text.replace(secret, "***")
        lower = text.lower()
        if "open local milvus failed" in lower:  # pymilvus keeps the reason to itself
            return IndexLockedError(
                f"the Milvus Lite file {self.label} can't be opened: another process has opened "
                "it, or it is damaged: close it there, or run a Milvus server for several processes"
            )
        advice = next((advice for part, advice in _ADVICE if part in lower), None)
        ending = f": {advice}" if advice is not None else ""
        error = BackendError(f"Milvus at {self.label}: {text[:300]}{ending}")
        error.transient = any(part in lower for part in _TRANSIENT)
        return error

    def close(self) -> None:
        """Close the connection, and a Milvus Lite file that no other backend here has open."""
        if self.closed or self._process != os.getpid():
            return
        self.closed = True
        if self._client is not None:
            self._client.close()
        if self._file is None:
            return
        with _opened_lock:
            _opened[self._file] -= 1
            if not _opened[self._file]:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(str(self._file))
