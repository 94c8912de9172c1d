"""Files that are either wholly there or not, and where they may lie."""

import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from twofold.errors import UnsupportedStorageError

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
