"""Reads a corpus from a BEIR folder, a file of JSON lines or a folder of text files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twofold.corpus.folder import (
    FolderReport,
    SkippedFile,
    TextFile,
    folder_name,
    has_text_files,
    read_text_files,
    report_folder,
    warn_of_losses,
)
from twofold.corpus.reading import FilePath, read_passages
from twofold.errors import CorpusError, InputError
from twofold.types import Passage
from twofold.validation import as_path, check_integer

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

    The passages of a folder have the ids ``source#part`` and the metadata ``source`` (path of the
    file below the folder), ``folder`` (the corpus's ``name``), ``part`` (from 0), ``start`` and
    ``end``. The last two are character offsets: ``text[start:end]`` is the passage's text, if
    ``text`` is the file as decoded, with its line breaks as they are and without byte order mark
    (``open(path, encoding="utf-8-sig", newline="").read()``).

    Files are UTF-8, or UTF-16 or UTF-32 with a byte order mark. Others are read as Windows-1252.
    Iterating warns of these, and of text files that can't be read. ``report`` has all files.

    Example:
        >>> from pathlib import Path
        >>> from twofold import Corpus
        >>> _ = Path("corpus.jsonl").write_text('{"_id": "1", "text": "Plants make food."}')
        >>> [passage.id for passage in Corpus.from_path("corpus.jsonl")]
        ['1']
    """

    lines: Path | None
    folder: Path | None
    splitting: Splitting
    name: str = ""

    @classmethod
    def from_path(
        cls,
        path: FilePath,
        splitting: Splitting | None = None,
        *,
        name: str | None = None,
        allow_empty: bool = False,
    ) -> "Corpus":
        """Return the corpus at ``path``.

        Args:
            path: A BEIR folder, a .jsonl[.gz] file or a folder of .txt and .md files.
            splitting: How to split text files.
            name: Name of a folder of text files, stored with its passages. Default: the folder's
                own name and a hash of its absolute path, which changes if the folder moves.
            allow_empty: Accept a folder without text files.

        Raises:
            CorpusError: There is no corpus at ``path``.
            InputError: The name is blank, or ``path`` is no folder of text files.
        """
        splitting = splitting if splitting is not None else Splitting()
        path = as_path("path", path)
        try:
            corpus = cls._find(path, splitting, allow_empty=allow_empty)
        except OSError as error:
            raise CorpusError(f"{path} can't be read: {error.strerror}") from error
        if name is None:
            return corpus
        if corpus.folder is None:
            raise InputError(f"name is for folders of text files, not for {path}: leave it out")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"name must be text that isn't blank, got {name!r:.80}")
        return cls(None, path, splitting, name)

    @classmethod
    def _find(cls, path: Path, splitting: Splitting, *, allow_empty: bool) -> "Corpus":
        if path.is_dir():
            for name in _BEIR:
                if (path / name).is_file():
                    return cls(path / name, None, splitting)
            if has_text_files(path) or allow_empty:
                return cls(None, path, splitting, folder_name(path))
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
        return _read_folder(self.folder, self.splitting, self.name)

    def report(self) -> FolderReport:
        """Read a folder's files, and return which of them give passages and why others don't.

        The report of a file of JSON lines is empty, because such a file is read as a whole.
        """
        return report_folder(self.folder) if self.folder is not None else FolderReport((), (), ())


def _read_folder(folder: Path, splitting: Splitting, name: str) -> Iterator[Passage]:
    """Yield the passages of all text files, and warn of text files that couldn't be read."""
    guessed: list[str] = []
    skipped: list[SkippedFile] = []
    for file in read_text_files(folder):
        if not isinstance(file, TextFile):
            skipped.append(file)
            continue
        guessed += [file.source] if file.guessed else []
        title = file.title
        for part, (start, chunk) in enumerate(_split_file(file, splitting)):
            metadata = {
                "source": file.source,
                "folder": name,
                "part": part,
                "start": start,
                "end": start + len(chunk),
            }
            passage_id = f"{file.source}#{part}"
            yield Passage(id=passage_id, title=title, text=chunk, metadata=metadata)
    warn_of_losses(folder, guessed, skipped, stacklevel=2)


def _split_file(file: TextFile, splitting: Splitting) -> list[tuple[int, str]]:
    """Return the start and the text of each chunk of a file."""
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    plain = TextSplitter(splitting.size, overlap=splitting.overlap)
    if not file.is_markdown:
        return plain.chunk_indices(file.text)
    markdown = MarkdownSplitter(splitting.size, overlap=splitting.overlap)
    try:
        return markdown.chunk_indices(file.text)
    except BaseException as error:  # a panic of its Rust code is no Exception
        if type(error).__name__ != "PanicException":
            raise
        return plain.chunk_indices(file.text)  # where a chunk starts before the last one
