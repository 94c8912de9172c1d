"""Folders of text and Markdown, split into passages at paragraph and sentence bounds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twofold.errors import CorpusError, InputError
from twofold.types import Passage

_TEXT, _MARKDOWN = {".txt", ".text"}, {".md", ".markdown"}
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Splitting:
    """How long passages are: at most ``size`` characters, ``overlap`` of them shared.

    The default of 1,000 characters fits the 256 tokens that small encoders read.
    """

    size: int = 1000
    overlap: int = 150

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.overlap < self.size:
            raise InputError(
                f"size {self.size} and overlap {self.overlap}: at least 1 character, and an "
                "overlap below the size are wanted"
            )


def text_files(folder: Path) -> list[Path]:
    """Return all text and Markdown files below ``folder`` in order, hidden ones left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _TEXT | _MARKDOWN
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def passages_below(folder: Path, splitting: Splitting) -> Iterator[Passage]:
    """Yield the passages of every file, titled by its first heading or its name.

    Metadata: ``source`` (path below the folder), ``part`` (from 0), ``start`` and ``end`` (places
    of the passage in the file, in characters). Raises CorpusError.
    """
    for path in text_files(folder):
        source = path.relative_to(folder).as_posix()
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{path} is not UTF-8: {error.reason} at byte {error.start}"
            ) from None
        except OSError as error:
            raise CorpusError(f"{path} can't be read: {error}") from error
        markdown = path.suffix.lower() in _MARKDOWN
        heading = _HEADING.search(text) if markdown else None
        title = heading.group(1) if heading is not None else path.stem
        for part, (start, chunk) in enumerate(_chunks(text, splitting, markdown=markdown)):
            place = {"source": source, "part": part, "start": start, "end": start + len(chunk)}
            yield Passage(id=f"{source}#{part}", title=title, text=chunk, metadata=place)


def _chunks(text: str, splitting: Splitting, *, markdown: bool) -> list[tuple[int, str]]:
    """Return (start, chunk) pairs."""
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    make = MarkdownSplitter if markdown else TextSplitter
    return make(splitting.size, overlap=splitting.overlap).chunk_indices(text)
