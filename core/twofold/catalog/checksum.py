"""Checksums of stored rows and bytes, by xxh3 (fast, and made to catch accidents)."""

from typing import Any

import xxhash

Field = str | bytes | int | None


def row_checksum(*fields: Field) -> int:
    """Return a signed 64-bit checksum of a row's fields, types and lengths included."""
    state = xxhash.xxh3_64()
    for field in fields:
        if isinstance(field, str):
            data, tag = field.encode(), b"s"
        elif isinstance(field, bytes):
            data, tag = field, b"b"
        else:
            data, tag = repr(field).encode(), b"i"
        state.update(tag + len(data).to_bytes(8, "little"))
        state.update(data)
    return int.from_bytes(state.digest(), "big", signed=True)


def content_hash(data: Any) -> bytes:
    """Return the 128-bit hash of a buffer."""
    return xxhash.xxh3_128_digest(data)
