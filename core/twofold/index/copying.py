"""Copies one generation of an index while others read and write it."""

import os
import shutil
from pathlib import Path

from twofold.errors import CorruptIndexError, InputError
from twofold.index.layout import Layout
from twofold.index.saved_records import adapter_records
from twofold.index.view import IndexView, SnapshotProvider
from twofold.storage import (
    Catalog,
    WriteLock,
    check_local_disk,
    exchange_paths,
    make_folders,
    sync_file,
    sync_folder,
    write_head,
)

_TRIES = 20


def copy_index(
    layout: Layout, snapshots: SnapshotProvider, target: Path, *, overwrite: bool
) -> None:
    """Copy the newest generation to a new or empty folder, or over another index.

    The copy appears as a whole or not at all. An index that is overwritten is moved away first,
    and deleted at the end.
    """
    if target.resolve() == layout.folder.resolve():
        raise InputError(f"{target} is the index itself: pass another folder to copy it to")
    exists = target.exists() and (not target.is_dir() or bool(os.listdir(target)))
    if exists and not (overwrite and Layout(target).catalog.is_file()):
        problem = "not an index" if overwrite else "not empty"
        raise InputError(f"{target} is {problem}: pass the path of a new or empty folder")
    make_folders(target.parent)
    check_local_disk(target.parent)
    copy, lock = Layout(_sibling(target, "copying")), WriteLock(Layout(target).lock)
    try:
        if exists:
            lock.acquire()  # held until the other index is moved away
        _write_newest(layout, snapshots, copy)
        if exists:
            _replace(target, copy.folder)
        else:
            copy.folder.replace(target)
            sync_folder(target.parent)
    finally:
        lock.release()
        shutil.rmtree(copy.folder, ignore_errors=True)


def _replace(target: Path, new: Path) -> None:
    """Replace a folder by another one, in one step where the system can."""
    if exchange_paths(target, new):
        sync_folder(target.parent)
        return
    old = _sibling(target, "replaced")
    target.replace(old)
    try:
        new.replace(target)
    except BaseException:
        old.replace(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(old)


def _sibling(target: Path, suffix: str) -> Path:
    """Return the path of a temporary folder next to ``target``."""
    return target.with_name(f"{target.name}.{os.getpid()}.{suffix}")


def _write_newest(layout: Layout, snapshots: SnapshotProvider, copy: Layout) -> None:
    """Copy the newest generation; start again if a writer deletes its files meanwhile."""
    missing = ""
    for _ in range(_TRIES):
        shutil.rmtree(copy.folder, ignore_errors=True)
        try:
            with snapshots.view() as view:
                _write(layout, view, copy)
        except FileNotFoundError as error:
            missing = str(error.filename)
        else:
            return
    raise CorruptIndexError(f"{missing} is missing: restore the index from a copy")


def _write(layout: Layout, view: IndexView, copy: Layout) -> None:
    """Copy the files of the generation of ``view``, and write HEAD last."""
    for folder in (copy.folder, copy.vectors, copy.segments):
        folder.mkdir()
    view.reader.copy_to(copy.catalog)
    for name in sorted(view.snapshot.files):
        source, target = layout.segment_file(name), copy.segment_file(name)
        if not source.exists():
            source, target = layout.vector_file(name), copy.vector_file(name)
        shutil.copyfile(source, target)
    adapters = adapter_records(view.snapshot.settings)
    if adapters:
        copy.adapters.mkdir()
    for name in adapters:
        if layout.adapter_file(name).exists():  # a user may have deleted it
            shutil.copyfile(layout.adapter_file(name), copy.adapter_file(name))
    folders = [copy.segments, copy.vectors, *([copy.adapters] if adapters else [])]
    for path in (copy.catalog, *(path for folder in folders for path in folder.iterdir())):
        with path.open("r+b") as file:  # Windows syncs no file that is open for reading
            sync_file(file.fileno())
    with Catalog(copy.catalog, read_only=True).read_transaction() as reader:
        write_head(copy.head, reader.version())
    for folder in (*folders, copy.folder):
        sync_folder(folder)
