"""Append-only files of float32 vectors, row after row, without a header."""

import os
from pathlib import Path

import numpy as np

from twofold.catalog.files import mapped, sync_folder
from twofold.errors import CorruptIndexError
from twofold.types import Vectors


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
