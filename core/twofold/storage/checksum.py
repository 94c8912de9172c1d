"""Checksums of stored rows and bytes, by xxh3 (fast, and made to catch accidents)."""

from typing import Any

import xxhash

Field = str | bytes | int | None


def row_checksum(*fields: Field) -> int:
    """Return a signed 64-bit checksum of a row's fields, types and lengths included."""
    parts = [
        f"s{len(field)}:{field}"
        if isinstance(field, str)
        else f"b{field.hex()}"
        if isinstance(field, bytes)
        else f"i{field!r}"
        for field in fields
    ]
    return _signed("\0".join(parts))


def passage_checksum(
    row: int, name: str, title: str, text: str, metadata: str, content: bytes
) -> int:
    """Return ``row_checksum`` of a passage's fields, in less time: every hit is verified."""
    return _signed(
        f"i{row}\0s{len(name)}:{name}\0s{len(title)}:{title}\0s{len(text)}:{text}"
        f"\0s{len(metadata)}:{metadata}\0b{content.hex()}"
    )


def _signed(text: str) -> int:
    digest = xxhash.xxh3_64_intdigest(text.encode())
    return digest - (1 << 64) if digest >> 63 else digest


def content_hash(data: Any) -> bytes:
    """Return the 128-bit hash of a buffer."""
    return xxhash.xxh3_128_digest(data)
