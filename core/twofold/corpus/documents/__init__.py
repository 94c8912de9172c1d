"""The text of files in many formats."""

from twofold.corpus.documents.document import (
    Document,
    Heading,
    Record,
    UnreadableError,
)
from twofold.corpus.documents.registry import FORMATS, FileFormat, find_format, parse_document

__all__ = [
    "FORMATS",
    "Document",
    "FileFormat",
    "Heading",
    "Record",
    "UnreadableError",
    "find_format",
    "parse_document",
]
