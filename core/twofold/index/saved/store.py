"""Where the settings and query adapters of an index are: in its folder, or on a server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from twofold.index.saved_records import read_adapter_file
from twofold.index.segment_types import LexicalSegmentType
from twofold.index.snapshot import Snapshot
from twofold.index.writing.commit import Change
from twofold.index.writing.writer import IndexWriter
from twofold.storage import (
    IndexSettings,
    VectorSetRecord,
    make_folders,
    storage_errors,
    write_atomic,
)


@dataclass(frozen=True, slots=True)
class SavedChange:
    """A change of what is saved with an index.

    Attributes:
        settings: The new settings.
        written: New query adapters, packed, by name.
        deleted: Names of query adapters to delete.
    """

    settings: IndexSettings
    written: Mapping[str, bytes] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()


SavedUpdate = Callable[[IndexSettings, VectorSetRecord | None], SavedChange]
"""Returns the change of settings, for the vector set that is searched."""


class SettingsStore(Protocol):
    """Stores the settings and the query adapters of an index."""

    def read(self) -> IndexSettings:
        """Return the newest settings."""

    def change(self, update: SavedUpdate) -> None:
        """Make one change of the newest settings, while no other writer changes them."""

    def read_adapter(self, name: str, digest: str) -> bytes:
        """Return a packed query adapter; raise CorruptIndexError if it is missing or differs."""


class FolderStore:
    """The settings and query adapters of an index in a folder."""

    def __init__(self, writer: IndexWriter) -> None:
        self._writer = writer

    def read(self) -> IndexSettings:
        """Return the newest settings."""
        self._writer.check_open()
        with self._writer.snapshots.view() as view:
            return view.snapshot.settings

    def change(self, update: SavedUpdate) -> None:
        """Make one change. Readers see it from their next query on."""
        layout = self._writer.layout
        with self._writer.turn:  # until files are deleted, nobody saves under these names
            with self._writer.transaction() as transaction:
                snapshot = transaction.snapshot
                change = update(snapshot.settings, snapshot.vector_set)
                if change.written:
                    with storage_errors(layout.folder):
                        make_folders(layout.adapters)
                        for name, data in change.written.items():
                            _write_file(layout.adapter_file(name), data)
                transaction.change = _change_settings(snapshot, change.settings)
            if change.deleted:
                with storage_errors(layout.folder):
                    for name in change.deleted:
                        layout.adapter_file(name).unlink(missing_ok=True)

    def read_adapter(self, name: str, digest: str) -> bytes:
        """Return a query adapter's file."""
        return read_adapter_file(self._writer.layout, name, digest)


def _write_file(path: Path, data: bytes) -> None:
    write_atomic(path, lambda file: file.write(data))


def _change_settings(snapshot: Snapshot, settings: IndexSettings) -> Change | None:
    """Return the change of ``snapshot`` to these settings, None if they are equal."""
    if settings == snapshot.settings:
        return None
    lexical = snapshot.segment_types.get("lexical")
    weight = settings.title_weight
    if isinstance(lexical, LexicalSegmentType) and weight != snapshot.settings.title_weight:
        return Change(settings=settings, reanalyzed=replace(lexical, title_weight=weight))
    return Change(settings=settings)
