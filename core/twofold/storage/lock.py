"""The write lock: one writer per index, in this or any other process."""

import fcntl
import os
import weakref
from pathlib import Path

from twofold.errors import IndexLockedError

_LOCKS: "weakref.WeakSet[WriteLock]" = weakref.WeakSet()


class WriteLock:
    """An flock on a file, which the operating system releases when the process dies.

    A held lock has a handle of its folder, which stays valid if another folder takes its path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._folder: int | None = None
        _LOCKS.add(self)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock. A forked child never does."""
        return self._handle is not None

    @property
    def folder(self) -> int:
        """The handle of the folder, while the lock is held."""
        assert self._folder is not None
        return self._folder

    def is_current(self) -> bool:
        """Return whether the held lock is that of the folder which is now at the path."""
        if self._handle is None:
            return False
        pairs = ((self.folder, self._path.parent), (self._handle, self._path))
        try:
            return all(os.path.samestat(os.fstat(handle), at.stat()) for handle, at in pairs)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            IndexLockedError: Another Index or process holds it.
        """
        if self.held:
            return
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        handle = -1
        try:
            handle = os.open(self._path.name, os.O_RDWR | os.O_CREAT, 0o644, dir_fd=folder)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            for opened in (handle, folder):
                if opened >= 0:
                    os.close(opened)
            if not isinstance(error, BlockingIOError):
                raise
            in_process = any(lock.held and lock._path == self._path for lock in _LOCKS)
            holder = "another Index of this process" if in_process else "another process"
            raise IndexLockedError(
                f"{holder} holds the write lock of {self._path.parent}: call close() on the Index "
                "there, or delete the last reference to it (reading needs no lock)"
            ) from None
        self._handle, self._folder = handle, folder

    def release(self) -> None:
        """Release the lock if it is held."""
        if self._handle is not None:
            os.close(self._handle)
            os.close(self.folder)
            self._handle = self._folder = None


def _release_in_child() -> None:
    """Close inherited handles, which would keep the lock after the writer has exited."""
    for lock in _LOCKS:
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)
