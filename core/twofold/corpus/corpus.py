"""Reads a corpus from a BEIR folder, a file of JSON lines or a folder of text files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twofold.corpus.reading import read_passages
from twofold.errors import CorpusError
from twofold.types import Passage
from twofold.validation import check_integer

_TEXT, _MARKDOWN = {".txt", ".text"}, {".md", ".markdown"}
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_BEIR = ("corpus.jsonl", "corpus.jsonl.gz")
_JSON_LINES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


@dataclass(frozen=True, slots=True)
class Splitting:
    """Length of the passages that text files are split into.

    ``size`` is the maximum in characters, of which ``overlap`` are shared by adjacent passages. The
    default of 1,000 characters fits the 256 tokens that small encoders read.
    """

    size: int = 1000
    overlap: int = 150

    def __post_init__(self) -> None:
        check_integer("size", self.size)
        check_integer("overlap", self.overlap, 0, self.size - 1)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Passages on disk, which can be iterated over several times.

    One of ``lines`` (a file of JSON lines) and ``folder`` (text and Markdown files) is set.

    Example:
        >>> from pathlib import Path
        >>> from twofold import Corpus
        >>> _ = Path("corpus.jsonl").write_text('{"_id": "1", "text": "Plants make food."}')
        >>> [passage.id for passage in Corpus.from_path(Path("corpus.jsonl"))]
        ['1']
    """

    lines: Path | None
    folder: Path | None
    splitting: Splitting

    @classmethod
    def from_path(cls, path: Path, splitting: Splitting | None = None) -> "Corpus":
        """Return the corpus at ``path``.

        Args:
            path: A BEIR folder, a .jsonl[.gz] file or a folder of .txt and .md files.
            splitting: How to split text files.

        Raises:
            CorpusError: There is no corpus at ``path``.
        """
        splitting = splitting if splitting is not None else Splitting()
        if path.is_dir():
            for name in _BEIR:
                if (path / name).is_file():
                    return cls(path / name, None, splitting)
            if find_text_files(path):
                return cls(None, path, splitting)
            raise CorpusError(
                f"{path} has no corpus: it has neither {_BEIR[0]}[.gz] nor .txt or .md files"
            )
        if not path.exists():
            raise CorpusError(f"there is no corpus at {path}")
        if not path.name.endswith(_JSON_LINES):
            raise CorpusError(
                f"{path} is not a corpus: pass a BEIR folder, a .jsonl[.gz] file or a folder of "
                ".txt and .md files"
            )
        return cls(path, None, splitting)

    def __iter__(self) -> Iterator[Passage]:
        if self.lines is not None:
            return read_passages(self.lines)
        assert self.folder is not None  # one of the two is set
        return read_folder(self.folder, self.splitting)


def find_text_files(folder: Path) -> list[Path]:
    """Return all text and Markdown files below ``folder``, sorted, without hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _TEXT | _MARKDOWN
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_folder(folder: Path, splitting: Splitting) -> Iterator[Passage]:
    """Yield the passages of all text files, titled by first heading or file name.

    Their metadata is ``source`` (path below the folder), ``part`` (from 0), ``start`` and ``end``
    (character offsets in the file). Raises CorpusError for a file that isn't readable UTF-8.
    """
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    for path in find_text_files(folder):
        source = path.relative_to(folder).as_posix()
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            problem = f"{error.reason} at byte {error.start}"
            raise CorpusError(f"{path} is not UTF-8: {problem}") from None
        except OSError as error:
            raise CorpusError(f"{path} can't be read: {error}") from error
        markdown = path.suffix.lower() in _MARKDOWN
        heading = _HEADING.search(text) if markdown else None
        title = heading[1] if heading is not None else path.stem
        splitter_type = MarkdownSplitter if markdown else TextSplitter
        splitter = splitter_type(splitting.size, overlap=splitting.overlap)
        for part, (start, chunk) in enumerate(splitter.chunk_indices(text)):
            metadata = {"source": source, "part": part, "start": start, "end": start + len(chunk)}
            yield Passage(id=f"{source}#{part}", title=title, text=chunk, metadata=metadata)
