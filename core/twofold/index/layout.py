"""The files in an index's folder: their paths, and their creation."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from twofold.errors import CorruptIndexError, ReadOnlyError
from twofold.storage import (
    Catalog,
    IndexSettings,
    Version,
    WriteLock,
    check_local_disk,
    create_head,
    make_folders,
    read_head,
    sync_folder,
)
from twofold.validation import as_path


class Layout:
    """The paths of the files and folders of one index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog = folder / "catalog.sqlite"
        self.head = folder / "HEAD"  # the last committed generation
        self.lock = folder / "LOCK"  # locked by the writer
        self.vectors = folder / "vectors"
        self.segments = folder / "segments"
        self.adapters = folder / "adapters"  # created with the first query adapter

    def adapter_file(self, name: str) -> Path:
        """Return the path of a query adapter; raise CorruptIndexError for what is no file name."""
        odd = {"/", os.sep} & set(name) or any(c < " " or "\ud800" <= c <= "\udfff" for c in name)
        if odd or not name or name.startswith("."):
            raise CorruptIndexError(
                f"{self.folder} is damaged: {name!r} is no name of a query adapter; restore the "
                "index from a copy"
            )
        return self.adapters / f"{name}.adapter"

    def vector_file(self, name: str) -> Path:
        """Return the path of a vector file."""
        return self.vectors / name

    def segment_file(self, name: str) -> Path:
        """Return the path of a segment file."""
        return self.segments / name

    def find_strange_file(self) -> str | None:
        """Return the name of a file in the folder that is not of an index, None if all are."""
        parts = (self.head, self.lock, self.vectors, self.segments, self.adapters)
        names = {path.name for path in parts} | {f"{self.head.name}.tmp", f"{self.lock.name}.lock"}
        return next(
            (
                name
                for name in sorted(os.listdir(self.folder))
                if name not in names and not name.startswith(self.catalog.name)
            ),
            None,
        )

    def check_writable(self) -> None:
        """Raise ReadOnlyError if this user can't write one of the files and folders."""
        parts = (self.folder, self.catalog, self.head, self.lock, self.vectors, self.segments)
        for path in parts:
            if path.exists() and not os.access(path, os.W_OK):
                raise ReadOnlyError(f"{path} can't be written by this user: the index is read-only")

    def delete_files(self, folder: int | None, should_delete: Callable[[str], bool]) -> None:
        """Delete vector and segment files by name.

        Only plain files in the folder itself are deleted, not behind a link.

        Args:
            folder: A handle of the index's folder, None where the system has none.
            should_delete: Returns whether the file of this name is to be deleted.
        """
        if folder is None:
            self._delete_by_path(should_delete)
            return
        for name in (self.vectors.name, self.segments.name):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            try:
                inner = os.open(name, flags, dir_fd=folder)
            except OSError:  # missing, or a link
                continue
            try:
                with os.scandir(inner) as entries:
                    for entry in entries:
                        if should_delete(entry.name) and entry.is_file(follow_symlinks=False):
                            os.unlink(entry.name, dir_fd=inner)
            finally:
                os.close(inner)

    def _delete_by_path(self, should_delete: Callable[[str], bool]) -> None:
        """Delete files as ``delete_files`` does, on a system whose folders have no handles.

        Windows deletes no file that is mapped: a later writer does.
        """
        for folder in (self.vectors, self.segments):
            if folder.is_symlink() or not folder.is_dir():
                continue
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
            for name in filter(should_delete, names):
                with suppress(PermissionError):
                    (folder / name).unlink(missing_ok=True)

    def create(self, settings: IndexSettings) -> None:
        """Create the files of an empty index with these settings."""
        make_folders(self.folder)
        check_local_disk(self.folder)
        lock = WriteLock(self.lock)
        lock.acquire()
        try:
            self.vectors.mkdir(exist_ok=True)
            self.segments.mkdir(exist_ok=True)
            Catalog.create(self.catalog, settings)
            version = self._read_version()
            if version[1] == 0:  # nothing was committed yet, so HEAD holds nothing to lose
                create_head(self.head, version)
            sync_folder(self.folder)
            sync_folder(self.folder.resolve().parent)  # a killed process may have made the folder
        finally:
            lock.release()

    def _read_version(self) -> Version:
        catalog = Catalog(self.catalog, read_only=False)
        try:
            with catalog.read_transaction() as reader:
                return reader.version()
        finally:
            catalog.close()

    def check_head(self, version: Version, head: Version | None) -> None:
        """Raise CorruptIndexError if the catalog's ``version`` lacks a commit that HEAD records."""
        generation = version[1]
        if head is not None and head[0] != version[0]:
            raise CorruptIndexError(
                f"{self.folder} is damaged: its catalog and its HEAD file belong to two indexes; "
                "restore the index from a copy"
            )
        if head is not None and generation < head[1]:
            raise CorruptIndexError(
                f"{self.folder} is damaged: its catalog is at generation {generation}, but "
                f"generation {head[1]} was committed; restore the index from a copy"
            )
        if head is None and generation > 0 and read_head(self.head) is None:
            raise CorruptIndexError(f"{self.folder} has lost its HEAD file: restore it from a copy")


def resolve_folder(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path, which a later change of directory doesn't affect.

    Raises:
        InputError: The path is empty, which would mean the current folder, or it can't be one.
    """
    return as_path("path", path, "a folder, or None for a temporary index").absolute()
