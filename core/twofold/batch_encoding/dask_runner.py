"""Runs tasks on a Dask cluster (extra ``dask``)."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from twofold.batch_encoding.runners import WAITING
from twofold.errors import WorkerError
from twofold.extras import check_extra
from twofold.validation import check_integer

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class DaskRunner:
    """Runs tasks on a Dask cluster, which repeats those of workers that die.

    Args:
        cluster: A ``distributed.Client``, or the address of a scheduler, such as
            ``"tcp://scheduler:8786"``. Default: a cluster of processes on this machine.
        workers: How many processes the cluster on this machine has. Default: one per core.

    Raises:
        MissingExtraError: distributed is not installed.
    """

    def __init__(self, cluster: Any = None, workers: int | None = None) -> None:
        check_extra("dask", "DaskRunner", "distributed")
        if workers is not None:
            check_integer("workers", workers, 1)
        self._cluster = cluster
        self._workers = workers

    def run(
        self, function: Callable[[_Task], _Result], tasks: Iterable[_Task]
    ) -> Iterator[_Result]:
        """Yield the results in any order; raise WorkerError if workers die again and again."""
        from distributed import Client, KilledWorker, as_completed

        given = isinstance(self._cluster, Client)
        client = self._cluster if given else self._open_client()
        try:
            remaining = iter(tasks)
            width = WAITING * max(sum(client.nthreads().values()), 1)
            started = [
                client.submit(function, task, pure=False) for task in islice(remaining, width)
            ]
            completed = as_completed(started)
            for future in completed:
                try:
                    result = future.result()
                except KilledWorker as error:
                    raise WorkerError(
                        "workers died again and again while they ran the same task: they may be "
                        "out of memory; give them more"
                    ) from error
                future.release()
                yield result
                for task in islice(remaining, 1):
                    completed.add(client.submit(function, task, pure=False))
        finally:
            if not given:
                client.close()

    def _open_client(self) -> Any:
        from distributed import Client

        if self._cluster is not None:
            return Client(self._cluster)
        return Client(
            n_workers=self._workers, threads_per_worker=1, processes=True, dashboard_address=None
        )
