"""Bi-encoders by sentence-transformers, with the prompts and the metric of the model itself."""

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.batching import (
    TokenCounter,
    batch_by_tokens,
    check_texts,
    fill_zero_vectors,
    progress_bar,
)
from twofold.encoders.model_loading import LoadedModel, Task, load_model
from twofold.encoders.model_spec import (
    AS_SAVED,
    ModelOptions,
    format_spec,
    check_model_name,
    resolve_model_source,
)
from twofold.errors import InputError
from twofold.types import EncoderIdentity, Vectors

_STEP = 1.25
"""Texts in one round are at most this times as long as each other, so that little is padding."""


class Processes:
    """sentence-transformers' pool of processes, started at once and kept until ``stop``."""

    def __init__(self, model: Any, devices: list[str], batch_tokens: int) -> None:
        self._count = len(devices)
        self._budget = batch_tokens
        self._lock = threading.Lock()  # answers of two callers would mix
        with _one_share_of_cores(sum(device == "cpu" for device in devices)):
            self._pool = model.start_multi_process_pool(devices)
        self._stop = weakref.finalize(self, model.stop_multi_process_pool, self._pool)

    def stop(self) -> None:
        """End the processes."""
        self._stop()

    def encode(
        self,
        call: Callable[..., Vectors],
        texts: list[str],
        sizes: NDArray[np.int64],
        vectors: Vectors,
        advance: Callable[[int], None],
    ) -> None:
        """Fill ``vectors`` (n, dim) with what ``call`` gives for ``texts``, as long as ``sizes``.

        The pool takes chunks of one count, so texts of about one length go in one round.
        """
        with self._lock:
            for places in _rounds(sizes):
                fitting = max(1, self._budget // max(1, int(sizes[places[0]])))
                count = min(fitting, -(-len(places) // self._count))
                batch = [texts[place] for place in places]
                vectors[places] = call(batch, pool=self._pool, batch_size=count, chunk_size=count)
                advance(len(batch))


def _rounds(sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Give places of texts of about the same length, longest first."""
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        shortest = sizes[order[start]] / _STEP
        end = start + int((sizes[order[start:]] >= shortest).sum())
        yield order[start:end]
        start = end


@contextmanager
def _one_share_of_cores(processes: int) -> Iterator[None]:
    """Let processes that are started meanwhile use their part of the cores each."""
    if not processes:
        yield
        return
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // processes))
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


CPU_TOKENS = 1024
"""Tokens of one padded batch where arithmetic, not calls, is the cost: 4 abstracts."""
_CPU_QUERY_TOKENS = 512
"""The same for queries, so short that even this is dozens: a tenth faster than twice as many."""
ACCELERATOR_TOKENS = 32_768
_CHARACTERS = 4  # of a token, where texts are only measured to part them
_WHOLE_TEXTS = 64  # how much more a batch holds for a model that doesn't pad


class SentenceTransformerEncoder:
    """Any sentence-transformers model, or a plain transformer, loaded when first used.

    ``model`` is a folder, an installed model package or a name on the hub. Queries and passages
    go through the model's own prompts and, in a ``Router``, through their own towers. Texts are
    sorted by length and encoded in batches of at most ``batch_tokens`` tokens, padding included
    (left out: 1,024 on a CPU, 512 for queries, 32,768 elsewhere). A sequence of devices, such as
    ``["cuda:0", "cuda:1"]``, means a process for each, started when passages are first encoded
    and stopped by ``close``; a script that uses it needs ``if __name__ == "__main__":``.
    A plain transformer without a chosen pooling is mean pooled, with an EncoderWarning.
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
        if batch_tokens is not None and batch_tokens < 1:
            raise InputError(f"batch_tokens is {batch_tokens}: at least 1 is wanted")
        if device is not None and not isinstance(device, str) and not device:
            raise InputError(
                "device is an empty sequence: name one device or more, or leave it out"
            )
        self._title = check_model_name(model)
        self.name = format_spec(self._title, options)
        self.progress = progress
        self._source = resolve_model_source(self._title)
        self._options = options
        self._devices = (device,) if device is None or isinstance(device, str) else tuple(device)
        self._many = not (device is None or isinstance(device, str))
        self._batch_tokens = batch_tokens
        self._lock = threading.Lock()  # over loading
        self._turn = threading.Lock()  # over one batch, since tokenizers can't be shared
        self._loaded: LoadedModel | None = None
        self._counters: dict[Task, TokenCounter | None] = {}
        self._processes: Processes | None = None
        self._identity: EncoderIdentity | None = None

    @property
    def model(self) -> Any:
        """The SentenceTransformer itself; raises EncoderNotFoundError if it can't be had."""
        return self.loaded.model

    @property
    def loaded(self) -> LoadedModel:
        """The model with the options applied; raises as ``model`` does, and for a bad option."""
        with self._lock:
            if self._loaded is None:
                self._loaded = load_model(
                    self._source, self._title, self._options, self._devices[0]
                )
            return self._loaded

    @property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint; the first use hashes all weights."""
        ready = self.loaded
        if self._identity is None:
            self._identity = EncoderIdentity(
                self.name, ready.dim, ready.metric, ready.fingerprint()
            )
        return self._identity

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a query, float32 (n, dim)."""
        return self._encoded(texts, "query")

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a passage, float32 (n, dim)."""
        return self._encoded(texts, "document")

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages are longer than the model reads."""
        ready = self.loaded
        longest, counter = ready.max_length("document"), self._counter("document")
        if longest is None or counter is None:
            return 0
        prompt = ready.prompt("document")
        return int((counter.count([prompt + text for text in texts]) > longest).sum())

    def close(self) -> None:
        """Stop the processes, if there are any; they are started again when needed."""
        with self._lock:
            if self._processes is not None:
                self._processes.stop()
                self._processes = None

    def _encoded(self, texts: Sequence[str], task: Task) -> Vectors:
        texts, ready = check_texts(texts), self.loaded
        vectors = np.zeros((len(texts), ready.dim), np.float32)
        if not texts:
            return vectors
        call = self._call(ready, task)
        with progress_bar(len(texts), shown=self.progress) as advance:
            if self._many and task == "document":
                self._pool(ready).encode(call, texts, self._sizes(texts, task), vectors, advance)
            else:
                budget = self._budget(ready, task)
                for places in batch_by_tokens(self._sizes(texts, task), budget):
                    batch = [texts[place] for place in places]
                    with self._turn:
                        vectors[places] = call(batch, batch_size=len(batch))
                    advance(len(batch))
        return fill_zero_vectors(vectors, ready.metric)

    def _call(self, ready: LoadedModel, task: Task) -> Callable[..., Vectors]:
        """Return what encodes a list of texts in one tower."""
        model, prompt = ready.model, ready.prompt(task)
        encode = model.encode_query if task == "query" else model.encode_document

        def call(texts: list[str], **how: Any) -> Vectors:
            vectors = encode(
                texts,
                prompt=prompt,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=ready.renormalize,
                **how,
            )
            return np.asarray(vectors, np.float32)

        return call

    def _sizes(self, texts: list[str], task: Task) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return about how many tokens the model will read of each text, int64 (n,)."""
        ready = self.loaded
        longest, counter = ready.max_length(task), self._counter(task)
        if longest is None or counter is None:
            return np.array([1 + len(text) // _CHARACTERS for text in texts], np.int64)
        prompt = ready.prompt(task)
        return np.minimum(counter.count([prompt + text for text in texts]), longest)

    def _budget(self, ready: LoadedModel, task: Task) -> int:
        if self._batch_tokens is not None:
            return self._batch_tokens
        tokens = _CPU_QUERY_TOKENS if task == "query" else CPU_TOKENS
        tokens = tokens if ready.model.device.type == "cpu" else ACCELERATOR_TOKENS
        return tokens if ready.max_length(task) is not None else tokens * _WHOLE_TEXTS

    def _counter(self, task: Task) -> TokenCounter | None:
        if task not in self._counters:
            with self._turn:
                tokenizer = self.loaded.tokenizer(task)
                self._counters[task] = TokenCounter(tokenizer) if tokenizer is not None else None
        return self._counters[task]

    def _pool(self, ready: LoadedModel) -> Processes:
        with self._lock:
            if self._processes is None:
                devices = [str(device) for device in self._devices]
                self._processes = Processes(ready.model, devices, self._batch_tokens or CPU_TOKENS)
            return self._processes
