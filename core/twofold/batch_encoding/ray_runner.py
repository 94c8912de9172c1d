"""Runs tasks by Ray Data (extra ``ray``)."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from twofold.errors import TwofoldError, WorkerError
from twofold.extras import check_extra
from twofold.validation import check_integer

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_ROUND = 64
"""Tasks per actor of one round; Ray holds the tasks and results of a round in its store."""


class _Actor:
    """A worker of Ray Data, which keeps the model loaded."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row with the pickled result of its pickled task."""
        import pickle

        return {"result": pickle.dumps(self._function(pickle.loads(row["task"])))}  # noqa: S301  # our own


class RayRunner:
    """Runs tasks by Ray Data, in a pool of actors. Actors that die are replaced.

    Args:
        address: The address of a Ray cluster, such as ``"auto"`` or ``"ray://head:10001"``.
            Default: the cluster that is connected, or one on this machine.
        workers: How many actors. Default: one per core of this machine.
        gpus: GPUs of each actor.

    Raises:
        MissingExtraError: Ray Data is not installed.
    """

    def __init__(
        self, address: str | None = None, workers: int | None = None, gpus: float = 0.0
    ) -> None:
        check_extra("ray", "RayRunner", "ray", "pyarrow")
        if workers is not None:
            check_integer("workers", workers, 1)
        self._address, self._workers, self._gpus = address, workers, gpus

    def run(
        self, function: Callable[[_Task], _Result], tasks: Iterable[_Task]
    ) -> Iterator[_Result]:
        """Yield the results in any order; raise WorkerError if actors die again and again."""
        import os
        import pickle

        import ray
        from ray.exceptions import RayError, RayTaskError

        started = not ray.is_initialized()
        if started:
            ray.init(address=self._address, log_to_driver=False, include_dashboard=False)
        workers = self._workers if self._workers is not None else os.cpu_count() or 1
        remaining = iter(tasks)
        try:
            while some := list(islice(remaining, _ROUND * workers)):
                rows = [{"task": pickle.dumps(task)} for task in some]
                results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                    _Actor,
                    fn_constructor_args=(function,),
                    compute=ray.data.ActorPoolStrategy(size=workers),
                    num_gpus=self._gpus,
                )
                for row in results.iter_rows():
                    yield pickle.loads(row["result"])  # noqa: S301  # of our own workers
        except RayTaskError as error:  # the function's own error, wherever it was raised
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, TwofoldError):
                cause = getattr(cause, "cause", None) or cause.__cause__
            if cause is not None:
                raise cause from None
            raise WorkerError(f"a worker failed: {str(error).splitlines()[-1]:.300}") from error
        except RayError as error:
            raise WorkerError(
                "Ray gave up: workers died again and again, or the cluster can't be reached: "
                f"{str(error).splitlines()[0]:.200}"
            ) from error
        finally:
            if started:
                ray.shutdown()
