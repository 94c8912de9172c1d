"""Files that are either wholly there or not, and where they may lie."""

import json
import mmap
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from twofold.errors import CorruptIndexError, UnsupportedStorageError
from twofold.storage.checksum import content_hash
from twofold.types import Vectors

_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "9p"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone"),
}


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a new file so that a crash leaves all of it or none: temp file, fsync, rename."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make created, renamed and removed names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def mapped(path: Path, size: int) -> Any:
    """Return the first ``size`` bytes of a file, memory-mapped for reading.

    Raises FileNotFoundError, and ValueError where the file is shorter.
    """
    if size == 0:
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)


def refuse_network(folder: Path) -> None:
    """Raise UnsupportedStorageError on a network file system, where locks and WAL don't hold."""
    if sys.platform != "linux":
        return
    place = folder.resolve()
    kind, longest = "", -1
    for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, point, filesystem, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if place.is_relative_to(point) and len(point) >= longest:
            kind, longest = filesystem, len(point)
    if kind in _NETWORK:
        raise UnsupportedStorageError(
            f"{folder} is on a network file system ({kind}), which can't keep an index safe: "
            "use a local disk"
        )


_MAGIC = b"2FOLDARR"
_ALIGN = 64


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the arrays as bytes, little-endian."""
    entries: dict[str, tuple[str, list[int], int]] = {}
    offset = 0
    for name, array in arrays.items():
        entries[name] = (array.dtype.str, list(array.shape), offset)
        offset += _padded(array.nbytes)
    header = json.dumps(entries).encode()
    start = _padded(len(_MAGIC) + 8 + len(header))
    out = bytearray(start + offset)
    out[: len(_MAGIC)] = _MAGIC
    out[8:16] = len(header).to_bytes(8, "little")
    out[16 : 16 + len(header)] = header
    for name, array in arrays.items():
        at = start + entries[name][2]
        out[at : at + array.nbytes] = np.ascontiguousarray(array).tobytes()
    return bytes(out)


def unpack(buffer: Any) -> dict[str, NDArray[Any]]:
    """Return read-only views of the arrays in a buffer whose checksum was compared before.

    Raises CorruptIndexError if the buffer isn't one of these.
    """
    view = memoryview(buffer)
    if bytes(view[: len(_MAGIC)]) != _MAGIC:
        raise CorruptIndexError("a segment does not start as segments do")
    length = int.from_bytes(view[8:16], "little")
    entries = json.loads(bytes(view[16 : 16 + length]))
    start = _padded(16 + length)
    arrays: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape, offset) in entries.items():
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(buffer, np.dtype(dtype), count, start + offset).reshape(shape)
        array.flags.writeable = False
        arrays[name] = array
    return arrays


def _padded(size: int) -> int:
    """Return ``size`` rounded up to the alignment."""
    return -(-size // _ALIGN) * _ALIGN


def append_vectors(path: Path, count: int, vectors: Vectors) -> None:
    """Write ``vectors`` (n, dim) after the first ``count`` committed ones, and sync them.

    What a killed writer left behind the committed ones is cut off.
    """
    committed = count * vectors.shape[1] * vectors.itemsize
    fresh = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    with os.fdopen(handle, "r+b") as file:
        if file.seek(0, os.SEEK_END) < committed:
            raise CorruptIndexError(f"{path} is shorter than the vectors committed to it")
        file.truncate(committed)
        file.seek(committed)
        file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        sync_folder(path.parent)


def map_vectors(path: Path, count: int, dim: int) -> Vectors:
    """Return the first ``count`` vectors, memory-mapped, read-only.

    Raises CorruptIndexError if the file is missing or shorter.
    """
    try:
        buffer = mapped(path, count * dim * 4)
    except (FileNotFoundError, ValueError) as error:
        raise CorruptIndexError(f"{path} does not hold its {count:,} vectors: {error}") from None
    return np.frombuffer(buffer, "<f4").reshape(count, dim)


_SLOT = 4096  # two slots, so that a torn write spares the other one
_RECORD = 24


def write_head(path: Path, generation: int) -> None:
    """Record a generation durably, in one of two slots by turns."""
    number = generation.to_bytes(8, "little")
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.pwrite(handle, number + content_hash(number), generation % 2 * _SLOT)
        os.fsync(handle)
    finally:
        os.close(handle)


def read_head(path: Path) -> int:
    """Return the last recorded generation, -1 if there is no HEAD.

    Raises CorruptIndexError if neither slot holds a record that is whole.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return -1
    records = [data[at : at + _RECORD] for at in (0, _SLOT)]
    whole = [
        int.from_bytes(record[:8], "little")
        for record in records
        if len(record) == _RECORD and content_hash(record[:8]) == record[8:]
    ]
    if not whole:
        raise CorruptIndexError(f"{path} is damaged: it names no generation")
    return max(whole)
