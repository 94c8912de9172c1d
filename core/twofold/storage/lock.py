"""The write lock: one writer per index, in this or any other process."""

import os
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from twofold.errors import IndexLockedError
from twofold.storage.files import HAS_FOLDER_HANDLES, open_plain

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_TRIES, _PAUSE = 5, 0.002  # seconds between tries
_LOCKS: "weakref.WeakSet[WriteLock]" = weakref.WeakSet()
FileStamp = tuple[int, int]
"""Device and inode of a file or folder."""


class WriteLock:
    """A lock on a file, which the operating system releases when the process dies.

    It is an flock, and on Windows a lock of the package filelock. A held flock has a handle of its
    folder, which stays valid if another folder takes its path. Windows replaces no folder in which
    a file is open.

    ``hand_over``, a method of the lock's owner, releases the lock for another one of this process.
    It returns True if it did, None if another thread is writing, False if the caller itself is.
    Without it, the lock is never handed over.

    ``is_busy_here`` tells after a failed try whether another thread of this process is writing.
    """

    def __init__(self, path: Path, hand_over: Callable[[], bool | None] | None = None) -> None:
        self._path = path
        self._hand_over = weakref.WeakMethod(hand_over) if hand_over is not None else None
        self.is_busy_here = False
        self._folder: int | None = None
        self._release: Callable[[], None] | None = None
        self._stamps: tuple[FileStamp, ...] = ()
        _LOCKS.add(self)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock. A forked child never does."""
        return self._release is not None

    @property
    def folder(self) -> int | None:
        """The handle of the folder, while the lock is held; None on Windows."""
        return self._folder

    def is_current(self) -> bool:
        """Return whether the held lock is that of the folder which is now at the path."""
        return self.held and self._stamps == self._read_stamps()

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            IndexLockedError: Another Index or process holds it.
        """
        if self.held:
            return
        try:
            if fcntl is not None and HAS_FOLDER_HANDLES:
                self._acquire_flock()
            else:
                self._acquire_filelock()
        except BlockingIOError:
            in_process = self._find_holder() is not None
            holder = "another Index of this process" if in_process else "another process"
            raise IndexLockedError(
                f"{holder} holds the write lock of {self._path.parent}: call close() on the Index "
                "there, or delete the last reference to it (reading needs no lock)"
            ) from None

    def take_over(self) -> None:
        """Take the lock; if an owner in this process holds it, ask for it.

        Raises:
            IndexLockedError: Another process holds it, or an owner that doesn't hand it over.
        """
        tries, self.is_busy_here = 0, False
        while (error := self._try()) is not None:
            holder = self._find_holder()
            if holder is None and tries < _TRIES:  # a thread here may be taking it just now
                tries += 1
                time.sleep(_PAUSE)
                continue
            ask = holder._hand_over() if holder is not None and holder._hand_over else None
            answer = ask() if ask is not None else False
            if not answer:
                self.is_busy_here = answer is None
                raise error

    def release(self) -> None:
        """Release the lock if it is held."""
        if self._release is not None:
            release, self._release, self._folder = self._release, None, None
            release()

    def _try(self) -> IndexLockedError | None:
        """Take the lock; return the error if another one holds it."""
        try:
            self.acquire()
        except IndexLockedError as error:
            return error
        return None

    def _acquire_flock(self) -> None:
        """Take an flock, and open the folder; raise BlockingIOError if another holds it."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        handles = [folder]
        try:
            flags = os.O_RDWR | os.O_CREAT
            handles.insert(0, open_plain(self._path.name, flags, folder=folder))
            fcntl.flock(handles[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            _close_all(handles)
            raise
        self._stamps = tuple(_stamp(os.fstat(handle)) for handle in handles)
        self._folder, self._release = folder, lambda: _close_all(handles)

    def _acquire_filelock(self) -> None:
        """Take a lock of the package filelock; raise BlockingIOError if another holds it."""
        import filelock

        lock = filelock.FileLock(self._path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise BlockingIOError(f"{self._path} is locked") from None
        self._stamps, self._release = self._read_stamps(), lock.release

    def _find_holder(self) -> "WriteLock | None":
        """Return the lock of this process that holds the file now at the path."""
        stamps = self._read_stamps()
        return next((lock for lock in _list_locks() if lock.held and lock._stamps == stamps), None)

    def _read_stamps(self) -> tuple[FileStamp, ...]:
        """Return the stamps of the files now at the paths of lock and folder, () if missing."""
        try:
            return _stamp(self._path.stat()), _stamp(self._path.parent.stat())
        except (FileNotFoundError, NotADirectoryError):
            return ()


def _list_locks() -> list[WriteLock]:
    """Return all locks of this process, to which other threads may be adding some."""
    while True:
        with suppress(RuntimeError):  # the set changed during the iteration
            return list(_LOCKS)


def _stamp(found: os.stat_result) -> FileStamp:
    return found.st_dev, found.st_ino


def _close_all(handles: list[int]) -> None:
    for handle in handles:
        os.close(handle)


def _release_in_child() -> None:
    """Close inherited handles, which would keep the lock after the writer has exited."""
    for lock in _LOCKS:
        lock.release()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_release_in_child)
