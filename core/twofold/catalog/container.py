"""Named arrays in one buffer: a JSON header, then each array at a multiple of 64 bytes."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import CorruptIndexError

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
