"""Splits documents into passages at headings, paragraphs and sentences."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from twofold.corpus.documents import Document, Entry
from twofold.protocols import Encoder, WindowEncoder
from twofold.validation import check_integer

SIZE, OVERLAP = 1000, 150
_SMALL = 8  # a section below this part of the size is joined to the next one
_TITLE = 200  # characters of a title and its section path
_AT_ONCE = 40_000  # characters that are split at once
_SEPARATOR = " > "
_UNIT = 4
"""Characters of a unit of length. The splitter wants no text to have more units than characters."""

Fits = Callable[[str], bool]
"""Returns whether an encoder reads a text as a whole."""


@dataclass(frozen=True, slots=True)
class Splitting:
    """Length of the passages that files are split into.

    Attributes:
        size: The most characters of a passage. None: 1,000, and no more tokens than the encoder
            reads.
        overlap: Characters that adjacent passages share, within a section. None: 150, or a
            quarter of a smaller size.
    """

    size: int | None = None
    overlap: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            check_integer("size", self.size)
        if self.overlap is not None:
            check_integer("overlap", self.overlap, 0, self.characters - 1)

    @property
    def characters(self) -> int:
        """The most characters of a passage."""
        return self.size if self.size is not None else SIZE

    @property
    def shared(self) -> int:
        """Characters that adjacent passages share."""
        return self.overlap if self.overlap is not None else min(OVERLAP, self.characters // 4)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document that becomes a passage.

    Attributes:
        start: Its offset in the document's text.
        end: The offset of its end.
        title: The document's title and the headings above.
        section: The headings above without the document's title.
        entry: The entry that it is of, None if the document has none.
        entry_part: Its number in the entry, from 0.
    """

    start: int
    end: int
    title: str
    section: str = ""
    entry: Entry | None = None
    entry_part: int = 0


@dataclass(slots=True)
class _Section:
    start: int
    end: int
    path: tuple[str, ...] = field(default=())


def find_fits(encoder: Encoder | None, splitting: Splitting) -> Fits | None:
    """Return the test whether the encoder reads a text as a whole, None if there is none.

    Without a default size there is none: passages longer than the encoder reads get windows.
    """
    if splitting.size is not None or not isinstance(encoder, WindowEncoder):
        return None
    if encoder.max_tokens is None:
        return None
    return lambda text: encoder.token_spans([text])[0] is None


def split_document(document: Document, splitting: Splitting, fits: Fits | None) -> Iterator[Chunk]:
    """Yield the parts of a document, in its order.

    A section is split at paragraphs, lines and sentences. One that is very short is joined to the
    next. An entry is never joined to another.

    Args:
        document: The document.
        splitting: The length of the parts.
        fits: Tells whether the encoder reads a text as a whole.
    """
    if document.entries is not None:
        for entry in document.entries:
            title = _shorten(entry.title) or document.title
            spans = _split_text(document, entry.start, entry.end, title, splitting, fits)
            for part, (start, end) in enumerate(spans):
                yield Chunk(start, end, title, entry=entry, entry_part=part)
        return
    for section in _join_small(document, splitting.characters):
        path = section.path
        if path and path[0] == document.title:
            path = path[1:]
        title = _join_path((document.title, *path))
        spans = _split_text(document, section.start, section.end, title, splitting, fits)
        for start, end in spans:
            yield Chunk(start, end, title, _SEPARATOR.join(path))


def _find_sections(document: Document) -> Iterator[_Section]:
    """Yield the text before the first heading, and that of each heading up to the next."""
    path: list[tuple[int, str]] = []
    start = 0
    for heading in document.headings:
        if document.text[start : heading.start].strip():
            yield _Section(start, heading.start, tuple(text for _, text in path if text))
        start = heading.start
        while path and path[-1][0] >= heading.level:
            path.pop()
        path.append((heading.level, heading.text))
    if document.text[start:].strip():
        yield _Section(start, len(document.text), tuple(text for _, text in path if text))


def _join_small(document: Document, size: int) -> Iterator[_Section]:
    """Yield the sections, very short ones together with the next if both are a passage at most."""
    current: _Section | None = None
    for section in _find_sections(document):
        if current is not None:
            length = len(document.text[current.start : current.end].strip())
            if length * _SMALL <= size and section.end - current.start <= size:
                current = _Section(current.start, section.end, _shared_path(current, section))
                continue
            yield current
        current = section
    if current is not None:
        yield current


def _shared_path(first: _Section, second: _Section) -> tuple[str, ...]:
    """Return the path of two joined sections: that of a longer one in the first, or the common."""
    is_inside = second.path[: len(first.path)] == first.path
    if is_inside and second.end - second.start > 2 * (first.end - first.start):
        return second.path
    count = 0
    for one, other in zip(first.path, second.path, strict=False):
        if one != other:
            break
        count += 1
    return first.path[:count]


def _join_path(path: tuple[str, ...]) -> str:
    """Return a title and headings, without those in the middle if they are too long."""
    joined = _SEPARATOR.join(path)
    if len(joined) > _TITLE and len(path) > 2:
        joined = _SEPARATOR.join((path[0], "…", path[-1]))
    return _shorten(joined)


def _shorten(title: str) -> str:
    return title if len(title) <= _TITLE else f"{title[: _TITLE - 1].rstrip()}…"


def _split_text(
    document: Document, start: int, end: int, title: str, splitting: Splitting, fits: Fits | None
) -> list[tuple[int, int]]:
    """Return the offsets of the parts of a section or entry."""
    text = document.text[start:end]
    size = splitting.characters
    whole = text.strip()
    if len(whole) <= size and (fits is None or fits(f"{title} {whole}")):
        begin = start + text.index(whole)
        return [(begin, begin + len(whole))] if whole else []
    if fits is not None and not fits(f"{title} {text[: size // _UNIT]}"):
        fits = None  # the encoder reads hardly more than the title: windows are better
    measure = _measure(title, size, fits) if fits is not None else None
    plain = _make_splitter("TextSplitter", splitting, measure)
    chunks = plain.chunk_indices
    if document.is_markdown:
        chunks = _make_splitter("MarkdownSplitter", splitting, measure).chunk_indices
    spans: list[tuple[int, int]] = []
    for first, last in _cut_at_blanks(text):
        try:
            found = chunks(text[first:last])
        except BaseException as error:  # a panic of its Rust code is no Exception
            if type(error).__name__ != "PanicException":
                raise
            found = plain.chunk_indices(text[first:last])  # a chunk starts before the last one
        base = start + first
        spans += [(base + at, base + at + len(chunk)) for at, chunk in found if chunk.strip()]
    return spans


def _cut_at_blanks(text: str) -> Iterator[tuple[int, int]]:
    """Yield the offsets of parts of a text; the splitter's time grows with their square."""
    first = 0
    while len(text) - first > _AT_ONCE:
        middle, last = first + _AT_ONCE // 2, first + _AT_ONCE
        found = (text.rfind(blank, middle, last) for blank in ("\n\n", "\n", " "))
        cut = next((at for at in found if at > 0), last)
        yield first, cut
        first = cut
    yield first, len(text)


def _measure(title: str, size: int, fits: Fits) -> Callable[[str], int]:
    """Return a function for the length of a text, in units of ``_UNIT`` characters.

    A text that the encoder doesn't read as a whole is longer than ``size``.
    """

    def measure(text: str) -> int:
        if len(text) > size or fits(f"{title} {text}"):
            return -(-len(text) // _UNIT)
        return size // _UNIT + 1

    return measure


def _make_splitter(kind: str, splitting: Splitting, measure: Callable[[str], int] | None) -> Any:
    import semantic_text_splitter

    splitter = getattr(semantic_text_splitter, kind)
    size, shared = splitting.characters, splitting.shared
    if measure is None:
        return splitter(size, overlap=shared)
    return splitter.from_callback(measure, size // _UNIT, overlap=shared // _UNIT)
