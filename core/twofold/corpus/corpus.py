"""A corpus on disk: a BEIR folder, a file of JSON lines, or a folder of text and Markdown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twofold.corpus.reading import passages_in
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


_BEIR = ("corpus.jsonl", "corpus.jsonl.gz")
_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Passages that can be read more than once; ``lines`` is a file, else ``folder`` is split."""

    lines: Path | None
    folder: Path | None
    splitting: Splitting

    @classmethod
    def at(cls, path: Path, splitting: Splitting | None = None) -> "Corpus":
        """Return the corpus at ``path``; raise CorpusError if there is none."""
        splitting = splitting if splitting is not None else Splitting()
        if path.is_dir():
            for name in _BEIR:
                if (path / name).is_file():
                    return cls(path / name, None, splitting)
            if text_files(path):
                return cls(None, path, splitting)
            raise CorpusError(
                f"{path} holds no corpus: neither {_BEIR[0]}[.gz] nor .txt or .md files"
            )
        if not path.exists():
            raise CorpusError(f"there is no corpus at {path}")
        if not path.name.endswith(_SUFFIXES):
            raise CorpusError(
                f"{path} is of no known kind: a BEIR folder, a .jsonl[.gz] file, or a folder of "
                ".txt and .md files is wanted"
            )
        return cls(path, None, splitting)

    def __iter__(self) -> Iterator[Passage]:
        if self.lines is not None:
            return passages_in(self.lines)
        assert self.folder is not None  # one of the two is set
        return passages_below(self.folder, self.splitting)
