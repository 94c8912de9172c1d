"""The write lock: one writer an index, in this process or any other."""

import fcntl
import os
import weakref
from pathlib import Path

from twofold.errors import IndexLockedError

_LOCKS: "weakref.WeakSet[WriteLock]" = weakref.WeakSet()


class WriteLock:
    """An flock on a file that stays; the system lets go of it when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        _LOCKS.add(self)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock; a forked child's does not."""
        return self._handle is not None

    def acquire(self) -> None:
        """Take the lock or raise IndexLockedError at once."""
        if self.held:
            return
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            ours = any(each.held and each._path == self._path for each in _LOCKS)
            who = "another Index of this process" if ours else "another process"
            raise IndexLockedError(
                f"{who} writes to {self._path.parent}: call close() on that Index first, or let "
                "go of what holds it (readers need no lock)"
            ) from None
        self._handle = handle

    def release(self) -> None:
        """Let go of the lock; nothing happens if it isn't held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _let_go_in_child() -> None:
    """Close what a forked child inherits: it would keep the lock when the writer is gone."""
    for lock in _LOCKS:
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)
