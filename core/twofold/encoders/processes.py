"""One model in several processes, one for each device."""

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.types import Vectors

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
