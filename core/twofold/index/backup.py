"""Backups: generations of an index in one archive, to which each adds the files that are new."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

import xxhash

from twofold.errors import CorruptIndexError, IndexLockedError, InputError
from twofold.index.copying import finish_folder, read_newest
from twofold.index.encoder_binding import canary_dim
from twofold.index.folder_swap import new_index_folder, new_working_path, remove_leftovers
from twofold.index.layout import Layout
from twofold.index.saved_records import adapter_records
from twofold.index.snapshot import Snapshot
from twofold.index.verification import find_passage_problems
from twofold.index.view import IndexView, SnapshotProvider
from twofold.storage import (
    HAS_FOLDER_HANDLES,
    BackupArchive,
    BlockRecord,
    Catalog,
    Manifest,
    Part,
    WriteLock,
    field_values,
    is_file_name,
    make_folders,
    open_plain,
    real_path,
    row_checksum,
    storage_errors,
    sync_folder,
)
from twofold.validation import as_path

_CHUNK = 1 << 20  # bytes read at a time


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup in an archive.

    Attributes:
        number: Its number in the archive, from 1.
        created: When it was made, in ISO 8601 and UTC.
        generation: The generation of the index.
        passages: How many passages it holds.
        vectors: How many vectors it holds.
        size: Bytes that it needs when restored.
        added: Bytes that it added to the archive.
    """

    number: int
    created: str
    generation: int
    passages: int
    vectors: int
    size: int
    added: int

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> "Backup":
        """Return the description of a manifest."""
        parts = manifest.all_parts
        added = [part for part in parts if part.member.startswith(f"{manifest.number:06d}/")]
        return cls(
            manifest.number,
            manifest.created,
            manifest.generation,
            manifest.passages,
            manifest.vectors,
            sum(part.size for part in parts),
            sum(part.size for part in added),
        )


@dataclass(frozen=True, slots=True)
class _Source:
    """The bytes of a file from ``start`` to ``size``, which are not in the archive yet.

    ``hashes`` are those of pieces (start, stop) of the file, to verify what is read.
    """

    path: str
    file: BinaryIO
    start: int
    size: int
    hashes: tuple[tuple[int, int, bytes], ...] = ()

    def begins_with(self, parts: Sequence[Part]) -> bool:
        """Return whether the file begins with the bytes of these parts."""
        start = 0
        for part in parts:
            digest = xxhash.xxh3_128()
            for chunk in self._read(start, min(start + part.size, self.size)):
                digest.update(chunk)
            if digest.hexdigest() != part.hash:
                return False
            start += part.size
        return True

    def verify(self) -> None:
        """Raise CorruptIndexError if a piece that is new has changed since it was written."""
        for start, stop, written in self.hashes:
            if stop <= self.start:
                continue
            digest = xxhash.xxh3_128()
            for chunk in self._read(start, stop):
                digest.update(chunk)
            if digest.digest() != written:
                raise CorruptIndexError(
                    f"{self.path} is not what was written: restore the index from an older backup, "
                    "or repair it"
                )

    def read(self) -> Iterator[bytes]:
        """Yield the bytes."""
        return self._read(self.start, self.size)

    def _read(self, start: int, stop: int) -> Iterator[bytes]:
        self.file.seek(start)
        while start < stop and (chunk := self.file.read(min(stop - start, _CHUNK))):
            start += len(chunk)
            yield chunk


def back_up(layout: Layout, snapshots: SnapshotProvider, archive: Path) -> Backup:
    """Add the newest generation to an archive, which is created if missing.

    Raises:
        InputError: The file is no archive, or holds backups of another index.
        IndexLockedError: Another backup is being written to the archive.
        CorruptIndexError: A file of the index is missing or damaged; nothing was added.
        StorageError: The system can't read or write a file.
    """
    archive = real_path(archive)
    if archive.is_relative_to(real_path(layout.folder)):
        raise InputError(f"{archive} is in the index's own folder: pass a path outside of it")
    with storage_errors(archive), _open_for_writing(archive) as opened, ExitStack() as stack:
        remove_leftovers(archive)
        working = new_working_path(archive)
        working.mkdir()
        stack.callback(shutil.rmtree, working, ignore_errors=True)
        catalog = working / layout.catalog.name
        manifest, sources = read_newest(
            snapshots, lambda view: _open_files(layout, view, opened, catalog, stack)
        )
        for source in sources:
            source.verify()
        with opened.appending():
            files = {path: list(parts) for path, parts in manifest.files.items()}
            for at, source in enumerate(sources):
                is_adapter = source.path.startswith(f"{layout.adapters.name}/")  # has any name
                label = f"{layout.adapters.name}/{at}" if is_adapter else source.path
                part = opened.add_part(label, source.size - source.start, source.read())
                files.setdefault(source.path, []).append(part)
            complete = replace(manifest, files=files)
            opened.finish(complete)
    return Backup.from_manifest(complete)


def list_backups(archive: str | os.PathLike[str]) -> list[Backup]:
    """Return the complete backups in an archive, oldest first.

    Raises:
        InputError: There is no such file, or it is no archive of backups.
    """
    with _open_for_reading(as_path("archive", archive)) as opened:
        return [Backup.from_manifest(manifest) for manifest in opened.manifests]


def verify_backups(archive: str | os.PathLike[str]) -> list[str]:
    """Read all backups in an archive, and describe what is damaged.

    Raises:
        InputError: There is no such file, or it is no archive of backups.
    """
    problems: list[str] = []
    with _open_for_reading(as_path("archive", archive)) as opened:
        if opened.is_damaged:
            problems.append(f"{archive} has changed between two complete backups")
        parts = {part for manifest in opened.manifests for part in manifest.all_parts}
        for part in sorted(parts, key=lambda part: part.member):
            problem = opened.find_problem(part)
            if problem is not None:
                users = [made.number for made in opened.manifests if part in made.all_parts]
                problems.append(f"{problem} (of the backups {users[0]} to {users[-1]})")
    return problems


def restore_backup(archive: Path, target: Path, *, number: int | None, overwrite: bool) -> None:
    """Write a backup to a new or empty folder, or over another index.

    Raises:
        InputError: There is no such backup, or the target holds something else.
        CorruptIndexError: The archive is damaged; the target is as it was.
    """
    with _open_for_reading(archive) as opened:
        manifest = opened.find_manifest(number)
        with new_index_folder(target, overwrite=overwrite) as layout:
            paths = {_target_path(layout, path): parts for path, parts in manifest.files.items()}
            if layout.catalog not in paths:
                raise CorruptIndexError(
                    f"{archive} is damaged: backup {manifest.number} names no catalog"
                )
            with storage_errors(target):
                for folder in (layout.vectors, layout.segments):
                    folder.mkdir()
                for path, parts in paths.items():
                    path.parent.mkdir(exist_ok=True)
                    with path.open("xb") as file:
                        for chunk in opened.read_file(parts):
                            file.write(chunk)
                Catalog.renew_identity(layout.catalog)
                finish_folder(layout)


@contextmanager
def _open_for_reading(archive: Path) -> Iterator[BackupArchive]:
    with storage_errors(archive):
        if not archive.is_file():
            raise InputError(f"there is no archive of backups at {archive}")
        with archive.open("rb") as file:
            yield BackupArchive(archive, file)


@contextmanager
def _open_for_writing(archive: Path) -> Iterator[BackupArchive]:
    """Open an archive to append to it, and lock it; create it if it is missing."""
    if archive.exists() and not archive.is_file():
        raise InputError(f"{archive} is not a file: pass the path of an archive of backups")
    make_folders(archive.parent)
    # The lock of other systems than POSIX empties and deletes the file that it locks.
    locked = archive if HAS_FOLDER_HANDLES else archive.with_name(f"{archive.name}.lock")
    lock = WriteLock(locked)
    try:
        lock.acquire()
    except IndexLockedError:
        raise IndexLockedError(f"another backup is being written to {archive}") from None
    is_new, opened = False, None
    try:
        archive.touch()
        is_new = archive.stat().st_size == 0
        with archive.open("r+b") as file:
            if not lock.is_current():
                raise IndexLockedError(f"another file replaced {archive}: repeat the backup")
            if is_new:
                sync_folder(archive.parent)
            opened = BackupArchive(archive, file)
            yield opened
    except BaseException:
        has_backup = opened is not None and bool(opened.manifests)
        if is_new and not has_backup and lock.is_current():
            archive.unlink(missing_ok=True)
        raise
    finally:
        lock.release()


def _open_files(
    layout: Layout, view: IndexView, archive: BackupArchive, catalog: Path, stack: ExitStack
) -> tuple[Manifest, list[_Source]]:
    """Open the files of a generation, and write its catalog to ``catalog``.

    The manifest names the parts that are in the archive already.
    """
    snapshot = view.snapshot
    contents = [
        *_segment_contents(layout, snapshot),
        *_vector_contents(layout, snapshot),
        *_adapter_contents(layout, snapshot),
    ]
    with ExitStack() as opened:
        files = [opened.enter_context(os.fdopen(open_plain(path), "rb")) for path, _, _ in contents]
        stack.push(opened.pop_all())
    last = archive.manifests[-1] if archive.manifests else None
    if last is not None and last.identity != snapshot.state.identity:
        raise InputError(
            f"{archive.path} holds backups of another index (a copy and a restored index count as "
            "others): pass the path of a new archive"
        )
    known: dict[str, list[Part]] = {}
    sources: list[_Source] = []
    checksum = row_checksum(*field_values(snapshot.state))
    if last is not None and last.state == checksum and layout.catalog.name in last.files:
        known[layout.catalog.name] = list(last.files[layout.catalog.name])
    else:
        problems = find_passage_problems(view.reader, snapshot)
        if problems:
            raise CorruptIndexError(f"{problems[0]}; Index.repair saves what is intact")
        view.reader.copy_to(catalog)
        file = stack.enter_context(catalog.open("rb"))
        sources.append(_Source(layout.catalog.name, file, 0, catalog.stat().st_size))
    for (path, size, hashes), file in zip(contents, files, strict=True):
        name = path.relative_to(layout.folder).as_posix()
        parts = list(last.files.get(name, ())) if last is not None else []
        grows = path.parent == layout.vectors  # other files are written once
        if not grows and [part.hash for part in parts] != [hashes[0][2].hex()]:
            parts = []
        if parts and not grows:
            known[name] = parts
            continue
        source = _Source(name, file, 0, size, hashes)
        # A folder that was rolled back, or copied by another tool, may have other vectors there.
        parts = parts if source.begins_with(parts) else []
        known[name] = parts
        stored = sum(part.size for part in parts)
        if stored < size:
            sources.append(replace(source, start=stored))
    state, now = snapshot.state, datetime.now(timezone.utc)
    vectors = snapshot.dense.vector_count if snapshot.dense is not None else 0
    manifest = Manifest(
        archive.next_number,
        now.isoformat(timespec="seconds"),
        state.identity,
        state.generation,
        checksum,
        state.passages,
        vectors,
        known,
    )
    return manifest, sources


_Content = tuple[Path, int, tuple[tuple[int, int, bytes], ...]]
"""A file, its size and the hashes of its pieces."""


def _segment_contents(layout: Layout, snapshot: Snapshot) -> Iterator[_Content]:
    records = [segment.record for segment in snapshot.segments.values()]
    records += snapshot.dense.structures if snapshot.dense is not None else ()
    for record in records:
        if record.file is not None:
            path = layout.segment_file(record.file)
            yield path, record.size, ((0, record.size, record.hash),)


def _vector_contents(layout: Layout, snapshot: Snapshot) -> Iterator[_Content]:
    sets: list[tuple[list[BlockRecord], int]] = []
    if snapshot.dense is not None:
        sets.append((list(snapshot.dense.blocks.values()), snapshot.dense.dim))
    if snapshot.pending is not None:
        sets.append((list(snapshot.pending.blocks), canary_dim(snapshot.pending.record)))
    for blocks, dim in sets:
        files: dict[str, list[BlockRecord]] = {}
        for block in blocks:
            files.setdefault(block.file, []).append(block)
        for name, members in files.items():
            pieces = tuple(
                (block.first * dim * 4, (block.first + block.count) * dim * 4, block.hash)
                for block in members
            )
            yield layout.vector_file(name), max(stop for _, stop, _ in pieces), pieces


def _adapter_contents(layout: Layout, snapshot: Snapshot) -> Iterator[_Content]:
    for name, record in adapter_records(snapshot.settings).items():
        path = layout.adapter_file(name)
        if path.exists():  # a user may have deleted it
            size = path.stat().st_size
            yield path, size, ((0, size, bytes.fromhex(record["hash"])),)


def _target_path(layout: Layout, path: str) -> Path:
    """Return where a file of a backup is written; raise CorruptIndexError for other places."""
    folder, _, name = path.rpartition("/")
    if path == layout.catalog.name:
        return layout.catalog
    if folder == layout.adapters.name and name.endswith(".adapter"):
        return layout.adapter_file(name.removesuffix(".adapter"))
    if folder in (layout.vectors.name, layout.segments.name) and is_file_name(name):
        return layout.folder / folder / name
    raise CorruptIndexError(f"the archive is damaged: {path!r} is no file of an index")
