"""The files in an index's folder: their paths, and their creation."""

import os
from pathlib import Path

from twofold.errors import CorruptIndexError, InputError
from twofold.storage import (
    Catalog,
    IndexSettings,
    WriteLock,
    check_local_disk,
    read_head,
    sync_folder,
    write_head,
)


class Layout:
    """The paths of one index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog = folder / "catalog.sqlite"
        self.head = folder / "HEAD"  # the last committed generation
        self.lock = folder / "LOCK"  # locked by the writer
        self.vectors = folder / "vectors"
        self.segments = folder / "segments"
        self.adapters = folder / "adapters"  # created with the first query adapter

    def adapter_file(self, name: str) -> Path:
        """Return the path of a query adapter."""
        return self.adapters / f"{name}.adapter"

    def vector_file(self, name: str) -> Path:
        """Return the path of a vector file."""
        return self.vectors / name

    def segment_file(self, name: str) -> Path:
        """Return the path of a segment file."""
        return self.segments / name

    def list_unused(self, used: set[str]) -> list[Path]:
        """Return the vector and segment files whose names are not in ``used``."""
        paths = [*sorted(self.vectors.iterdir()), *sorted(self.segments.iterdir())]
        return [path for path in paths if path.name not in used]

    def create(self, settings: IndexSettings) -> None:
        """Create the files of an empty index with these settings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        check_local_disk(self.folder)
        lock = WriteLock(self.lock)
        lock.acquire()
        try:
            self.vectors.mkdir(exist_ok=True)
            self.segments.mkdir(exist_ok=True)
            Catalog.create(self.catalog, settings)
            if read_head(self.head) < 0 and self._read_generation() == 0:
                write_head(self.head, 0)
            sync_folder(self.folder)
            sync_folder(self.folder.resolve().parent)
        finally:
            lock.release()

    def _read_generation(self) -> int:
        catalog = Catalog(self.catalog, read_only=False)
        try:
            with catalog.read_transaction() as reader:
                return reader.generation()
        finally:
            catalog.close()

    def check_head(self, generation: int, head: int) -> None:
        """Raise CorruptIndexError if the catalog lacks a commit that HEAD records."""
        if generation < head:
            raise CorruptIndexError(
                f"{self.folder} is damaged: its catalog is at generation {generation}, but "
                f"generation {head} was committed; restore the index from a copy"
            )
        if head < 0 and generation > 0 and read_head(self.head) < 0:
            raise CorruptIndexError(f"{self.folder} has lost its HEAD file: restore it from a copy")


def resolve_folder(path: str | os.PathLike[str] | None) -> Path:
    """Return an absolute path, which a later change of directory doesn't affect.

    Raises:
        InputError: The path is empty, which would mean the current folder.
    """
    name = os.fspath(path) if path is not None else ""
    if not name:
        raise InputError("path is empty: pass a folder, or None for a temporary index")
    return Path(name).absolute()
