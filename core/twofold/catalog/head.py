"""HEAD: the last committed generation, synced to disk before a write returns.

SQLite drops what it can't read at the end of its write-ahead log without a word. HEAD stands
beside the catalog, so that a catalog that lost commits is seen to be damaged.
"""

import os
from pathlib import Path

from twofold.catalog.checksum import content_hash
from twofold.errors import CorruptIndexError

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
