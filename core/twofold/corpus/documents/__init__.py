"""The text of files in many formats."""

from twofold.corpus.documents.document import (
    Document,
    Entry,
    Heading,
    UnreadableError,
)
from twofold.corpus.documents.registry import FORMATS, FileFormat, find_format, parse_document

__all__ = [
    "FORMATS",
    "Document",
    "Entry",
    "FileFormat",
    "Heading",
    "UnreadableError",
    "find_format",
    "parse_document",
]
