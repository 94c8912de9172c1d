"""Backup archives: tar files to which backups are appended, each part with its checksum.

Every backup ends with a manifest, which names the parts of all its files. What a killed process
has appended after the last manifest is ignored, and overwritten by the next backup. Any tar
program can list and extract an archive.
"""

import json
import os
import re
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
_MEMBER = re.compile(r"[0-9]{6,}/")
_MAX_NUMBER = 1 << 62
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
        state: The checksum of the index's identity and counters.
        passages: How many passages it holds.
        vectors: How many vectors it holds.
        files: The parts of each file, by its path in the index's folder.
    """

    number: int
    created: str
    identity: str
    generation: int
    state: int
    passages: int
    vectors: int
    files: Mapping[str, Sequence[Part]]

    @property
    def all_parts(self) -> list[Part]:
        """The parts of all files."""
        return [part for parts in self.files.values() for part in parts]

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
    parts = manifest.all_parts
    numbers = [manifest.number, manifest.generation, manifest.passages, manifest.vectors]
    numbers += [part.size for part in parts]
    texts = [manifest.created, manifest.identity, *(part.member for part in parts)]
    texts += [part.hash for part in parts]
    if not all(is_integer(value) and 0 <= value < _MAX_NUMBER for value in numbers):
        raise TypeError("a number is missing")
    if not is_integer(manifest.state) or not all(isinstance(value, str) for value in texts):
        raise TypeError("a text is missing")
    members = [part.member for part in parts]
    if len(set(members)) < len(members):
        raise ValueError("a part belongs to two files")
    if not all(manifest.files.values()):
        raise ValueError("a file has no parts")


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
        is_damaged: Whether something before the last complete backup has changed.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.manifests: list[Manifest] = []
        self.is_damaged = False
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
        """Append a backup after the last complete one; after an error, remove what was added.

        Raises CorruptIndexError for a damaged archive.
        """
        if self.is_damaged:
            raise CorruptIndexError(
                f"{self.path} is damaged: pass the path of a new archive (backups in this one may "
                "still be restored)"
            )
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
        end = self._file.tell()
        self._file.write(_MARK)
        self._sync()
        self._end = end  # an interrupt from here on removes nothing
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

    def find_problem(self, part: Part) -> str | None:
        """Read a part, and return what is wrong with it; None if nothing is."""
        try:
            for _ in self.read_file([part]):
                pass
        except CorruptIndexError as error:
            return str(error)
        return None

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
        block = header.tobuf(tarfile.GNU_FORMAT)  # has no limit of size
        assert len(block) == _BLOCK, name  # a longer name would need a member of its own
        self._file.write(block)
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
        """Read the headers of all members; raise InputError for another file.

        Damage is told from the remains of a killed backup by a complete backup that follows.
        """
        total = self._file.seek(0, os.SEEK_END)
        position, is_whole = 0, True
        pending: dict[str, tuple[int, int]] = {}
        while position + _BLOCK <= total:
            header = self._read_header(position, total)
            if header is None:
                position, is_whole = position + _BLOCK, False
                continue
            start = position + _BLOCK
            pending[header.name] = start, header.size
            position = start + header.size + -header.size % _BLOCK
            manifest = self._read_manifest(header, start)
            if manifest is None:
                is_whole = is_whole and not header.name.endswith(f"/{_MANIFEST}")
                continue
            self.is_damaged = self.is_damaged or not is_whole
            self._members |= pending
            self.manifests.append(manifest)
            self._end, is_whole, pending = position, True, {}  # a kill may have left no padding
        if self._members or _TITLE in pending:
            return
        self._file.seek(0)
        title = _title_member()
        begun = self._file.read(len(title))
        # After a loss of power, a first backup may have left a part of its title, or zeros.
        is_part = all(byte in (0, whole) for byte, whole in zip(begun, title, strict=False))
        if total > len(title) or not is_part:
            raise InputError(f"{self.path} is not an archive of backups: pass another path")

    def _read_header(self, position: int, total: int) -> tarfile.TarInfo | None:
        """Return the header of a member at a position, None if there is none."""
        self._file.seek(position)
        try:
            header = tarfile.TarInfo.frombuf(self._file.read(_BLOCK), "utf-8", "strict")
        except (tarfile.HeaderError, ValueError):
            return None
        named = header.name == _TITLE if position == 0 else _MEMBER.match(header.name)
        if not header.isreg() or not named or not 0 <= header.size <= total - position - _BLOCK:
            return None
        return header

    def _read_manifest(self, header: tarfile.TarInfo, start: int) -> Manifest | None:
        """Return the manifest in a member, None if it is another member or damaged."""
        if not header.name.endswith(f"/{_MANIFEST}"):
            return None
        self._file.seek(start)
        manifest = Manifest.from_bytes(self._file.read(header.size))
        before = self.manifests[-1].number if self.manifests else 0
        if manifest is None or header.name != f"{manifest.number:06d}/{_MANIFEST}":
            return None
        if manifest.number != before + 1:
            self.is_damaged = True
        return manifest if manifest.number > before else None
