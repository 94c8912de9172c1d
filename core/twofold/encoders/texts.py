"""What every encoder of ours does with its texts: checks, the order of work, a progress bar."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.metrics import Metric
from twofold.types import Vectors


def checked_texts(texts: Sequence[str]) -> list[str]:
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


def directed(vectors: Vectors, metric: Metric) -> Vectors:
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
