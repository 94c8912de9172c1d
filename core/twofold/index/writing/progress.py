"""Reports how many passages are done, also while a batch is being encoded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twofold.encoders.batching import watch_encoding


class PassageProgress:
    """Counts the passages of an operation that are encoded or committed.

    ``report`` is called with their number; None for nothing.
    """

    def __init__(self, report: Callable[[int], None] | None) -> None:
        self._report = report
        self._done = 0

    @contextmanager
    def encoding(self, size: int) -> Iterator[None]:
        """Report the texts of a batch of ``size`` that are encoded in the block, but the last."""
        seen = 0

        def watch(count: int) -> None:
            nonlocal seen
            before, seen = seen, min(seen + count, size - 1)
            if self._report is not None and seen > before:
                self._report(self._done + seen)

        with watch_encoding(watch):
            yield

    def commit(self, size: int) -> None:
        """Report that a batch of ``size`` was committed."""
        self._done += size
        if self._report is not None:
            self._report(self._done)
