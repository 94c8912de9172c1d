"""The text of one file, with its headings, its places and its entries."""

import re
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_BREAK = re.compile(r"\r\n|\r|\n")


class UnreadableError(Exception):
    """A file gives no text.

    Attributes:
        reason: A reason of `SkippedFile`.
        detail: What the reader found.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in a document.

    Attributes:
        start: Offset of the heading in the document's text.
        level: 1 for the highest.
        text: Its text without markup. An empty one ends the section above.
    """

    start: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A part of a document that is a passage by itself, such as a row of a table.

    Attributes:
        start: Offset of its text in the document's text.
        end: Offset of the end.
        place: Its row, or the line that it begins in, from 1.
        id: Its id, "" for none.
        title: Its title, "" for none.
        metadata: Its other fields.
    """

    start: int
    end: int
    place: int
    id: str = ""
    title: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """The text of one file.

    Attributes:
        text: The text. Passages have offsets in it.
        title: The title, or the file's name.
        headings: The headings, in the order of the text.
        place: What ``starts`` counts, such as ``"line"`` or ``"page"``; "" for nothing.
        starts: The offset at which each place begins, ascending.
        entries: The parts that are passages by themselves; None for a text that is split.
        is_markdown: Whether the text is Markdown.
        is_guessed: Whether it was decoded as Windows-1252 because it isn't Unicode.
    """

    text: str
    title: str
    headings: tuple[Heading, ...] = ()
    place: str = ""
    starts: tuple[int, ...] = ()
    entries: tuple[Entry, ...] | None = None
    is_markdown: bool = False
    is_guessed: bool = False

    def without_surrogates(self) -> "Document":
        """Return the document with a replacement character for each half of a surrogate pair.

        JSON may have them, and they are no valid text. Offsets stay as they are.
        """
        if not _SURROGATE.search(self.text) and not _SURROGATE.search(self.title):
            return self
        headings = (
            Heading(each.start, each.level, _SURROGATE.sub("\ufffd", each.text))
            for each in self.headings
        )
        return replace(
            self,
            text=_SURROGATE.sub("\ufffd", self.text),
            title=_SURROGATE.sub("\ufffd", self.title),
            headings=tuple(headings),
        )

    def find_place(self, offset: int) -> int:
        """Return the line, page or other place at an offset, from 1."""
        return max(bisect_right(self.starts, offset), 1)


class DocumentBuilder:
    """Collects blocks of text, headings and places, and joins them to a document.

    ``headings`` are those added so far.
    """

    def __init__(self, place: str = "") -> None:
        self._place = place
        self._blocks: list[str] = []
        self.headings: list[Heading] = []
        self._starts: list[int] = []
        self._length = 0

    def begin_place(self) -> None:
        """Begin the next page, slide or cell."""
        self._starts.append(self._length)

    def add_heading(self, level: int, text: str, written: str | None = None) -> None:
        """Add a heading, which is a block of the text too, as ``text`` or as it was written."""
        if text := " ".join(text.split()):
            self.headings.append(Heading(self._length, level, text))
            self.add_block(written if written is not None else text)

    def add_block(self, text: str) -> None:
        """Add a paragraph. Blocks are separated by a blank line."""
        if text := text.strip("\n").rstrip():
            self._blocks.append(text)
            self._length += len(text) + 2

    def add_document(self, document: Document) -> None:
        """Add the text and the headings of another document, each a level lower."""
        self.headings += (
            Heading(self._length + each.start, each.level + 1, each.text)
            for each in document.headings
        )
        self._blocks.append(document.text)
        self._length += len(document.text) + 2

    def find_title(self) -> str:
        """Return the first heading of the highest level in use, "" without headings."""
        return min(self.headings, key=lambda each: each.level).text if self.headings else ""

    def build(self, title: str) -> Document:
        """Return the document."""
        text = "\n\n".join(self._blocks)
        return Document(text, title, tuple(self.headings), self._place, tuple(self._starts))


def find_line_starts(text: str) -> tuple[int, ...]:
    """Return the offset at which each line of a text begins."""
    return (0, *(match.end() for match in _BREAK.finditer(text)))
