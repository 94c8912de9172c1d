"""Requests to embedding services: keys, retries, waits and the messages of faults."""

import json
import os
import re
import secrets
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import isfinite
from threading import Event
from typing import Any, Protocol, TypeVar

from twofold.concurrency import ForkSafeLock
from twofold.encoders.service_model import (
    OPENAI_BASE,
    ServiceModel,
    ServiceOptions,
    is_loopback,
)
from twofold.errors import ServiceError
from twofold.extras import check_extra

_Read = TypeVar("_Read")
_PATHS = {"openai": "/embeddings", "ollama": "/api/embed"}
_RETRIED = (408, 409, 425, 429)
_TOO_LARGE = re.compile(
    "too (large|long|many)|exceed|maximum|context (length|size|window)|batch size|max_tokens", re.I
)
_TOO_LONG = re.compile(
    r"(input|prompt).{0,40}(too (large|long)|exceed)|context (length|size)", re.I
)
"""Messages of texts that are too long, which some servers send with a status of 5xx."""
_REFUSED = (400, 413, 422)
"""Statuses of requests that are too large, and of others that are wrong."""
_MAX_ANSWER = 1 << 29  # bytes; 2,048 vectors of 4,096 dimensions take about 200 MB
_MAX_MESSAGE = 300  # characters of a service's message
_SHORTEST_WAIT = 0.001


class BadAnswerError(Exception):
    """An answer that holds no usable vectors, as a server under load may send."""


class OversizeError(ServiceError):
    """A request that the service refuses as too large; a part of it may be accepted."""


class Clock(Protocol):
    """Tells the time and waits; a test passes one of its own."""

    def monotonic(self) -> float:
        """Return seconds since any moment, which never go back."""

    def time(self) -> float:
        """Return seconds since 1970."""

    def wait(self, seconds: float, stop: Event) -> None:
        """Wait so many seconds, or until ``stop`` is set."""


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Return seconds since any moment, which never go back."""
        return time.monotonic()

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def wait(self, seconds: float, stop: Event) -> None:
        """Wait so many seconds, or until ``stop`` is set."""
        stop.wait(seconds)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer to one request; ``status`` is 0 if there is none.

    ``message`` is the fault in words, without the key. ``wait`` are the seconds that the service
    asks to wait before the next request.
    """

    status: int
    body: bytes = b""
    message: str = ""
    wait: float | None = None
    final: bool = False


class ServiceClient:
    """Sends requests to one service, from several threads.

    The key is read from the environment for each request, and is held by no object.
    """

    def __init__(self, model: ServiceModel, options: ServiceOptions, clock: Clock) -> None:
        self._model = model
        self._options = options
        self._clock = clock
        self._lock = ForkSafeLock()
        self._next = 0.0  # before this time, no request is sent
        self._http: Any = None
        self._process = 0
        self._close: weakref.finalize[..., Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_http": None, "_close": None, "_next": 0.0}

    def post(self, payload: dict[str, Any], read: Callable[[bytes], _Read], stop: Event) -> _Read:
        """Send a request until it is answered; return what ``read`` makes of the answer.

        Args:
            payload: The request, as JSON.
            read: Reads an answer; raises BadAnswerError for one that is to be asked for again.
            stop: Set by the caller to end waits.

        Raises:
            OversizeError: The request is too large.
            ServiceError: The service refuses it, or failed as often as the options allow.
        """
        body = json.dumps(payload).encode()
        problem = ""
        for attempt in range(1, self._options.tries + 1):
            self._take_turn(stop)
            answer = self._send(body, stop)
            problem = answer.message
            if answer.status == 200:
                try:
                    return read(answer.body)
                except BadAnswerError as error:
                    problem = str(error)
            elif answer.final:
                raise self._describe_refusal(answer)
            if attempt < self._options.tries:
                self._plan_retry(attempt, answer.wait, problem, stop)
        raise ServiceError(
            f"{self._describe()} failed {self._options.tries} times, at last: {problem}"
            + self._hint(answer)
        )

    def close(self) -> None:
        """Close the connections. The next request opens new ones."""
        with self._lock:
            if self._close is not None:
                self._close()
            self._http = self._close = None

    def _take_turn(self, stop: Event) -> None:
        """Wait until a request may be sent, by the rate and by what the service asked for."""
        rate = self._options.requests_per_minute
        while not stop.is_set():
            with self._lock:
                now = self._clock.monotonic()
                rest = self._next - now
                if rest < _SHORTEST_WAIT:
                    if rate is not None:
                        self._next = max(now, self._next) + 60 / rate
                    return
            self._clock.wait(rest, stop)
        raise ServiceError(f"{self._describe()}: the call was stopped")

    def _plan_retry(self, attempt: int, asked: float | None, problem: str, stop: Event) -> None:
        """Wait a random time, or hold all requests back for the time that the service asks for."""
        options = self._options
        if not asked:
            longest = min(options.max_wait, options.backoff * 2 ** min(attempt - 1, 30))
            self._clock.wait(longest * secrets.randbelow(1_000_001) / 1e6, stop)
            return
        if asked > options.max_wait:
            raise ServiceError(
                f"{self._describe()} asks to wait {asked:,.0f} seconds, longer than max_wait "
                f"({options.max_wait:,.0f}): repeat the call later ({problem})"
            )
        with self._lock:
            self._next = max(self._next, self._clock.monotonic() + asked)

    def _send(self, body: bytes, stop: Event) -> _Answer:
        """Send one request. Never raises an error of httpx, which would hold the key."""
        check_extra("services", "encoders of services", "httpx")
        import httpx

        client = self._connect(httpx)
        url = self._model.address() + _PATHS[self._model.provider]
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        key = self._read_key()
        if key:
            headers["Authorization"] = f"Bearer {key}"
        limit = time.monotonic() + self._options.timeout
        try:
            with client.stream("POST", url, content=body, headers=headers) as response:
                parts, size = [], 0
                for part in response.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    if time.monotonic() > limit or stop.is_set():
                        return _Answer(0, message=self._late)
                    if size > _MAX_ANSWER:
                        return _Answer(0, message="an answer too large to be vectors", final=True)
                content = b"".join(parts)
                if response.is_success:
                    return _Answer(200, content)
                return self._read_fault(response, content, key)
        except httpx.TimeoutException:
            return _Answer(0, message=self._late)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = _shorten(f"{type(error).__name__}: {str(error) or 'the connection broke'}", key)
            return _Answer(0, message=text, final=isinstance(error, httpx.InvalidURL))

    @property
    def _late(self) -> str:
        return f"no complete answer within {self._options.timeout:g} seconds"

    def _read_fault(self, response: Any, content: bytes, key: str) -> _Answer:
        """Return the answer for a status other than 200."""
        status = int(response.status_code)
        message, code = _find_message(content)
        message = _shorten(message or response.reason_phrase or "no message", key)
        final = not (status in _RETRIED or status >= 500) or code == "insufficient_quota"
        final = final or response.headers.get("x-should-retry") == "false"
        final = final or _TOO_LONG.search(message) is not None
        wait = _read_wait(response.headers, self._clock.time())
        return _Answer(status, b"", f"status {status}: {message}", wait, final)

    def check_ready(self) -> None:
        """Raise MissingExtraError without httpx, and ServiceError without a key."""
        check_extra("services", "encoders of services", "httpx")
        self._read_key()

    def _read_key(self) -> str:
        """Return the key from the environment, "" for none; raise ServiceError if it can't be."""
        variable = self._options.find_key_variable(self._model)
        if variable is None or not self._options.may_send_key(self._model.address()):
            return ""
        key = os.environ.get(variable, "").strip()
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            del key  # tracebacks may be printed with the variables of their frames
            raise ServiceError(
                f"the key in the environment variable {variable} has a blank, a control character "
                "or one outside ASCII: set it anew"
            )
        if not key and self._options.needs_key(self._model.address()):
            raise ServiceError(
                f"{self._describe()} needs a key: set the environment variable {variable}"
            )
        return key

    def _connect(self, httpx: Any) -> Any:
        """Return the connection pool of this process, which a forked child can't use."""
        with self._lock:
            if self._http is not None and self._process == os.getpid():
                return self._http
            if self._close is not None:
                self._close.detach()
            self._process = os.getpid()
            self._http = httpx.Client(
                timeout=self._options.timeout,
                limits=httpx.Limits(max_keepalive_connections=self._options.concurrency),
                follow_redirects=False,
                trust_env=not is_loopback(self._model.address()),  # a proxy isn't for this machine
            )
            self._close = weakref.finalize(self, self._http.close)
            return self._http

    def _describe_refusal(self, answer: _Answer) -> ServiceError:
        """Return the exception for an answer that another try wouldn't change."""
        text = f"{self._describe()} refuses the request ({answer.message})"
        pattern = _TOO_LARGE if answer.status in _REFUSED else _TOO_LONG
        if answer.status == 413 or pattern.search(answer.message) is not None:
            return OversizeError(text)
        return ServiceError(text + self._hint(answer))

    def _hint(self, answer: _Answer) -> str:
        """Return what to do about a fault, for the end of a message."""
        status = answer.status
        variable = self._options.find_key_variable(self._model)
        if status in (401, 403) and variable is not None:
            if not self._options.may_send_key(self._model.address()):
                return (
                    f": no key was sent, because the address comes from the spec; set "
                    f"{OPENAI_BASE} to it, or pass ServiceOptions(key_variable={variable!r})"
                )
            return f": set the environment variable {variable} to a key that is valid there"
        if 300 <= status < 400:
            return ": it redirects; pass the address that it redirects to as base_url"
        if self._model.provider == "ollama":
            if status == 404:
                return f": get the model with 'ollama pull {self._model.model}'"
            if answer.message.startswith("ConnectError"):
                return (
                    f": start it with 'ollama serve', and get the model with "
                    f"'ollama pull {self._model.model}'"
                )
        return ""

    def _describe(self) -> str:
        return f"the service {self._model.title!r} at {self._model.address()}"


def _find_message(content: bytes) -> tuple[str, str]:
    """Return the message and the code in the body of a fault, "" for none."""
    text = content[:100_000].decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text, ""
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return str(error), ""
    message = next((error[name] for name in ("message", "detail") if error.get(name)), error)
    return str(message), str(error.get("code") or error.get("type") or "")


def _shorten(text: str, key: str) -> str:
    """Return a message on one line, without the key, shortened."""
    if key:
        text = text.replace(key, "***")
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "..."


def _read_wait(headers: Any, now: float) -> float | None:
    """Return the seconds that an answer's headers ask to wait, None if they don't."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                moment = parsedate_to_datetime(text).timestamp()
                sent = headers.get("date")
                seconds = moment - (parsedate_to_datetime(sent).timestamp() if sent else now)
            except (ValueError, TypeError, OverflowError):
                continue
        if isfinite(seconds):
            return max(0.0, seconds)
    return None
