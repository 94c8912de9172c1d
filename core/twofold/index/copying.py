"""Copies one generation of an index while others read and write it."""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, TypeVar

from twofold.errors import CorruptIndexError, InputError
from twofold.index.folder_swap import new_index_folder
from twofold.index.layout import Layout
from twofold.index.saved_records import (
    adapter_records,
    read_adapter_file,
)
from twofold.index.view import IndexView, SnapshotProvider
from twofold.storage import (
    Catalog,
    open_plain,
    real_path,
    storage_errors,
    sync_file,
    sync_folder,
    write_head,
)

_TRIES = 200  # each is short: files are opened before anything is read
_T = TypeVar("_T")


def copy_index(
    layout: Layout, snapshots: SnapshotProvider, target: Path, *, overwrite: bool
) -> None:
    """Copy the newest generation to a new or empty folder, or over another index.

    The copy appears as a whole or not at all.
    """
    if real_path(target) == real_path(layout.folder):
        raise InputError(f"{target} is the index itself: pass another folder to copy it to")
    with storage_errors(target), new_index_folder(target, overwrite=overwrite) as copy:
        read_newest(snapshots, lambda view: _write(layout, view, copy))


def read_newest(snapshots: SnapshotProvider, read: Callable[[IndexView], _T]) -> _T:
    """Call ``read`` with the newest generation, and again if a writer has deleted files of it.

    ``read`` opens all files before it does anything slow.

    Raises:
        CorruptIndexError: A file is missing.
    """
    missing = ""
    for _ in range(_TRIES):
        with snapshots.view() as view:
            try:
                return read(view)
            except FileNotFoundError as error:
                missing = str(error.filename)
    raise CorruptIndexError(f"{missing} is missing: restore the index from a copy")


def _write(layout: Layout, view: IndexView, copy: Layout) -> None:
    """Copy the files of the generation of ``view``, and write HEAD last."""
    with ExitStack() as stack:
        sources: list[tuple[BinaryIO, Path]] = []
        for name in sorted(view.snapshot.files):
            source, target = layout.segment_file(name), copy.segment_file(name)
            if not source.exists():
                source, target = layout.vector_file(name), copy.vector_file(name)
            file = stack.enter_context(os.fdopen(open_plain(source), "rb"))
            sources.append((file, target))
        shutil.rmtree(copy.folder, ignore_errors=True)
        for folder in (copy.folder, copy.vectors, copy.segments):
            folder.mkdir(exist_ok=True)
        for opened, target in sources:
            with target.open("wb") as out:
                shutil.copyfileobj(opened, out)
    view.reader.copy_to(copy.catalog)
    adapters = adapter_records(view.snapshot.settings)
    if adapters:
        copy.adapters.mkdir()
    for name, record in adapters.items():
        if layout.adapter_file(name).exists():  # a user may have deleted it
            data = read_adapter_file(layout, name, record["hash"])
            copy.adapter_file(name).write_bytes(data)
    finish_folder(copy)


def finish_folder(layout: Layout) -> None:
    """Make the files of a new index durable, and write HEAD last."""
    folders = [path for path in (layout.segments, layout.vectors, layout.adapters) if path.is_dir()]
    for path in (layout.catalog, *(path for folder in folders for path in folder.iterdir())):
        with path.open("r+b") as file:  # Windows syncs no file that is open for reading
            sync_file(file.fileno())
    catalog = Catalog(layout.catalog, read_only=True)
    try:
        with catalog.read_transaction() as reader:
            write_head(layout.head, reader.version())
    finally:
        catalog.close()
    for folder in (*folders, layout.folder):
        sync_folder(folder)
