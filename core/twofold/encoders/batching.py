"""Input checks, token counts, batches and the progress bar that all encoders share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.similarity import Metric
from twofold.types import Vectors

_LENGTH_RATIO = 1.25
_watch: ContextVar[Callable[[int], None]] = ContextVar("watch", default=lambda _: None)
_TOKENIZED_AT_ONCE = 1024  # texts; the tokens of an abstract take about 50 kB


def check_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts as a list; raise InputError unless all are strings of valid Unicode."""
    if isinstance(texts, str):
        raise InputError(f"texts must be a sequence of strings, got one string: {texts!r:.40}")
    texts = list(texts)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {position} must be a string, got {type(text).__name__}")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"text {position} has a lone surrogate at {error.start}: "
                    "decode its bytes with errors='replace'"
                ) from None
    return texts


def fill_zero_vectors(vectors: Vectors, metric: Metric) -> Vectors:
    """Replace the zero rows of ``vectors`` (n, dim) by a fixed unit vector, in place, for cosine.

    A text without tokens has a zero vector, whose cosine is undefined. Other metrics keep it.
    """
    if metric is Metric.COSINE:
        vectors[~vectors.any(axis=1)] = 1 / np.sqrt(vectors.shape[1])
    return vectors


def batch_by_tokens(sizes: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Split n texts into batches of similar length; return each batch's positions, longest first.

    ``sizes`` (n,) are the texts' lengths in tokens. A batch has at most ``budget`` tokens, padding
    included; a longer text is a batch by itself.
    """
    order = np.argsort(-sizes, kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        count = max(1, budget // max(1, int(sizes[order[start]])))
        batches.append(order[start : start + count])
        start += count
    return batches


def group_by_length(sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield positions of texts whose lengths ``sizes`` differ by at most 25%, longest first."""
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        shortest = sizes[order[start]] / _LENGTH_RATIO
        end = start + int((sizes[order[start:]] >= shortest).sum())
        yield order[start:end]
        start = end


@contextmanager
def watch_encoding(report: Callable[[int], None]) -> Iterator[None]:
    """Call ``report`` with the number of texts that an encoder has encoded, again and again.

    Encoders of this package do so in the thread that opens the context.
    """
    token = _watch.set(report)
    try:
        yield
    finally:
        _watch.reset(token)


@contextmanager
def progress_bar(total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Draw a bar on standard error if ``shown``; yield a function that advances it by a count.

    The function also tells ``watch_encoding``.
    """
    watch = _watch.get()
    if not shown:
        yield watch
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("encoding", total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)
            watch(count)

        yield advance


def copy_fast_tokenizer(tokenizer: Any) -> Any:
    """Return a copy of the fast tokenizer inside a transformers tokenizer, or None without one.

    The copy neither truncates nor pads. Every call of a transformers tokenizer sets both, so the
    original can't be shared between threads.
    """
    from tokenizers import Tokenizer

    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(fast, Tokenizer):
        return None
    fast = Tokenizer.from_str(fast.to_str())
    fast.no_truncation()
    fast.no_padding()
    return fast


class TokenCounter:
    """Counts the tokens of whole texts, special tokens included."""

    def __init__(self, tokenizer: Any) -> None:
        self._fast = copy_fast_tokenizer(tokenizer)
        self._slow = tokenizer
        truncation = getattr(tokenizer, "truncation", None) or {}  # of the tokenizers library
        side = getattr(tokenizer, "truncation_side", truncation.get("direction", "right"))
        self._keeps_end = side == "left"

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of tokens of each text, int64 (n,)."""
        counts: list[int] = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            block = list(texts[start : start + _TOKENIZED_AT_ONCE])
            if self._fast is not None:
                counts += map(len, self._fast.encode_batch(block))
            else:
                counts += map(len, self._slow(block, truncation=False, verbose=False)["input_ids"])
        return np.array(counts, np.int64)

    def max_tokens(self, prompt: str, max_length: int) -> int | None:
        """Return how many tokens of a text are read beside the prompt and special tokens.

        None for a slow tokenizer, which doesn't locate its tokens, and for one that leaves out the
        beginning of long texts.
        """
        if self._fast is None or self._keeps_end:
            return None
        return max(max_length - int(self.count([prompt])[0]), 1)

    def spans(
        self, texts: Sequence[str], prompt: str, max_length: int
    ) -> list[NDArray[np.int64] | None]:
        """Return the tokens of each text that has more than ``max_length`` with its prompt.

        For each text, the start and the end of every token in characters (tokens, 2), or None.
        """
        found: list[NDArray[np.int64] | None] = [None] * len(texts)
        if self._fast is None:
            return found
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            block = [prompt + text for text in texts[start : start + _TOKENIZED_AT_ONCE]]
            for at, encoding in enumerate(self._fast.encode_batch(block), start):
                if len(encoding) > max_length:
                    spans = np.array(encoding.offsets, np.int64)[
                        np.array(encoding.special_tokens_mask) == 0
                    ]
                    # A token may begin in the prompt and end in the text.
                    found[at] = np.maximum(spans[spans[:, 1] > len(prompt)] - len(prompt), 0)
        return found
