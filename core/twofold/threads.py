"""The one place that sets how many threads other libraries use.

One query runs on one thread: FAISS flat over 100,000 vectors takes 10 ms on one and up to 40 on
two. A forked child can't use OpenMP pools that its parent started, so it runs on one thread too.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_faiss_thread() -> Iterator[None]:
    """Let FAISS calls of this Python thread run on one thread; others are not touched."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _after_fork_in_child() -> None:
    """Keep libraries that are already loaded from waiting for threads that did not survive."""
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


os.register_at_fork(after_in_child=_after_fork_in_child)
