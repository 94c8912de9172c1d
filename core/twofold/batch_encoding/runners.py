"""Runners: they call a function for many tasks, in this process or in others on this machine."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Protocol, TypeVar

from twofold.errors import WorkerError
from twofold.validation import check_integer

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
MAX_LOSSES = 3
"""How many workers may die of one task before it is given up."""
WAITING = 2
"""Tasks per worker that are read ahead, which bounds the memory of the reader."""


class Runner(Protocol):
    """Runs a function over tasks."""

    def run(
        self, function: Callable[[_Task], _Result], tasks: Iterable[_Task]
    ) -> Iterator[_Result]:
        """Yield the results in any order. Tasks are read as workers become free.

        Raises:
            WorkerError: Workers died again and again.
        """


class SerialRunner:
    """Runs tasks one by one in this process."""

    def run(
        self, function: Callable[[_Task], _Result], tasks: Iterable[_Task]
    ) -> Iterator[_Result]:
        """Yield the results in the order of the tasks."""
        return map(function, tasks)


class ProcessRunner:
    """Runs tasks in processes of this machine. A worker that dies is replaced.

    Args:
        workers: How many processes. Default: one per core.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None:
            check_integer("workers", workers, 1)
        self.workers = workers if workers is not None else os.cpu_count() or 1

    def run(
        self, function: Callable[[_Task], _Result], tasks: Iterable[_Task]
    ) -> Iterator[_Result]:
        """Yield the results in any order; raise WorkerError if workers die again and again."""
        remaining = iter(tasks)
        losses: Counter[int] = Counter()
        pool = self._open_pool()
        running: dict[Future[_Result], _Task] = {}
        waiting: list[_Task] = []
        try:
            while True:
                free = max(WAITING * self.workers - len(running) - len(waiting), 0)
                waiting += islice(remaining, free)
                if not running and not waiting:
                    return
                lost = self._submit(pool, function, waiting, running)
                done = wait(running, return_when=FIRST_COMPLETED)[0] if running else set()
                for future in done:
                    task = running.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        lost.append(task)
                if not lost:
                    continue
                # A pool whose worker died runs nothing any more.
                waiting = [*lost, *running.values()]
                pool.shutdown(wait=True, cancel_futures=True)
                pool, running = self._open_pool(), {}
                for task in waiting:
                    losses[id(task)] += 1
                most = max(losses[id(task)] for task in waiting)
                if most > MAX_LOSSES * self.workers:
                    raise WorkerError(
                        f"workers died {most} times while they ran the same tasks: the machine may "
                        "be out of memory, so use fewer workers, or they can't import the "
                        "encoder's module"
                    )
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _submit(
        self,
        pool: ProcessPoolExecutor,
        function: Callable[[_Task], _Result],
        waiting: list[_Task],
        running: dict[Future[_Result], _Task],
    ) -> list[_Task]:
        """Move waiting tasks to the pool; return those that it refuses because a worker died."""
        while waiting:
            try:
                running[pool.submit(function, waiting[0])] = waiting[0]
            except BrokenProcessPool:
                lost = list(waiting)
                waiting.clear()
                return lost
            del waiting[0]
        return []

    def _open_pool(self) -> ProcessPoolExecutor:
        # Forked children would share the threads' locks of the parent's libraries.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=context)
