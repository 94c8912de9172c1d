"""Encoders of services: OpenAI, servers with its interface, and Ollama."""

import base64
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any

import numpy as np

from twofold.concurrency import ForkSafeLock, map_threads
from twofold.encoders.batching import check_texts, fill_zero_vectors, progress_bar
from twofold.encoders.service_client import (
    BadAnswerError,
    Clock,
    OversizeError,
    ServiceClient,
    SystemClock,
)
from twofold.encoders.service_model import DEFAULT_OPTIONS, ServiceModel, ServiceOptions
from twofold.errors import InputError, ServiceError
from twofold.similarity import Metric
from twofold.types import EncoderIdentity, Vectors

_PROBE = "dimensions"
"""A text whose vector tells the dimensions of a model that wasn't used yet."""
_SHOWN = 60  # characters of a text in a message


class ServiceEncoder:
    """A model of an embedding service, asked over HTTP. Needs the extra ``services``.

    Texts are sent in batches, several at a time. Faults that may pass are tried again: timeouts,
    broken connections and answers, and the statuses 408, 409, 425, 429 and 5xx. The waits are
    random and grow, or are those that the service asks for. Nothing is sent before the first use.

    The key is read from an environment variable for each request. It is not stored, and it is in no
    message. A spec with a key or password is refused.

    Args:
        model: A spec such as ``"openai:text-embedding-3-small?dim=256"``, or a ServiceModel.
        options: How the service is asked.
        clock: Tells the time and waits. Default: this machine's clock.
        progress: Whether to draw a progress bar on standard error.

    Example:
        >>> from twofold import ServiceEncoder
        >>> ServiceEncoder("openai:my-model?base_url=http://localhost:8000/v1").name
        'openai:my-model?base_url=http%3A%2F%2Flocalhost%3A8000%2Fv1'
    """

    def __init__(
        self,
        model: str | ServiceModel,
        *,
        options: ServiceOptions = DEFAULT_OPTIONS,
        clock: Clock | None = None,
        progress: bool = False,
    ) -> None:
        chosen = model if isinstance(model, ServiceModel) else ServiceModel.from_spec(model)
        if not isinstance(options, ServiceOptions):
            raise InputError(f"options must be a ServiceOptions, got {type(options).__name__}")
        if options.base_url is not None:
            chosen = replace(chosen, base_url=options.base_url)
        self.model = chosen
        self.options = options
        self.name = chosen.spec
        self.progress = progress
        self._client = ServiceClient(chosen, options, clock if clock is not None else SystemClock())
        self._lock = ForkSafeLock()
        self._dim: int | None = None
        self._most_texts = options.batch_texts

    def __repr__(self) -> str:
        return f"ServiceEncoder({self.name!r})"

    @property
    def known_fingerprint(self) -> str:
        """The fingerprint of the identity, known without asking the service."""
        return self.model.fingerprint

    @property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint; may ask for a vector to know the dimensions.

        The fingerprint covers names and prompts. The service doesn't show its weights.
        """
        dim = self.model.dim if self.model.dim is not None else self._find_dim()
        return EncoderIdentity(self.name, dim, Metric.COSINE, self.known_fingerprint)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per query, float32 (n, dim)."""
        return self._encode(texts, self.model.query_prompt or "")

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per passage, float32 (n, dim)."""
        return self._encode(texts, self.model.passage_prompt or "")

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages were cut to ``max_characters``. The service cuts none itself."""
        longest = self.model.max_characters
        prompt = len(self.model.passage_prompt or "")
        return sum(prompt + len(text) > longest for text in texts) if longest is not None else 0

    def check_ready(self) -> None:
        """Raise MissingExtraError without httpx, ServiceError without a key. Sends nothing."""
        self._client.check_ready()

    def close(self) -> None:
        """Close the connections. Encoding opens new ones."""
        self._client.close()

    def _find_dim(self) -> int:
        if self._dim is None:
            self._encode_batch([_PROBE], Event())
        assert self._dim is not None  # set by every answer
        return self._dim

    def _encode(self, texts: Sequence[str], prompt: str) -> Vectors:
        texts = [prompt + text for text in check_texts(texts)]
        sent = [position for position, text in enumerate(texts) if text.strip()]
        batches = self._make_batches(
            [texts[position][: self.model.max_characters] for position in sent]
        )
        stop = Event()
        parts: list[Vectors] = []
        run = map_threads(
            partial(self._encode_batch, stop=stop),
            batches,
            self.options.concurrency,
            stop=stop.set,
        )
        with progress_bar(len(texts), shown=self.progress) as advance, closing(run):
            for part in run:
                parts.append(part)
                advance(len(part))
        vectors = np.zeros((len(texts), self.model.dim or self._find_dim()), np.float32)
        if sent:
            vectors[sent] = np.concatenate(parts)
        blank = np.setdiff1d(np.arange(len(texts)), sent)
        vectors[blank] = fill_zero_vectors(vectors[blank], Metric.COSINE)
        return vectors

    def _make_batches(self, texts: Sequence[str]) -> list[list[str]]:
        """Split texts, in order, into batches within the limits of count and characters."""
        batches: list[list[str]] = []
        characters = 0
        for text in texts:
            characters += len(text)
            full = not batches or len(batches[-1]) >= self._most_texts
            if full or characters > self.options.batch_characters:
                batches.append([])
                characters = len(text)
            batches[-1].append(text)
        return batches

    def _encode_batch(self, batch: list[str], stop: Event) -> Vectors:
        """Return the vectors of a batch; send halves of one that the service finds too large."""
        payload: dict[str, Any] = {"model": self.model.model, "input": batch}
        if self.model.dim is not None:
            payload["dimensions"] = self.model.dim
        if self.model.provider == "openai":
            payload["encoding_format"] = "float"
        else:
            payload["truncate"] = False  # a text that is cut must be counted
        read = partial(_read_vectors, provider=self.model.provider, count=len(batch))
        refusal = ""
        try:
            vectors = self._client.post(payload, read, stop)
        except OversizeError as error:
            refusal = str(error)
        if refusal:
            return self._encode_halves(batch, refusal, stop)
        self._check_dim(vectors.shape[1])
        return vectors

    def _encode_halves(self, batch: list[str], refusal: str, stop: Event) -> Vectors:
        """Send each half of a batch; raise ServiceError for one text that is too long."""
        if len(batch) == 1:
            text = batch[0]
            raise ServiceError(
                f"{refusal}: a text of {len(text):,} characters ({text[:_SHOWN]!r}...): split it "
                "into shorter passages, or set max_characters in the spec"
            )
        middle = -(-len(batch) // 2)
        halves = [self._encode_batch(half, stop) for half in (batch[:middle], batch[middle:])]
        with self._lock:
            self._most_texts = min(self._most_texts, middle)
        return np.concatenate(halves)

    def _check_dim(self, dim: int) -> None:
        """Raise ServiceError if vectors have other dimensions than the earlier ones."""
        with self._lock:
            expected = self.model.dim if self.model.dim is not None else self._dim
            self._dim = dim if expected is None else expected
        if self._dim != dim:
            why = (
                f"dim={self.model.dim} was asked for: leave it out, or use a model that can "
                "shorten its vectors"
                if self.model.dim is not None
                else f"{expected} before: the model behind the name has changed"
            )
            raise ServiceError(f"the service {self.name!r} gave vectors of {dim} dimensions; {why}")


def _read_vectors(body: bytes, provider: str, count: int) -> Vectors:
    """Return the vectors of an answer, float32 (count, dim); raise BadAnswerError."""
    problem = ""
    try:
        rows = _read_rows(json.loads(body), provider)
    except (ValueError, RecursionError):
        problem = "the answer is not JSON"
    if problem:
        raise BadAnswerError(problem)
    if len(rows) != count:
        raise BadAnswerError(f"the answer has {len(rows)} vectors for {count} texts")
    try:
        array = np.asarray([_decode(row) for row in rows])
    except ValueError:
        array = np.empty(0, object)
    if array.ndim != 2 or not array.shape[1] or array.dtype.kind not in "fiu":
        raise BadAnswerError("the answer's vectors have different lengths, or hold no numbers")
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(vectors).all():
        raise BadAnswerError("the answer has a vector with NaN or an infinite value")
    return vectors


def _read_rows(value: Any, provider: str) -> list[Any]:
    """Return the vectors in an answer in the order of the texts; raise BadAnswerError."""
    name = "data" if provider == "openai" else "embeddings"
    rows = value.get(name) if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise BadAnswerError(f"the answer has no list {name!r}")
    if provider == "ollama":
        return rows
    if not all(isinstance(row, dict) and "embedding" in row for row in rows):
        raise BadAnswerError("the answer's list 'data' has an entry without 'embedding'")
    places = [row.get("index") for row in rows]
    if all(place is None for place in places):  # some servers leave it out
        return [row["embedding"] for row in rows]
    if not all(type(place) is int for place in places) or sorted(places) != list(range(len(rows))):
        raise BadAnswerError("the answer's list 'data' has missing or repeated 'index' values")
    vectors: list[Any] = [None] * len(rows)
    for place, row in zip(places, rows, strict=True):
        vectors[place] = row["embedding"]
    return vectors


def _decode(row: Any) -> Any:
    """Return a vector: a list, or little-endian float32 in base64 as an array."""
    if not isinstance(row, str):
        return row
    return np.frombuffer(base64.b64decode(row, validate=True), "<f4")
