"""The one place that starts threads, and sets how many other libraries use.

FAISS searches on one thread: with OpenMP on two, a flat scan of 100,000 vectors takes up to four
times as long as on one, while two halves on two threads of ours take two thirds. A forked child
can't use OpenMP pools that its parent started, so it runs on one too.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

_First = TypeVar("_First")
_Second = TypeVar("_Second")
_CORES = os.cpu_count() or 1  # asked once: the answer is read from a file, at every query
_pool: ThreadPoolExecutor | None = None
_callers: ThreadPoolExecutor | None = None
_forked = False


def run_parallel(
    first: Callable[[], _First], second: Callable[[], _Second]
) -> tuple[_First, _Second]:
    """Return what both give; ``second`` runs in another thread, ``first`` in this one.

    FAISS and compiled kernels let go of the interpreter, so that one hides behind the other.
    """
    global _pool
    if _CORES == 1:
        return first(), second()
    if _pool is None:
        _pool = ThreadPoolExecutor(_CORES, thread_name_prefix="twofold")
    other = _pool.submit(second)
    return first(), other.result()


def caller_pool() -> ThreadPoolExecutor:
    """Return the threads in which whole queries run for an event loop, one for each core.

    More would fight for the interpreter, and the loop with them. They are not the threads of
    ``beside``, for which such queries wait.
    """
    global _callers
    if _callers is None:
        _callers = ThreadPoolExecutor(_CORES, thread_name_prefix="twofold-caller")
    return _callers


async def in_thread(function: Callable[..., _First], *args: Any, **kwargs: Any) -> _First:
    """Return what a function gives in a caller's thread, under the same context variables."""
    import asyncio  # who awaits this has it; others needn't wait for it

    run = partial(copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(caller_pool(), run)


def map_threads(
    function: Callable[[_First], _Second], items: Sequence[_First], threads: int
) -> Iterator[_Second]:
    """Give what ``function`` makes of each item, in order; several at a time, taken from the front.

    The threads are this call's own: a caller may be a thread of ``beside``, whose pool could be
    full of such callers.
    """
    if threads == 1 or len(items) < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(min(threads, len(items)), thread_name_prefix="twofold") as pool:
        yield from pool.map(function, items)


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """Let FAISS calls of this Python thread run on so many threads; others are not touched."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if _forked else count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@contextmanager
def one_native_thread() -> Iterator[None]:
    """Let BLAS and OpenMP run on one thread, so that sums have one order on every machine.

    Holds for the whole process meanwhile. Needs threadpoolctl, which scikit-learn brings along.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def _after_fork_in_child() -> None:
    """Keep libraries that are already loaded from waiting for threads that did not survive."""
    global _pool, _callers, _forked
    _pool, _callers, _forked = None, None, True
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


os.register_at_fork(after_in_child=_after_fork_in_child)
