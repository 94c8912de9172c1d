"""Reads HTML: its text in blocks, without navigation, scripts and forms."""

import html.parser
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from twofold.corpus.documents.decoding import decode_text, find_declared
from twofold.corpus.documents.document import Document, DocumentBuilder, UnreadableError
from twofold.corpus.documents.reasons import BROKEN, EMPTY

_LEFT_OUT = frozenset(
    (
        *("script", "style", "noscript", "template", "head", "title", "dialog"),
        *("nav", "aside", "button", "select", "map"),
        *("svg", "iframe", "object", "canvas", "audio", "video"),
    )
)
_INLINE = frozenset(
    (
        *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn"),
        *("em", "font", "i", "img", "input", "ins", "kbd", "label", "mark", "math", "meter"),
        *("output", "progress", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strike"),
        *("strong", "sub", "sup", "time", "tt", "u", "var", "wbr"),
    )
)
_HIDDEN = ("script", "style")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_ROLES = frozenset(("navigation", "search", "banner", "contentinfo", "complementary"))
_LINKS_TO_HEADINGS = frozenset(("headerlink", "anchor-link", "header-anchor", "anchorjs-link"))
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_MAX_DEPTH = 200
"""Levels of elements that are regarded one by one; the text of what is deeper is one block."""


def read_html(data: bytes, source: str) -> Document:
    """Read an HTML file. The title is its first ``<h1>``, its ``<title>`` or its name."""
    from lxml import etree
    from lxml.html import HTMLParser, document_fromstring

    text, guessed = decode_text(data, find_declared(data))
    text = _XML_DECLARATION.sub("", text)
    if not text.strip():
        raise UnreadableError(EMPTY)
    parser = HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        root = document_fromstring(text, parser=parser)
    except (etree.ParserError, ValueError) as error:
        raise UnreadableError(BROKEN, str(error)) from error
    builder = DocumentBuilder()
    if any("depth" in error.message for error in parser.error_log):  # the rest is missing
        builder.add_block(_plain_text(text))
    else:
        _BlockWriter(builder).write(_find_content(root))
    headings = [each for each in builder.headings if each.level == 1]
    named = " ".join((root.findtext(".//title") or "").split())
    title = headings[0].text if len(headings) == 1 else named or builder.find_title()
    document = builder.build(title or PurePosixPath(source).stem)
    return Document(document.text, document.title, document.headings, is_guessed=guessed)


class _TextCollector(html.parser.HTMLParser):
    """Collects the text of a page, whatever its depth, without scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the parser's signature
        """Begin an element."""
        self._hidden += tag in _HIDDEN

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        self._hidden = max(self._hidden - (tag in _HIDDEN), 0)

    def handle_data(self, data: str) -> None:
        """Add a piece of text."""
        if not self._hidden:
            self.parts.append(data)


def _plain_text(page: str) -> str:
    """Return the words of a page that is nested too deeply for lxml."""
    collector = _TextCollector()
    collector.feed(page)
    collector.close()
    return " ".join(" ".join(collector.parts).split())


def _find_content(root: Any) -> Any:
    """Return the main element of a page that has a text, or its body."""
    for path in (".//main", ".//*[@role='main']"):
        for element in root.iterfind(path):
            if not _is_left_out(element, element.tag) and _inline_text(element):
                return element
    body = root.find("body")
    return body if body is not None else root


class _BlockWriter:
    """Writes the blocks of an element in the order of the page."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._inline: list[str] = []

    def write(self, element: Any) -> None:
        """Write an element and all that it has."""
        self._write_children(element, 0)
        self._end_block()

    def _write_children(self, element: Any, depth: int) -> None:
        self._inline.append(element.text or "")
        for child in element:
            self._write_element(child, depth + 1)
            self._inline.append(child.tail or "")

    def _write_element(self, element: Any, depth: int) -> None:
        tag = element.tag if isinstance(element.tag, str) else ""
        if not tag or _is_left_out(element, tag):
            return
        if tag in _INLINE:
            if depth < _MAX_DEPTH and any(child.tag not in _INLINE for child in element.iter()):
                self._write_children(element, depth)
            else:
                self._inline.append(_inline_text(element, strip=False))
            return
        if tag == "br":
            self._inline.append(" ")
            return
        self._end_block()
        if tag in _HEADINGS:
            self._builder.add_heading(_HEADINGS[tag], _inline_text(element))
        elif tag in ("pre", "textarea"):
            self._builder.add_block("".join(_visible_text(element)).expandtabs(4))
        elif tag == "table":
            self._builder.add_block("\n".join(_table_rows(element)))
        elif depth >= _MAX_DEPTH:
            self._builder.add_block(_inline_text(element))
        else:
            self._inline += ["- "] if tag == "li" else []
            self._write_children(element, depth)
            self._end_block()

    def _end_block(self) -> None:
        text = " ".join("".join(self._inline).split())
        self._inline.clear()
        if text != "-":
            self._builder.add_block(text)


def _is_left_out(element: Any, tag: str) -> bool:
    if tag in _LEFT_OUT or element.get("role") in _ROLES or element.get("hidden") is not None:
        return True
    if tag == "a":
        return not _LINKS_TO_HEADINGS.isdisjoint(element.get("class", "").split())
    # A footer or header of an article is a part of it; that of a page isn't.
    return tag in ("footer", "header") and not any(
        above.tag in ("article", "main", "section") for above in element.iterancestors()
    )


def _visible_text(element: Any) -> Iterator[str]:
    """Yield the text of an element, blocks on lines of their own, without what is left out."""
    stack: list[Any] = [element]
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            yield each
            continue
        tag = each.tag if isinstance(each.tag, str) else ""
        if each is not element:
            if not tag or _is_left_out(each, tag):
                continue
            if tag not in _INLINE:
                yield "\n"
        if each.text:
            yield each.text
        children: list[Any] = []
        for child in each:
            children.append(child)
            if child.tag not in _INLINE:
                children.append("\n")
            if child.tail:
                children.append(child.tail)
        stack += reversed(children)


def _inline_text(element: Any, *, strip: bool = True) -> str:
    text = "".join(_visible_text(element))
    return " ".join(text.split()) if strip else text


def _table_rows(table: Any) -> Iterator[str]:
    """Yield a line for each row of a table. A table in a cell is a part of that."""
    rows = [row for row in table.iter("tr") if next(row.iterancestors("table")) is table]
    caption = table.find("caption")
    if caption is not None:
        yield _inline_text(caption)
    for row in rows:
        cells = [_inline_text(cell) for cell in row if cell.tag in ("td", "th")]
        if any(cells) and not _is_left_out(row, "tr"):
            yield " | ".join(cells)
    if not rows:
        yield _inline_text(table)
