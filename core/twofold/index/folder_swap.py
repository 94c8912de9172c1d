"""Builds an index in a working folder, which takes the place of the target at the end.

The working folder ``NAME.TOKEN.partial`` lies next to the target. Its lock is held while it is in
use, so that the next one removes those that killed processes left behind.
"""

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twofold.errors import IndexLockedError, InputError
from twofold.index.layout import Layout
from twofold.storage import (
    WriteLock,
    check_local_disk,
    exchange_paths,
    make_folders,
    real_path,
    storage_errors,
    sync_folder,
)

_NEW, _OLD = "index", "replaced"  # folders in a working folder


@contextmanager
def new_index_folder(target: Path, *, overwrite: bool) -> Iterator[Layout]:
    """Yield the layout of an empty folder, which becomes ``target`` when the block ends.

    ``target`` appears as a whole or not at all. With ``overwrite`` it may be another index, which
    is locked meanwhile, moved away at the end and deleted. Whoever writes the new folder must sync
    its files and folders.

    Raises:
        InputError: The target exists and is not empty, or with ``overwrite`` not an index.
        IndexLockedError: A writer has the lock of the index that would be overwritten.
        StorageError: The system can't read or write the folders.
    """
    with storage_errors(target):
        if target.is_symlink():
            target = real_path(target)
        for parent in target.parents:
            if Layout(parent).catalog.is_file():
                raise InputError(f"{target} is in the folder of the index {parent}: pass another")
        recover_replaced(target)
        exists = _is_taken(target, overwrite=overwrite)
        make_folders(target.parent)
        check_local_disk(target.parent)
        remove_leftovers(target)
        working, working_lock = _make_working_folder(target)
    target_lock = WriteLock(Layout(target).lock)
    try:
        with storage_errors(target):
            if exists:
                target_lock.acquire()  # held until the other index is moved away
            new = working / _NEW
            new.mkdir()
        yield Layout(new)
        with storage_errors(target):
            if target.is_dir():
                shutil.copymode(target, new)
            if exists:
                _replace(target, working)
            else:
                new.replace(target)
                sync_folder(target.parent)
    finally:
        target_lock.release()
        shutil.rmtree(working, ignore_errors=True)
        working_lock.release()


def recover_replaced(target: Path) -> None:
    """Move an index back that a killed process had moved away from ``target``.

    Needed only where the system can't exchange two folders in one step.
    """
    if target.exists() or not target.parent.is_dir():
        return
    for working in working_folders(target):
        if not (working / _OLD / Layout(target).catalog.name).is_file():
            continue
        lock = _lock_leftover(working)
        if lock is not None:
            (working / _OLD).replace(target)
            sync_folder(target.parent)
            lock.release()
            return


def _is_taken(target: Path, *, overwrite: bool) -> bool:
    """Return whether there is an index to overwrite; raise InputError for anything else."""
    if not target.exists() or (target.is_dir() and next(target.iterdir(), None) is None):
        return False
    is_index = Layout(target).catalog.is_file()
    if is_index and not overwrite:
        raise InputError(
            f"{target} is not empty, it holds an index: pass overwrite=True (--overwrite) to "
            "replace that, or another path"
        )
    if not is_index:
        problem = "not an index" if overwrite else "not empty"
        problem = problem if target.is_dir() else "a file"
        raise InputError(f"{target} is {problem}: pass the path of a new or empty folder")
    strange = Layout(target).find_strange_file()
    if strange is not None:
        raise InputError(
            f"{target} is not overwritten, because it holds {strange!r}, which is no file of an "
            "index: move it away first"
        )
    return True


def _replace(target: Path, working: Path) -> None:
    """Put the new folder in the place of ``target``, in one step where the system can."""
    new, old = working / _NEW, working / _OLD
    if exchange_paths(target, new):
        sync_folder(target.parent)
        sync_folder(working)
        return
    target.replace(old)
    try:
        new.replace(target)
    except BaseException:
        old.replace(target)
        raise
    sync_folder(target.parent)
    sync_folder(working)


def _make_working_folder(target: Path) -> tuple[Path, WriteLock]:
    """Make a working folder for ``target``, and lock it."""
    while True:
        working = new_working_path(target)
        lock = WriteLock(Layout(working).lock)
        working.mkdir()
        try:
            lock.acquire()
        except (FileNotFoundError, IndexLockedError):  # another process took it for a leftover
            continue
        return working, lock


def new_working_path(target: Path) -> Path:
    """Return a path next to ``target`` for a folder in which it is prepared."""
    return target.with_name(f"{target.name}.{secrets.token_hex(8)}.partial")


def working_folders(target: Path) -> list[Path]:
    """Return the working folders for ``target``, also those in use."""
    pattern = re.compile(re.escape(target.name) + r"\.[0-9a-f]{16}\.partial")
    return [
        path
        for path in target.parent.iterdir()
        if pattern.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]


def remove_leftovers(target: Path) -> None:
    """Delete the working folders of processes that were killed, which nobody has locked."""
    for working in working_folders(target):
        lock = _lock_leftover(working)
        if lock is not None:
            shutil.rmtree(working, ignore_errors=True)
            lock.release()


def _lock_leftover(working: Path) -> WriteLock | None:
    """Lock a working folder; return None if a process is using it."""
    lock = WriteLock(Layout(working).lock)
    try:
        lock.acquire()
    except OSError:  # IndexLockedError is one
        return None
    return lock
