"""Reads EPUB files: the chapters in their order, by the reader for HTML."""

import posixpath
import zipfile
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from twofold.corpus.documents.archives import open_zip
from twofold.corpus.documents.document import Document, DocumentBuilder, UnreadableError
from twofold.corpus.documents.html import read_html
from twofold.corpus.documents.reasons import BROKEN, EMPTY, NO_TEXT, PROTECTED

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def read_epub(data: bytes, source: str) -> Document:
    """Read an EPUB file. Chapters are headings, and a passage's place is its chapter."""
    with open_zip(data) as archive:
        try:
            _check_protection(archive)
            package_path = _parse(archive.read(_CONTAINER)).find(".//{*}rootfile").get("full-path")
            package = _parse(archive.read(package_path))
        except (KeyError, AttributeError, zipfile.BadZipFile) as error:
            raise UnreadableError(BROKEN, f"no package: {error}") from error
        manifest = {each.get("id"): each.get("href", "") for each in package.iterfind(".//{*}item")}
        builder = DocumentBuilder("chapter")
        chapters: set[str] = set()
        for reference in package.iterfind(".//{*}itemref"):
            href = manifest.get(reference.get("idref"), "")
            name = posixpath.normpath(
                posixpath.join(posixpath.dirname(package_path), unquote(href))
            )
            if name in chapters:
                continue
            chapters.add(name)
            try:
                chapter = read_html(archive.read(name), name)
            except (KeyError, RuntimeError, zipfile.BadZipFile) as error:
                raise UnreadableError(BROKEN, f"chapter {href!r:.80}: {error}") from error
            except UnreadableError as error:
                if error.reason == EMPTY:
                    continue
                raise
            if chapter.text.strip():
                builder.begin_place()
                builder.add_document(chapter)
    title = " ".join((package.findtext(".//{*}title") or "").split())
    document = builder.build(title or PurePosixPath(source).stem)
    if not document.text.strip():
        raise UnreadableError(NO_TEXT)
    return document


def _parse(data: bytes) -> Any:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadableError(BROKEN, str(error)) from error


def _check_protection(archive: zipfile.ZipFile) -> None:
    """Raise UnreadableError if more than the fonts are encrypted."""
    if _ENCRYPTION in archive.namelist():
        found = _parse(archive.read(_ENCRYPTION)).iterfind(".//{*}EncryptionMethod")
        if any(each.get("Algorithm") not in _FONTS for each in found):
            raise UnreadableError(PROTECTED, "it has DRM")
