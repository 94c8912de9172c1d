"""Decodes the bytes of text files."""

import codecs
import re

from twofold.corpus.documents.document import UnreadableError
from twofold.corpus.documents.reasons import BINARY, UNKNOWN

_FALLBACK = "cp1252"
# UTF-32 comes first, because its little-endian mark starts with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml[^>]{0,200}?encoding=["']([\w.:-]+)""",
    re.IGNORECASE,
)
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.MULTILINE)
_HEAD = 4096
"""Bytes of an HTML file in which its encoding is declared."""


def decode_text(data: bytes, declared: str | None = None) -> tuple[str, bool]:
    """Decode the bytes of a text file.

    The encoding is that of a byte order mark, the ``declared`` one, or UTF-8. What is none of them
    is read as Windows-1252.

    Returns:
        The text without byte order mark, and whether it was read as Windows-1252.

    Raises:
        UnreadableError: The bytes are no text, or its encoding isn't known.
    """
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    for name in (marked,) if marked is not None else (declared, "utf-8-sig"):
        text = _decode(data, name) if name is not None else None
        if text is not None:
            return _check_text(text), False
    if marked is None and b"\0" not in data:
        text = _decode(data, _FALLBACK)
        if text is not None:
            return text, True
    raise UnreadableError(BINARY if b"\0" in data else UNKNOWN)


def find_declared(data: bytes) -> str | None:
    """Return the encoding that an HTML or XML file declares, None if it declares none."""
    found = _DECLARED.search(data[:_HEAD])
    return _known_name(found[1] or found[2]) if found is not None else None


def find_coding(data: bytes) -> str | None:
    """Return the encoding that a source file declares in its first two lines, as Python's do."""
    found = _CODING.search(b"\n".join(data[:_HEAD].split(b"\n", 2)[:2]))
    return _known_name(found[1]) if found is not None else None


def _known_name(name: bytes) -> str | None:
    """Return the name of an encoding of text, None for another name."""
    try:
        found = codecs.lookup(name.decode("ascii"))
        "".encode(found.name)
    except (LookupError, UnicodeError, TypeError):
        return None
    return _FALLBACK if found.name == "iso8859-1" else found.name  # as browsers read it


def _decode(data: bytes, encoding: str) -> str | None:
    """Return text, or None for bytes that the encoding doesn't have."""
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _check_text(text: str) -> str:
    if "\0" in text:
        raise UnreadableError(BINARY)
    return text.removeprefix("\ufeff")
