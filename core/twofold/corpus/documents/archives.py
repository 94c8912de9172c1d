"""Checks ZIP files, which DOCX, PPTX and EPUB files are, before they are unpacked."""

import io
import zipfile

from twofold.corpus.documents.document import UnreadableError
from twofold.corpus.documents.reasons import BROKEN, PROTECTED, TOO_LARGE
from twofold.limits import limit_variable, read_limit

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def check_zip(data: bytes) -> None:
    """Raise UnreadableError for bytes that are no ZIP file, or that unpack to too much."""
    open_zip(data).close()


def open_zip(data: bytes) -> zipfile.ZipFile:
    """Open a ZIP file in memory; raise UnreadableError if that is not possible."""
    if data.startswith(_OLE):
        raise UnreadableError(PROTECTED, "an encrypted file, or one of Office before 2007")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise UnreadableError(BROKEN, str(error)) from error
    limit = read_limit("file_bytes")
    if sum(entry.file_size for entry in archive.infolist()) > limit:
        archive.close()
        variable = limit_variable("file_bytes")
        raise UnreadableError(TOO_LARGE, f"unpacked more than {limit:,} bytes; set {variable}")
    return archive
