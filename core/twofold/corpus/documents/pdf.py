"""Reads PDF files by pypdfium2, page by page, with the outline's entries as headings."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from twofold.corpus.documents.document import Document, Heading, UnreadableError
from twofold.corpus.documents.reasons import BROKEN, NO_TEXT, PROTECTED

_HYPHEN = re.compile("(\\w)[\u00ad\ufffe\x02]\r?\n?(?=\\w)")
"""How PDFium writes a word that is divided at the end of a line."""
_NO_TITLE = re.compile(
    r"untitled|\(?(anonymous|unspecified)\)?|.*\.(docx?|dvi|tex|indd|pptx?|pdf)", re.I
)


def read_pdf(data: bytes, source: str) -> Document:
    """Read a PDF file. The title is that of its properties, or the file's name."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        protected = "password" in str(error).lower()
        raise UnreadableError(PROTECTED if protected else BROKEN, str(error)) from error
    try:
        pages = [_read_page(document, at) for at in range(len(document))]
        if not any(page.strip() for page in pages):
            raise UnreadableError(NO_TEXT, f"{len(pages)} pages" if pages else "")
        starts, length = [], 0
        for page in pages:
            starts.append(length)
            length += len(page) + 2
        named = " ".join(str(document.get_metadata_dict().get("Title", "")).split())
        title = PurePosixPath(source).stem if not named or _NO_TITLE.fullmatch(named) else named
        headings = tuple(_read_outline(document, pages, starts))
    finally:
        document.close()
    return Document("\n\n".join(pages), title, headings, "page", tuple(starts))


def _read_page(document: Any, number: int) -> str:
    """Return the text of a page, with lines that end in line feeds."""
    page = document[number]
    try:
        text_page = page.get_textpage()
        try:
            text = str(text_page.get_text_bounded())
        finally:
            text_page.close()
    finally:
        page.close()
    text = _HYPHEN.sub(r"\1", text).replace("\0", "")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def _read_outline(document: Any, pages: list[str], starts: list[int]) -> Iterator[Heading]:
    """Yield the outline's entries where their titles stand on their pages, ascending."""
    last = -1
    for entry in document.get_toc(max_depth=6):
        destination = entry.get_dest()
        page = destination.get_index() if destination is not None else None
        title = " ".join(str(entry.get_title() or "").split())
        if page is None or not 0 <= page < len(pages) or not title:
            continue
        pattern = r"\s+".join(re.escape(word) for word in title.split())
        found = re.search(pattern, pages[page], re.IGNORECASE)
        start = starts[page] + (found.start() if found is not None else 0)
        if start > last:  # the outline may be in another order than the text
            last = start
            yield Heading(start, entry.level + 1, title)
