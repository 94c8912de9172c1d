"""Bi-encoders of sentence-transformers, with the model's own prompts and metric."""

import math
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.concurrency import ForkSafeLock
from twofold.encoders.batching import (
    TokenCounter,
    batch_by_tokens,
    check_texts,
    fill_zero_vectors,
    group_by_length,
    progress_bar,
)
from twofold.encoders.model_loading import LoadedModel, Task, load_model
from twofold.encoders.model_spec import (
    AS_SAVED,
    ModelOptions,
    absolute_model,
    format_spec,
    resolve_model_source,
)
from twofold.errors import InputError
from twofold.types import EncoderIdentity, Vectors
from twofold.validation import check_integer

CPU_TOKENS = 1024  # of a padded batch: about 4 abstracts; larger batches are no faster
_CPU_QUERY_TOKENS = 512  # a tenth faster than 1,024 for queries
ACCELERATOR_TOKENS = 32_768
_CHARACTERS_PER_TOKEN = 4  # for texts whose tokens needn't be counted
_UNPADDED_FACTOR = 64  # how many times larger batches are for a model that doesn't pad


class SentenceTransformerEncoder:
    """A sentence-transformers model, or a plain transformer, loaded when first used.

    Queries and passages get the model's own prompts and, in a ``Router``, their own towers. Texts
    are sorted by length and batched by tokens. A plain transformer without a chosen pooling is
    mean pooled, with an EncoderWarning.

    Args:
        model: A folder, an installed model package, or a name on the Hugging Face hub.
        options: Options that override how the model was saved.
        device: A torch device. For a sequence, such as ``["cuda:0", "cuda:1"]``, encoding passages
            starts one process per device, until ``close``. A script with such a sequence needs
            ``if __name__ == "__main__":``.
        batch_tokens: The most tokens in a batch, padding included. Default: 1,024 on a CPU (512
            for queries), 32,768 elsewhere.
        progress: Whether to draw a progress bar on standard error.

    Example:
        >>> from twofold import SentenceTransformerEncoder
        >>> encoder = SentenceTransformerEncoder("all-MiniLM-L6-v2")
        >>> encoder.encode_queries(["plants"]).shape  # doctest: +SKIP
        (1, 384)
    """

    def __init__(
        self,
        model: str | Path,
        *,
        options: ModelOptions = AS_SAVED,
        device: str | Sequence[str] | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> None:
        if batch_tokens is not None:
            check_integer("batch_tokens", batch_tokens)
        single = device is None or isinstance(device, str)
        if not single and not device:
            raise InputError("device must name at least one device, got an empty sequence")
        self._title = absolute_model(model)
        self.name = format_spec(self._title, asdict(options))
        self.progress = progress
        self._source = resolve_model_source(self._title)
        self._options = options
        self._devices = (device,) if device is None or isinstance(device, str) else tuple(device)
        self._in_processes = not single
        self._batch_tokens = batch_tokens
        self._load_lock = ForkSafeLock()  # for the model and the pool
        self._batch_lock = ForkSafeLock()  # for one batch, since tokenizers can't be shared
        self._pool_lock = ForkSafeLock()  # for one use of the pool, or results would mix
        self._loaded: LoadedModel | None = None
        self._counters: dict[Task, TokenCounter | None] = {}
        self._pool: dict[str, Any] | None = None
        self._stop_pool: Callable[[], object] | None = None

    def __getstate__(self) -> dict[str, Any]:
        unloaded: dict[str, Any] = {
            "_loaded": None,
            "_counters": {},
            "_pool": None,
            "_stop_pool": None,
        }
        return {**vars(self), **unloaded}

    @property
    def model(self) -> Any:
        """The SentenceTransformer. Raises EncoderNotFoundError if it can't be loaded."""
        return self.loaded.model

    @property
    def loaded(self) -> LoadedModel:
        """The model with the options applied. Raises InputError if they don't fit the model."""
        with self._load_lock:
            if self._batch_lock.interrupted:  # a forked child can't use a model left at work
                self._loaded, self._batch_lock = None, ForkSafeLock()
                self._counters.clear()
            if self._loaded is None:
                self._loaded = load_model(
                    self._source, self._title, self._options, self._devices[0]
                )
            return self._loaded

    @cached_property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint. The first use hashes all weights."""
        ready = self.loaded
        return EncoderIdentity(self.name, ready.dim, ready.metric, ready.fingerprint())

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per query, float32 (n, dim)."""
        return self._encode(texts, "query")

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per passage, float32 (n, dim)."""
        return self._encode(texts, "document")

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages have more tokens than the model reads."""
        counts, max_length = self._count_tokens(texts, "document")
        return int((counts > max_length).sum()) if counts is not None else 0

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of tokens of each passage (n,), 0 for a model without a tokenizer."""
        counter = self._token_counter("document")
        return counter.count(texts) if counter is not None else np.zeros(len(texts), np.int64)

    @property
    def prompts(self) -> tuple[str, str]:
        """The prompts before queries and before passages, "" for none."""
        return self.loaded.prompt("query"), self.loaded.prompt("document")

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a passage that the model reads, None if it reads all."""
        longest, counter = self.loaded.max_length("document"), self._token_counter("document")
        if longest is None or counter is None:
            return None
        return counter.max_tokens(self.loaded.prompt("document"), longest)

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int64] | None]:
        """Return the tokens of each passage that has more than the model reads, else None."""
        longest, counter = self.loaded.max_length("document"), self._token_counter("document")
        if longest is None or counter is None:
            return [None] * len(texts)
        return counter.spans(texts, self.loaded.prompt("document"), longest)

    def close(self) -> None:
        """Stop the processes of several devices. Encoding passages starts them again."""
        with self._load_lock:
            if self._stop_pool is not None:
                self._stop_pool()
            self._pool = self._stop_pool = None

    def _encode(self, texts: Sequence[str], task: Task) -> Vectors:
        texts, ready = check_texts(texts), self.loaded
        vectors = np.zeros((len(texts), ready.dim), np.float32)
        if not texts:
            return vectors
        with progress_bar(len(texts), shown=self.progress) as advance:
            for positions, encoded in self._encode_batches(ready, texts, task):
                vectors[positions] = encoded
                advance(len(positions))
        return fill_zero_vectors(vectors, ready.metric)

    def _encode_batches(
        self, ready: LoadedModel, texts: list[str], task: Task
    ) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
        """Encode texts in batches; yield the positions and the vectors of each batch's texts."""
        model = ready.model
        encode = partial(
            model.encode_query if task == "query" else model.encode_document,
            prompt=ready.prompt(task),
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=ready.renormalize,
        )
        counts, max_length = self._count_tokens(texts, task)
        if counts is not None:
            sizes = np.minimum(counts, int(max_length))
        else:
            sizes = np.array([1 + len(text) // _CHARACTERS_PER_TOKEN for text in texts], np.int64)
        if not (self._in_processes and task == "document"):
            for positions in batch_by_tokens(sizes, self._token_budget(ready, task)):
                batch = [texts[position] for position in positions]
                with self._batch_lock:
                    vectors = encode(batch, batch_size=len(batch))
                yield positions, vectors
            return
        budget = self._batch_tokens or CPU_TOKENS
        pool = self._start_pool(ready)
        with self._pool_lock:
            # The pool's batches have one count, so each round has texts of similar length.
            for positions in group_by_length(sizes):
                fitting = max(1, budget // max(1, int(sizes[positions[0]])))
                count = min(fitting, -(-len(positions) // len(self._devices)))
                batch = [texts[position] for position in positions]
                yield positions, encode(batch, pool=pool, batch_size=count, chunk_size=count)

    def _count_tokens(
        self, texts: Sequence[str], task: Task
    ) -> tuple[NDArray[np.int64] | None, float]:
        """Return each text's number of tokens (n,) and the model's limit; (None, inf) for none."""
        ready, counter = self.loaded, self._token_counter(task)
        max_length = ready.max_length(task)
        if max_length is None or counter is None:
            return None, math.inf
        prompt = ready.prompt(task)
        return counter.count([prompt + text for text in texts]), max_length

    def _token_budget(self, ready: LoadedModel, task: Task) -> int:
        if self._batch_tokens is not None:
            return self._batch_tokens
        tokens = _CPU_QUERY_TOKENS if task == "query" else CPU_TOKENS
        tokens = tokens if ready.model.device.type == "cpu" else ACCELERATOR_TOKENS
        return tokens if ready.max_length(task) is not None else tokens * _UNPADDED_FACTOR

    def _token_counter(self, task: Task) -> TokenCounter | None:
        if task not in self._counters:
            with self._batch_lock:
                tokenizer = self.loaded.tokenizer(task)
                self._counters[task] = TokenCounter(tokenizer) if tokenizer is not None else None
        return self._counters[task]

    def _start_pool(self, ready: LoadedModel) -> dict[str, Any]:
        """Return sentence-transformers' pool of processes, started on the first call."""
        with self._load_lock:
            if self._pool is None:
                devices = [str(device) for device in self._devices]
                with _limit_process_threads(devices.count("cpu")):
                    self._pool = ready.model.start_multi_process_pool(devices)
                stop = ready.model.stop_multi_process_pool
                self._stop_pool = weakref.finalize(self, stop, self._pool)
            return self._pool


@contextmanager
def _limit_process_threads(processes: int) -> Iterator[None]:
    """Divide the CPU cores among the ``processes`` on CPU that the block starts."""
    before = os.environ.get("OMP_NUM_THREADS")
    if processes:
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // processes))
    try:
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS", None)
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
