"""The write lock: one writer an index, in this process or any other."""

import fcntl
import os
from pathlib import Path

from twofold.errors import IndexLockedError


class WriteLock:
    """An flock on a file that stays; the system lets go of it when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._holder = -1

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, in this process: a forked child does not."""
        return self._handle is not None and self._holder == os.getpid()

    def acquire(self) -> None:
        """Take the lock or raise IndexLockedError at once."""
        if self.held:
            return
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise IndexLockedError(
                f"another writer holds {self._path.parent}: close it first (readers need no lock)"
            ) from None
        self._handle, self._holder = handle, os.getpid()

    def release(self) -> None:
        """Let go of the lock; nothing happens if it isn't held."""
        if self._handle is None:
            return
        if self.held:  # a child shares the lock's file, and could keep it locked
            fcntl.flock(self._handle, fcntl.LOCK_UN)
        os.close(self._handle)
        self._handle = None
