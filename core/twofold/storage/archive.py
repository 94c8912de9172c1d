"""Backup archives: tar files to which backups are appended, each part with its checksum.

Every backup ends with a manifest, which names the parts of all its files. What a killed process
has appended after the last manifest is ignored, and overwritten by the next backup. Any tar
program can list and extract an archive.
"""

import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from twofold.errors import CorruptIndexError, InputError, UnsupportedStorageError
from twofold.storage.files import content_hash, sync_file
from twofold.validation import is_integer

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20  # bytes read at a time
_MARK = bytes(2 * _BLOCK)
"""Ends a tar file."""
_TITLE = "twofold-backups"
"""Name of the first member, which tells archives from other tar files."""
_ABOUT = (
    b"Backups of a twofold index. 'twofold restore' writes one to a folder.\n"
    b"Each numbered folder holds the files that its backup added; manifest.json names all parts.\n"
)
_MANIFEST = "manifest.json"
ARCHIVE_FORMAT = 1
"""Number of the archive format. Raise it when manifests change their meaning."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a file: a member of the archive, its size in bytes and its hash as hex digits."""

    member: str
    size: int
    hash: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One backup in an archive.

    Attributes:
        number: Its number in the archive, from 1.
        created: When it was made, in ISO 8601 and UTC.
        identity: The identity of the index.
        generation: The generation of the index.
        passages: How many passages it holds.
        vectors: How many vectors it holds.
        files: The parts of each file, by its path in the index's folder.
    """

    number: int
    created: str
    identity: str
    generation: int
    passages: int
    vectors: int
    files: Mapping[str, Sequence[Part]]

    def to_bytes(self) -> bytes:
        """Return the manifest as a member's bytes: a hash on the first line, then JSON."""
        values = {"format": ARCHIVE_FORMAT, **asdict(self)}
        text = json.dumps(values, indent=1).encode()
        return content_hash(text).hex().encode() + b"\n" + text

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest | None":
        """Return the manifest that ``to_bytes`` wrote; None if it isn't whole.

        Raises:
            UnsupportedStorageError: It is of a later format.
            CorruptIndexError: Its values are not those of a manifest.
        """
        digest, _, text = data.partition(b"\n")
        if content_hash(text).hex().encode() != digest:
            return None
        try:
            values = json.loads(text)
            number = values.pop("format")
            if is_integer(number) and number > ARCHIVE_FORMAT:
                raise UnsupportedStorageError(
                    f"the archive has format {number}, but this version of twofold reads format "
                    f"{ARCHIVE_FORMAT}: upgrade twofold"
                )
            files = {
                path: tuple(Part(**part) for part in parts)
                for path, parts in values.pop("files").items()
            }
            manifest = cls(**values, files=files)
            _check_types(manifest)
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
            raise CorruptIndexError(f"a manifest of the archive is not valid: {error}") from error
        return manifest


def _check_types(manifest: Manifest) -> None:
    """Raise TypeError if a value has another type than it should."""
    parts = [part for parts in manifest.files.values() for part in parts]
    numbers = [manifest.number, manifest.generation, manifest.passages, manifest.vectors]
    numbers += [part.size for part in parts]
    texts = [manifest.created, manifest.identity, *(part.member for part in parts)]
    texts += [part.hash for part in parts]
    if not all(is_integer(value) and value >= 0 for value in numbers):
        raise TypeError("a number is missing")
    if not all(isinstance(value, str) for value in texts):
        raise TypeError("a text is missing")


def _title_member() -> bytes:
    """Return the first member of an archive, which says what it is."""
    header = tarfile.TarInfo(_TITLE)
    header.size = len(_ABOUT)
    return header.tobuf(tarfile.GNU_FORMAT) + _ABOUT + bytes(-len(_ABOUT) % _BLOCK)


class BackupArchive:
    """The backups in one archive file.

    Attributes:
        path: The archive.
        manifests: Its complete backups, oldest first.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.manifests: list[Manifest] = []
        self._file = file
        self._members: dict[str, tuple[int, int]] = {}  # offset and size
        self._end = 0  # of the last manifest
        self._scan()

    @property
    def next_number(self) -> int:
        """The number of the next backup."""
        return self.manifests[-1].number + 1 if self.manifests else 1

    @contextmanager
    def appending(self) -> Iterator[None]:
        """Append a backup after the last complete one; after an error, remove what was added."""
        self._file.seek(self._end)
        self._file.truncate()
        if self._end == 0:
            self._file.write(_title_member())
            self._sync()  # so that no later byte is durable without it
        try:
            yield
        except BaseException:
            with suppress(OSError):
                self._file.seek(self._end)
                self._file.truncate()
                self._file.write(_MARK if self._end else b"")
                self._file.flush()
            raise

    def add_part(self, path: str, size: int, chunks: Iterator[bytes]) -> Part:
        """Append ``size`` bytes of the file ``path`` for the next backup."""
        member = f"{self.next_number:06d}/{path}"
        digest = self._append(member, size, chunks)
        return Part(member, size, digest)

    def finish(self, manifest: Manifest) -> None:
        """Append the manifest, after the parts were synced, and make the backup durable."""
        self._sync()
        data = manifest.to_bytes()
        self._append(f"{manifest.number:06d}/{_MANIFEST}", len(data), [data])
        self._file.write(_MARK)
        self._sync()
        self.manifests.append(manifest)

    def read_file(self, parts: Sequence[Part]) -> Iterator[bytes]:
        """Yield the bytes of a file; raise CorruptIndexError if they are not those written."""
        for part in parts:
            offset, size = self._members.get(part.member, (0, -1))
            if size != part.size:
                raise CorruptIndexError(f"{self.path} is damaged: it has lost {part.member!r}")
            digest = xxhash.xxh3_128()
            self._file.seek(offset)
            while size:
                chunk = self._file.read(min(size, _CHUNK))
                if not chunk:
                    break
                digest.update(chunk)
                size -= len(chunk)
                yield chunk
            if size or digest.hexdigest() != part.hash:
                raise CorruptIndexError(
                    f"{self.path} is damaged: {part.member!r} is not what was written"
                )

    def find_manifest(self, number: int | None) -> Manifest:
        """Return a backup by its number, None for the newest; raise InputError if it is missing."""
        if not self.manifests:
            raise InputError(f"{self.path} holds no complete backup")
        numbers = [manifest.number for manifest in self.manifests]
        if number is None:
            number = numbers[-1]
        if number not in numbers:
            raise InputError(
                f"{self.path} has the backups {numbers[0]} to {numbers[-1]}, got number {number}"
            )
        return self.manifests[numbers.index(number)]

    def _sync(self) -> None:
        self._file.flush()
        sync_file(self._file.fileno())

    def _append(self, name: str, size: int, chunks: Any) -> str:
        """Append a member of ``size`` bytes; return its hash."""
        header = tarfile.TarInfo(name)
        header.size = size
        self._file.write(header.tobuf(tarfile.GNU_FORMAT))  # has no limit of size
        digest, written = xxhash.xxh3_128(), 0
        for chunk in chunks:
            digest.update(chunk)
            written += len(chunk)
            self._file.write(chunk)
        if written != size:
            raise CorruptIndexError(f"{name} has {written:,} bytes, not {size:,}")
        self._file.write(bytes(-size % _BLOCK))
        return digest.hexdigest()

    def _scan(self) -> None:
        """Read the headers up to the last complete backup; raise InputError for another file."""
        total = self._file.seek(0, os.SEEK_END)
        position, numbers = 0, 0
        pending: dict[str, tuple[int, int]] = {}
        while position + _BLOCK <= total:
            self._file.seek(position)
            try:
                header = tarfile.TarInfo.frombuf(self._file.read(_BLOCK), "utf-8", "strict")
            except (tarfile.HeaderError, ValueError):
                break
            start, end = position + _BLOCK, position + _BLOCK + header.size
            if not header.isreg() or header.size < 0 or end > total:
                break
            if position == 0 and header.name != _TITLE:
                break
            pending[header.name] = start, header.size
            position = end + -header.size % _BLOCK
            if header.name != f"{numbers + 1:06d}/{_MANIFEST}":
                continue
            self._file.seek(start)
            manifest = Manifest.from_bytes(self._file.read(header.size))
            if manifest is None or manifest.number != numbers + 1:
                break
            numbers += 1
            self._members |= pending
            self.manifests.append(manifest)
            self._end = min(position, total)
            pending = {}
        if self._members or _TITLE in pending:
            return
        self._file.seek(0)
        title = _title_member()
        begin = self._file.read(len(title))
        # After a loss of power, a first backup may have left a part of its title, or zeros.
        is_part = all(byte in (0, whole) for byte, whole in zip(begin, title, strict=False))
        if total > len(title) or not is_part:
            raise InputError(f"{self.path} is not an archive of backups: pass another path")
