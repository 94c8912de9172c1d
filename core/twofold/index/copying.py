"""A copy of one generation of an index, made beside writers and readers."""

import os
import shutil
from pathlib import Path

from twofold.errors import CorruptIndexError, InputError
from twofold.index.layout import Layout
from twofold.index.saved_records import stored_adapters
from twofold.index.view import IndexView, SnapshotProvider
from twofold.storage import WriteLock, refuse_network, sync_folder, write_head

_TRIES = 20


def copy_index(
    layout: Layout, generations: SnapshotProvider, target: Path, *, overwrite: bool
) -> None:
    """Copy the newest generation to a new or empty folder, or in place of another index.

    The copy appears whole or not at all. An index that is replaced is moved aside first, and
    removed at the end. Raises InputError where the folder holds something else, IndexLockedError
    where somebody writes to what is replaced, CorruptIndexError where files are missing.
    """
    if target.resolve() == layout.folder.resolve():
        raise InputError(f"{target} is the index itself: give another folder to copy it to")
    there = target.exists() and (not target.is_dir() or bool(os.listdir(target)))
    if there and not (overwrite and Layout(target).catalog.is_file()):
        what = "no index" if overwrite else "there already"
        raise InputError(f"{target} is {what}: give the path of a new or empty folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    refuse_network(target.parent)
    beside, lock = Layout(_near(target, "copying")), WriteLock(Layout(target).lock)
    try:
        if there:
            lock.acquire()  # before the work, and until the other index is out of the way
        _write_newest(layout, generations, beside)
        if there:
            _replace(target, beside.folder)
        else:
            beside.folder.replace(target)
            sync_folder(target.parent)
    finally:
        lock.release()
        shutil.rmtree(beside.folder, ignore_errors=True)


def _replace(target: Path, fresh: Path) -> None:
    """Put a folder in another one's place, which is put back if that fails."""
    before = _near(target, "replaced")
    target.replace(before)
    try:
        fresh.replace(target)
    except BaseException:
        before.replace(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(before)


def _near(target: Path, what: str) -> Path:
    """Return a folder of this process beside another one, on the same file system."""
    return target.with_name(f"{target.name}.{os.getpid()}.{what}")


def _write_newest(layout: Layout, generations: SnapshotProvider, beside: Layout) -> None:
    """Write the newest generation, and again where a writer has replaced files meanwhile."""
    missing = ""
    for _ in range(_TRIES):
        shutil.rmtree(beside.folder, ignore_errors=True)
        try:
            with generations.view() as view:
                _write(layout, view, beside)
        except FileNotFoundError as error:
            missing = str(error.filename)
        else:
            return
    raise CorruptIndexError(f"{missing} is missing: restore the index from a copy")


def _write(layout: Layout, view: IndexView, beside: Layout) -> None:
    """Write a generation's files, and HEAD last."""
    for folder in (beside.folder, beside.vectors, beside.segments):
        folder.mkdir()
    view.reader.copy_to(beside.catalog)
    for name in sorted(view.snapshot.files):
        of_segments = layout.segment_file(name).exists()
        source = layout.segment_file(name) if of_segments else layout.vector_file(name)
        shutil.copyfile(source, (beside.segments if of_segments else beside.vectors) / name)
    adapters = stored_adapters(view.snapshot.settings)
    if adapters:
        beside.adapters.mkdir()
    for name in adapters:
        if layout.adapter_file(name).exists():  # a deleted one was given up
            shutil.copyfile(layout.adapter_file(name), beside.adapter_file(name))
    folders = [beside.segments, beside.vectors, *([beside.adapters] if adapters else [])]
    for path in (beside.catalog, *(each for folder in folders for each in folder.iterdir())):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for folder in (*folders, beside.folder):
        sync_folder(folder)
    write_head(beside.head, view.generation)
