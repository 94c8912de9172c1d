"""What every encoder of ours does with its texts: checks, the order of work, a progress bar."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.similarity import Metric
from twofold.types import Vectors


def check_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts as a list; raise InputError for what no tokenizer can read."""
    if isinstance(texts, str):
        raise InputError(f"a sequence of texts is wanted, not one text: [{texts!r:.40}]")
    texts = list(texts)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {place} is of type {type(text).__name__}: a str is wanted")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"text {place} has a lone surrogate at {error.start}, which is no character: "
                    "decode it with errors='replace'"
                ) from None
    return texts


def fill_zero_vectors(vectors: Vectors, metric: Metric) -> Vectors:
    """Give texts of which no token is read one fixed direction under cosine, which needs one.

    ``vectors`` (n, dim) are changed in place.
    """
    if metric is Metric.COSINE:
        vectors[~vectors.any(axis=1)] = 1 / np.sqrt(vectors.shape[1])
    return vectors


def batches(sizes: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Return places in batches of similar size, longest first, each within ``budget`` padded.

    ``sizes`` (n,) are in tokens; a batch costs its count times its longest text. A text above the
    budget is a batch by itself.
    """
    order = np.argsort(-sizes, kind="stable")
    found: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        count = max(1, budget // max(1, int(sizes[order[start]])))
        found.append(order[start : start + count])
        start += count
    return found


@contextmanager
def shown_progress(total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Give what counts encoded texts, drawn as a bar on standard error if ``shown``."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("encoding", total=total)
        yield lambda count: bar.advance(task, count)


_PROBE = "Ünïcode TEXT, x²=49;  don't 中文 ひらがな 🙂 naïve_id42"
"""What tokenizers treat in different ways: case, accents, blanks, scripts, digits, signs."""

_AT_ONCE = 1024
"""Texts whose tokens are held in memory; those of an abstract take some 50 kB."""


class TokenCounter:
    """Counts tokens, special ones included, without truncating.

    A model's own tokenizer is set to truncate and pad by each call, so it can't be shared.
    """

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        own = getattr(tokenizer, "backend_tokenizer", tokenizer)
        self._slow: Any = None
        self._fast: Any = None
        if isinstance(own, Tokenizer):
            self._fast = Tokenizer.from_str(own.to_str())
            self._fast.no_truncation()
            self._fast.no_padding()
        else:
            self._slow = tokenizer

    def lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of tokens of each text, int64 (n,)."""
        found: list[int] = []
        for start in range(0, len(texts), _AT_ONCE):
            found += map(len, self._encoded(list(texts[start : start + _AT_ONCE])))
        return np.array(found, np.int64)

    def _encoded(self, texts: list[str]) -> list[Any]:
        if self._fast is not None:
            return list(self._fast.encode_batch(texts))
        return list(self._slow(texts, truncation=False, verbose=False)["input_ids"])

    def fingerprint(self) -> str:
        """Return a hash of the vocabulary, and of what becomes of a probe text."""
        if self._fast is not None:
            vocabulary, ids = self._fast.get_vocab(), self._fast.encode(_PROBE).ids
        else:
            vocabulary, ids = self._slow.get_vocab(), self._slow(_PROBE)["input_ids"]
        text = json.dumps([sorted(vocabulary.items()), ids])
        return xxhash.xxh3_128_hexdigest(text.encode())
