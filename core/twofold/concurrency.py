"""Starts all threads of the library and limits the threads of native libraries.

FAISS searches run on one OpenMP thread. A flat scan of 100,000 vectors on two OpenMP threads takes
up to four times as long as on one. Scanning two halves on two Python threads takes two thirds.
A forked child can't use OpenMP pools that its parent started, so it uses one thread too.
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar, copy_context
from functools import cache, cached_property, partial
from typing import Any, TypeVar
from weakref import WeakSet

_First = TypeVar("_First")
_Second = TypeVar("_Second")
_CORES = os.cpu_count() or 1  # read once, because os.cpu_count() reads a file
_forked = False
_loop: ContextVar[Any] = ContextVar("loop", default=None)  # that waits for this thread
_awaited: "ContextVar[_AwaitedWrite | None]" = ContextVar("awaited", default=None)
_forking = threading.Lock()  # one fork at a time
_told: "list[Forkable]" = []  # the objects that wait for the fork to end
_held: list[Any] = []  # locks taken for the time of a fork
_COMPILATION = 60.0  # seconds that a fork waits for a compilation
_forkables: "WeakSet[Forkable]" = WeakSet()


def run_parallel(
    first: Callable[[], _First], second: Callable[[], _Second]
) -> tuple[_First, _Second]:
    """Call ``first`` in this thread and ``second`` in another, and return both results.

    FAISS and numba release the GIL, so the two calls overlap.
    """
    if _CORES == 1:
        return first(), second()
    future = _leg_pool().submit(second)
    return first(), future.result()


@cache
def _leg_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_CORES, thread_name_prefix="twofold")


@cache
def caller_pool() -> ThreadPoolExecutor:
    """Return the thread pool that runs whole queries for an event loop, one thread per core.

    More threads would compete for the GIL, also with the event loop. The pool differs from that of
    ``run_parallel``, on which these queries wait.
    """
    return ThreadPoolExecutor(_CORES, thread_name_prefix="twofold-caller")


@cache
def _write_pool() -> ThreadPoolExecutor:
    """Return the thread pool that runs whole writes for an event loop.

    A write may wait for an embedding that needs a thread of the loop, so it must hold none. In the
    caller pool, long writes would delay searches.
    """
    return ThreadPoolExecutor(_CORES, thread_name_prefix="twofold-writer")


async def run_in_thread(function: Callable[..., _First], *args: Any, **kwargs: Any) -> _First:
    """Call ``function`` in the caller pool, with the current context variables."""
    return await _run_in_executor(caller_pool(), partial(function, *args, **kwargs))


async def run_write(function: Callable[..., _First], *args: Any, **kwargs: Any) -> _First:
    """Call ``function`` in the pool of writes, with the current context variables.

    If the awaiting task is cancelled, ``check_cancelled`` raises in the function.
    """
    import asyncio

    write = _AwaitedWrite()
    token = _awaited.set(write)
    try:
        return await _run_in_executor(_write_pool(), partial(function, *args, **kwargs))
    except asyncio.CancelledError:
        write.cancel()
        raise
    finally:
        _awaited.reset(token)


class _AwaitedWrite:
    """A write in a thread that an event loop awaits."""

    def __init__(self) -> None:
        self.cancelled = False
        self._lock = threading.Lock()
        self._embedding: Future[Any] | None = None

    def cancel(self) -> None:
        """Cancel the write, and the embedding call that it waits for."""
        with self._lock:
            self.cancelled = True
            if self._embedding is not None:
                self._embedding.cancel()

    def result(self, embedding: "Future[_First]") -> _First:
        """Wait for an embedding call of the write, which ``cancel`` ends."""
        with self._lock:
            self._embedding = embedding
            if self.cancelled:
                embedding.cancel()
        return embedding.result()


def check_cancelled() -> None:
    """Raise CancelledError if this thread runs a write whose awaiting task was cancelled."""
    write = _awaited.get()
    if write is not None and write.cancelled:
        raise CancelledError


async def _run_in_executor(executor: ThreadPoolExecutor, function: Callable[[], _First]) -> _First:
    import asyncio  # imported here, because synchronous programs don't need it

    loop, context = asyncio.get_running_loop(), copy_context()
    context.run(_loop.set, loop)
    return await loop.run_in_executor(executor, context.run, function)


def call_in_loop(
    awaited: Callable[..., Coroutine[Any, Any, _First]], plain: Callable[..., _First], *args: Any
) -> _First:
    """Await ``awaited(*args)`` in the event loop that waits for this thread, if there is one.

    Otherwise, return ``plain(*args)``.
    """
    import asyncio

    loop = _loop.get()
    if loop is None:
        return plain(*args)
    future, write = asyncio.run_coroutine_threadsafe(awaited(*args), loop), _awaited.get()
    return future.result() if write is None else write.result(future)


def runs_event_loop() -> bool:
    """Return whether an event loop runs in this thread, which reading a file would block."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def map_threads(
    function: Callable[[_First], _Second],
    items: Sequence[_First],
    threads: int,
    *,
    stop: Callable[[], None] | None = None,
) -> Generator[_Second, None, None]:
    """Yield ``function(item)`` for each item in order, computing several at a time.

    Each call starts its own threads. In the pool of ``run_parallel``, a caller that runs in that
    pool itself could wait for a free thread forever. After an exception, the items that were not
    begun are dropped; ``stop`` is called before the wait for those that were.
    """
    if threads == 1 or len(items) < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(min(threads, len(items)), thread_name_prefix="twofold") as pool:
        try:
            yield from pool.map(function, items)
        except BaseException:
            if stop is not None:
                stop()
            raise


@contextmanager
def limit_faiss_threads(count: int) -> Iterator[None]:
    """Run the FAISS calls of this Python thread on ``count`` OpenMP threads.

    Other Python threads are not affected.
    """
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if _forked else count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@contextmanager
def limit_native_threads() -> Iterator[None]:
    """Run BLAS and OpenMP on one thread, so that sums have the same order on every machine.

    This affects the whole process. It needs threadpoolctl, which scikit-learn installs.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


class lockless_property(cached_property[_First]):  # noqa: N801  # used like cached_property
    """A cached property without the lock that Python 3.11's has, which would survive a fork."""

    def __init__(self, compute: Callable[[Any], _First]) -> None:
        super().__init__(compute)
        self.lock = nullcontext()


class Forkable:
    """Base of objects with locks, which another thread may hold when the process forks."""

    def register(self) -> None:
        """Call ``before_fork`` and ``after_fork`` at every fork, as long as this object lives."""
        _forkables.add(self)

    def before_fork(self) -> None:
        """Wait, for a limited time, for operations that a fork must not interrupt."""

    def after_fork(self, *, in_child: bool) -> None:
        """In the parent, release locks; in the child, replace them and drop unfinished work."""


class ForkSafeLock(Forkable):
    """A lock that is new in a forked child, and in a copy of its owner by pickle or deepcopy.

    Attributes:
        interrupted: Whether another thread held it when this process was forked.
    """

    def __init__(self, *, reentrant: bool = False) -> None:
        self._new = threading.RLock if reentrant else threading.Lock
        self._reentrant = reentrant
        self._lock: Any = self._new()
        self._holder: int | None = None
        self.interrupted = False
        self.register()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._holder = threading.get_ident()

    def try_acquire(self) -> bool:
        """Take the lock if no other thread has it; return whether it was taken."""
        if not self._lock.acquire(blocking=False):
            return False
        self._holder = threading.get_ident()
        return True

    @contextmanager
    def acquired(self) -> Iterator[None]:
        """Release the lock, which was taken before, when the block ends."""
        try:
            yield
        finally:
            self.__exit__()

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError):  # a child's, which its parent has taken
            self._lock.release()

    def after_fork(self, *, in_child: bool) -> None:
        """In the child, replace the lock."""
        if in_child:
            free = self._lock.acquire(blocking=False)
            self.interrupted = not free and self._holder != threading.get_ident()
            self._lock = self._new()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(ForkSafeLock, reentrant=self._reentrant), ()


def _before_fork() -> None:
    """Wait for other threads' imports and compilations, which a child could never finish."""
    _forking.acquire()
    _told.extend(_forkables)
    for owner in _told:
        owner.before_fork()
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        if spec is not None and getattr(spec, "_initializing", False):
            with suppress(ImportError):
                importlib.import_module(spec.name)
    numba = sys.modules.get("numba.core.compiler_lock")
    lock = getattr(getattr(numba, "global_compiler_lock", None), "_lock", None)
    if lock is not None and lock.acquire(timeout=_COMPILATION):
        _held.append(lock)


def _after_fork(*, in_child: bool = False) -> None:
    global _forking
    while _held:
        _held.pop().release()
    while _told:
        _told.pop().after_fork(in_child=in_child)
    if in_child:
        _forking = threading.Lock()
    else:
        _forking.release()


def _after_fork_in_child() -> None:
    """Prevent the library from waiting for threads that did not survive the fork."""
    global _forked
    _forked = True
    _leg_pool.cache_clear()
    caller_pool.cache_clear()
    _write_pool.cache_clear()
    _after_fork(in_child=True)
    # Locks of modules that another thread has begun to import since.
    getattr(importlib._bootstrap, "_module_locks", {}).clear()
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )
