"""Durable files: atomic writes, containers of arrays, vector files and the HEAD file."""

import ctypes
import json
import mmap
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash
from numpy.typing import NDArray

from twofold.errors import CorruptIndexError, StorageError, TwofoldError, UnsupportedStorageError
from twofold.types import Vectors

_NETWORK_FILESYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "9p"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone"),
}
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # constants of Linux
_MAGIC = b"2FOLDARR"
_ALIGNMENT = 64
_MALFORMED: tuple[type[Exception], ...] = (ValueError, TypeError, LookupError, AttributeError)
_MALFORMED += (ArithmeticError, RecursionError)
"""The exceptions of decoding bytes that another program made."""
_DTYPE = re.compile("[<|][biuf][1248]")
_SLOT = 4096  # bytes from one slot of HEAD to the next, so that a torn write spares the other
_HEAD_RECORD = 32  # bytes: generation, identity and the hash of both
HAS_FOLDER_HANDLES = hasattr(os, "O_DIRECTORY")
"""Whether folders can be opened, and files in them by a handle of the folder; not on Windows."""
# Without waiting, and on Windows without a change of line breaks.
_PLAIN_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
Version = tuple[str, int]
"""An index's identity and its generation, which together identify a state of its folder."""


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Raise StorageError instead of an OSError of the system, such as a full disk."""
    try:
        yield
    except TwofoldError:
        raise
    except OSError as error:
        raise StorageError(f"the index at {folder} can't be read or written: {error}") from error


def real_path(path: Path) -> Path:
    """Return an absolute path without links; one with a circle of links stays as it is."""
    return Path(os.path.realpath(path))


def content_hash(data: Any) -> bytes:
    """Return the 128-bit xxh3 hash of a buffer."""
    return xxhash.xxh3_128_digest(data)


def sync_file(handle: int) -> None:
    """Make what was written to an open file durable, beyond the caches of the disk.

    On macOS, fsync leaves data in the disk's cache, and a command of fcntl flushes that as well.
    """
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
        except OSError:  # the file system doesn't know the command
            os.fsync(handle)
    else:
        os.fsync(handle)


def open_plain(path: str | Path, flags: int = os.O_RDONLY, *, folder: int | None = None) -> int:
    """Open a plain file; raise CorruptIndexError for a pipe, a folder, a socket or a device.

    Opening a pipe would wait for its other end, perhaps forever.

    Args:
        path: The file; its name alone if ``folder`` is passed.
        flags: Flags of ``os.open``. With ``os.O_CREAT``, a missing file is created.
        folder: A handle of the file's folder.
    """
    try:
        mode = os.stat(path, dir_fd=folder).st_mode  # pathlib takes no handle
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISREG(mode):
        handle = os.open(path, flags | _PLAIN_FLAGS, 0o644, dir_fd=folder)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
    raise not_plain_error(path)


def not_plain_error(path: str | Path) -> CorruptIndexError:
    """Return the error for a path where a plain file should be."""
    return CorruptIndexError(
        f"{path} is a pipe, a folder, a socket or a device, and must be a plain file: restore the "
        "index from a copy"
    )


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file through a temporary one, so that a crash leaves the old file or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        write(file)
        file.flush()
        sync_file(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def exchange_paths(first: Path, second: Path) -> bool:
    """Exchange two files or folders in one step; return False where the system can't."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    paths = (os.fsencode(first), os.fsencode(second))
    return bool(rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)


def sync_folder(folder: Path) -> None:
    """Make file names that were created, renamed or removed in a folder durable.

    Windows can't open a folder, and writes its journal of names by itself.
    """
    if not HAS_FOLDER_HANDLES:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        sync_file(handle)
    finally:
        os.close(handle)


def make_folders(folder: Path) -> None:
    """Create a folder and the missing ones above it, durably."""
    missing: list[Path] = []
    path = folder
    while not path.exists():
        missing.append(path)
        path = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        sync_folder(path.parent)


def map_file(path: Path, size: int) -> Any:
    """Memory-map the first ``size`` bytes of a file.

    Raises:
        ValueError: The file is shorter.
        CorruptIndexError: It is not a plain file.
    """
    if size == 0:
        return b""
    handle = open_plain(path)
    try:
        return mmap.mmap(handle, size, access=mmap.ACCESS_READ)
    except OverflowError as error:
        raise ValueError(f"no file has {size:,} bytes") from error
    finally:
        os.close(handle)


def read_plain(path: Path) -> bytes:
    """Return the content of a file; raise CorruptIndexError if it is not a plain file."""
    with os.fdopen(open_plain(path), "rb") as file:
        return file.read()


def check_local_disk(folder: Path) -> None:
    """Raise UnsupportedStorageError for a network file system, where locks are unreliable."""
    if sys.platform != "linux":
        return
    path = folder.resolve()
    filesystem, longest = "", -1
    for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount, mounted, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        if path.is_relative_to(mount) and len(mount) >= longest:
            filesystem, longest = mounted, len(mount)
    if filesystem in _NETWORK_FILESYSTEMS:
        raise UnsupportedStorageError(
            f"{folder} is on a network file system ({filesystem}), which can't store an index "
            "safely: use a local disk"
        )


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Serialize named arrays, little-endian and aligned for memory-mapping."""
    entries: dict[str, tuple[str, list[int], int]] = {}
    offset = 0
    for name, array in arrays.items():
        entries[name] = (array.dtype.str, list(array.shape), offset)
        offset += _align(array.nbytes)
    header = json.dumps(entries).encode()
    start = _align(len(_MAGIC) + 8 + len(header))
    out = bytearray(start + offset)
    out[: len(_MAGIC)] = _MAGIC
    out[8:16] = len(header).to_bytes(8, "little")
    out[16 : 16 + len(header)] = header
    for name, array in arrays.items():
        position = start + entries[name][2]
        out[position : position + array.nbytes] = np.ascontiguousarray(array).tobytes()
    return bytes(out)


def unpack_arrays(buffer: Any) -> dict[str, NDArray[Any]]:
    """Return read-only views of the arrays in a buffer, whose checksum the caller has verified.

    Raises CorruptIndexError for a buffer that ``pack_arrays`` can't have made.
    """
    try:
        return _unpack_arrays(buffer)
    except _MALFORMED as error:
        raise CorruptIndexError(f"its header is not valid: {error}") from error


def _unpack_arrays(buffer: Any) -> dict[str, NDArray[Any]]:
    view = memoryview(buffer)
    if bytes(view[: len(_MAGIC)]) != _MAGIC:
        raise CorruptIndexError("a segment has a wrong header: restore the index from a copy")
    length = int.from_bytes(view[8:16], "little")
    entries = json.loads(bytes(view[16 : 16 + length]))
    start = _align(16 + length)
    arrays: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape, offset) in entries.items():
        if not _DTYPE.fullmatch(dtype):  # numpy would parse any other text
            raise ValueError(f"array {name!r} has the type {dtype!r}")
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(buffer, np.dtype(dtype), count, start + offset).reshape(shape)
        array.flags.writeable = False
        arrays[name] = array
    return arrays


def _align(size: int) -> int:
    """Return ``size`` rounded up to the alignment."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def append_vectors(path: Path, count: int, vectors: Vectors) -> None:
    """Write ``vectors`` (n, dim) after the ``count`` committed ones, and sync the file.

    Vectors that a killed writer left after the committed ones are cut off.
    """
    committed = count * vectors.shape[1] * vectors.itemsize
    is_new = not path.exists()
    handle = open_plain(path, os.O_RDWR | os.O_CREAT)
    with os.fdopen(handle, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size < committed:
            raise CorruptIndexError(
                f"{path} is shorter than its vectors: restore the index from a copy"
            )
        if size > committed:  # Windows truncates no file that is mapped
            file.truncate(committed)
        file.seek(committed)
        file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
        file.flush()
        sync_file(file.fileno())
    if is_new:
        sync_folder(path.parent)


def map_vectors(path: Path, count: int, dim: int) -> Vectors:
    """Memory-map the first ``count`` vectors (count, dim); raise CorruptIndexError if missing."""
    try:
        buffer = map_file(path, count * dim * 4)
    except (FileNotFoundError, ValueError) as error:
        raise CorruptIndexError(f"{path} does not hold its {count:,} vectors: {error}") from None
    return np.frombuffer(buffer, "<f4").reshape(count, dim)


def create_head(path: Path, version: Version) -> None:
    """Create the file that records the last version, or replace it, whole or not at all."""
    write_atomic(path, lambda file: file.write(_pack_version(version)))


def _pack_version(version: Version) -> bytes:
    """Return the bytes of a slot."""
    identity, generation = version
    record = generation.to_bytes(8, "little") + bytes.fromhex(identity)
    return record + content_hash(record)


def write_head(path: Path, version: Version, *, folder: int | None = None) -> None:
    """Record a version durably, alternating between two slots.

    ``folder`` is a handle of the file's folder: it is used even if another folder takes the path.
    """
    name = path if folder is None else path.name
    handle = open_plain(name, os.O_RDWR | os.O_CREAT, folder=folder)
    try:
        os.lseek(handle, version[1] % 2 * _SLOT, os.SEEK_SET)
        os.write(handle, _pack_version(version))
        sync_file(handle)
    finally:
        os.close(handle)


def read_head(path: Path) -> Version | None:
    """Return the last recorded version, None if there is no HEAD file."""
    try:
        slots = _read_slots(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    versions = [
        (record[8:16].hex(), int.from_bytes(record[:8], "little"))
        for record in slots
        if _is_intact(record)
    ]
    if not versions:
        raise CorruptIndexError(f"{path} is damaged: it names no generation")
    return max(versions, key=itemgetter(1))


def find_damaged_slots(path: Path) -> list[int]:
    """Return the slots of a HEAD file, 0 or 1, that were written and have changed since.

    A slot without any byte but zero was never written, as in a copy.
    """
    slots = _read_slots(path)
    return [slot for slot, record in enumerate(slots) if any(record) and not _is_intact(record)]


def _read_slots(path: Path) -> list[bytes]:
    """Return the records of both slots of a HEAD file, which may be cut off."""
    data = read_plain(path)
    return [data[start : start + _HEAD_RECORD] for start in (0, _SLOT)]


def _is_intact(record: bytes) -> bool:
    """Return whether the record of a slot is one that was written."""
    return len(record) == _HEAD_RECORD and content_hash(record[:16]) == record[16:]
