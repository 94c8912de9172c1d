"""The write lock: one writer per index, in this or any other process."""

import fcntl
import os
import weakref
from pathlib import Path

from twofold.errors import IndexLockedError

_LOCKS: "weakref.WeakSet[WriteLock]" = weakref.WeakSet()


class WriteLock:
    """An flock on a file, which the operating system releases when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        _LOCKS.add(self)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock. A forked child never does."""
        return self._handle is not None

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            IndexLockedError: Another Index or process holds it.
        """
        if self.held:
            return
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            in_process = any(lock.held and lock._path == self._path for lock in _LOCKS)
            holder = "another Index of this process" if in_process else "another process"
            raise IndexLockedError(
                f"{holder} writes to {self._path.parent}: call close() on that Index first, or "
                "delete the last reference to it (readers need no lock)"
            ) from None
        self._handle = handle

    def release(self) -> None:
        """Release the lock if it is held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _release_in_child() -> None:
    """Close inherited handles, which would keep the lock after the writer has exited."""
    for lock in _LOCKS:
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)
