"""Reads a folder of files in many formats, splits them, and reports what was left out."""

import errno
import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from twofold.corpus.documents import (
    Document,
    FileFormat,
    UnreadableError,
    find_format,
    parse_document,
)
from twofold.corpus.documents.reasons import (
    BAD_NAME,
    BROKEN,
    HIDDEN,
    INDEX,
    LINK,
    NO_FILE,
    NO_PACKAGE,
    NO_TEXT,
    PROBLEMS,
    TOO_LARGE,
    UNREADABLE,
)
from twofold.corpus.reading import FilePath
from twofold.corpus.splitting import Chunk, Fits, Splitting, find_fits, split_document
from twofold.errors import CorpusError, DegradedWarning, InputError, PassageError
from twofold.index.writing.passage_input import PassageValidator
from twofold.limits import limit_message, read_limit
from twofold.protocols import Encoder
from twofold.storage import content_hash
from twofold.types import Passage
from twofold.validation import as_path

NO_SUFFIX = "no suffix"
SPLITTING = "_splitting"
_NAMED = 3  # files that a warning names
_INDEX_FILES = ("HEAD", "catalog.sqlite")


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file, or a hidden, linked or unreadable folder, that gives no passages.

    ``source`` is its path below the corpus folder. ``reason`` is a suffix that no reader is for,
    such as ``.zip``, ``no suffix``, or one of these:

    - ``hidden``: its name starts with a period.
    - ``empty``: it has nothing but blanks.
    - ``binary``: it has NUL characters.
    - ``unknown encoding``: it is neither Unicode nor Windows-1252.
    - ``unreadable``: the system refuses to read it. ``detail`` says why.
    - ``broken``: it isn't valid in its format. ``detail`` says what the reader found.
    - ``protected``: it is encrypted.
    - ``no text``: no text was found in it, such as in scanned pages.
    - ``too large``: it exceeds the limit ``file_bytes``, or unpacks to more.
    - ``missing package``: its format needs the extra ``files``.
    - ``bad name``: its name is not UTF-8, so that ids of its passages would be no text.
    - ``no file``: a broken link, or a device.
    - ``linked folder``: a link to a folder, which isn't followed, so that no loop is endless.
    - ``index``: a folder that has an index.
    """

    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FolderReport:
    """Which files of a folder give passages, and which don't.

    Attributes:
        read: Paths below the folder of the files that give passages.
        guessed: Those of them that are no Unicode and were read as Windows-1252 (cp1252).
        skipped: All other files; hidden, linked and unreadable folders count as one each.
    """

    read: tuple[str, ...] = ()
    guessed: tuple[str, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return the number of skipped files by reason, the most frequent first."""
        return dict(Counter(file.reason for file in self.skipped).most_common())


@dataclass(frozen=True, slots=True)
class FolderContents(Sequence[Passage]):
    """The passages of a folder's files, and a report of the files.

    Attributes:
        name: The folder's name, stored with its passages.
        passages: The passages, in the order of the files and of their text.
        report: Which files were read, and which weren't.
    """

    name: str
    passages: tuple[Passage, ...]
    report: FolderReport

    @overload
    def __getitem__(self, index: int) -> Passage: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Passage, ...]: ...

    def __getitem__(self, index: int | slice) -> Passage | tuple[Passage, ...]:
        return self.passages[index]

    def __len__(self) -> int:
        return len(self.passages)


def read_folder(
    path: FilePath,
    splitting: Splitting | None = None,
    *,
    name: str | None = None,
    encoder: Encoder | None = None,
    allow_empty: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FolderContents:
    r"""Read the files below a folder, and split them into passages.

    All formats of ``twofold.corpus.FORMATS`` are read. Other files, and those that can't be read,
    are in the ``report``; a warning names those that may have text.

    A passage's id is ``source#part``, or ``source#id`` if all rows or objects of the file have ids
    that differ. Its title is the document's title and the headings above it. Its metadata are:

    - ``source``: the path of the file below the folder
    - ``folder``: the folder's ``name``
    - ``part``: the passage's number in the file, from 0
    - ``start`` and ``end``: its characters in ``read_document(file).text``
    - ``line``, ``page``, ``slide``, ``cell``, ``chapter``, ``row`` or ``item``: where it begins in
      the file, from 1
    - ``section``: the headings above it
    - ``_splitting``: size and overlap in characters, if others than by default
    - other columns and fields, if it is a row or object

    Files of text are UTF-8, or UTF-16 or UTF-32 with a byte order mark. Others are read as
    Windows-1252, with a warning.

    Args:
        path: The folder, or one file.
        splitting: Length of the passages. By default they fit the encoder.
        name: Name of the folder, stored with its passages. Default: the folder's own name and a
            hash of its absolute path, which changes if the folder moves.
        encoder: The encoder of the passages, ``index.encoder``. By default a passage has at most
            1,000 characters, and no more tokens than this encoder reads.
        allow_empty: Accept a folder without any file that has a reader.
        progress: Called with the number of files read, and the number of all.

    Returns:
        The passages, a sequence, and the report.

    Raises:
        CorpusError: There is no such folder, it can't be read, or it has no files with a reader.
        InputError: The name is blank.

    Example:
        >>> from pathlib import Path
        >>> from twofold.corpus import read_folder
        >>> Path("docs").mkdir()
        >>> _ = Path("docs/tea.md").write_text("# Tea\n\n## Green\n\nSteep it for two minutes.")
        >>> read_folder("docs")[0].title
        'Tea > Green'
    """
    folder = as_path("path", path)
    splitting = splitting if splitting is not None else Splitting()
    name = folder_name(folder, name)
    paths, skipped = _list_files(folder)
    base = folder.parent if folder.is_file() else folder
    if not paths and not allow_empty:
        raise CorpusError(_no_files_message(folder, skipped))
    fits = find_fits(encoder, splitting)
    passages: list[Passage] = []
    validator = PassageValidator()
    read: list[str] = []
    guessed: list[str] = []
    for number, (source, file_format) in enumerate(paths, start=1):
        try:
            document = _read_file(base / source, source, file_format)
            made = list(_make_passages(document, source, name, splitting, fits))
            for passage in made:
                validator.validate(passage)
            passages += made
        except UnreadableError as error:
            skipped.append(SkippedFile(source, error.reason, error.detail))
        except PassageError as error:
            skipped.append(SkippedFile(source, BROKEN, str(error)))
        else:
            read.append(source)
            guessed += [source] if document.is_guessed else []
        if progress is not None:
            progress(number, len(paths))
    skipped.sort(key=lambda file: Path(file.source))
    report = FolderReport(tuple(read), tuple(guessed), tuple(skipped))
    _warn_of_losses(folder, report, stacklevel=2)
    return FolderContents(name, tuple(passages), report)


def read_document(path: FilePath) -> Document:
    """Return the text of a file, with its headings and pages.

    ``text[start:end]`` of the result's ``text`` is the text of a passage of `read_folder` with this
    ``start`` and ``end``.

    Raises:
        CorpusError: The file has no reader, can't be read, or gives no text.
    """
    file = as_path("path", path)
    file_format = find_format(file.name)
    if file_format is None:
        ending = f"ends in {file.suffix!r}" if file.suffix else "has no suffix"
        raise CorpusError(f"{file} has no reader: its name {ending}")
    try:
        return _read_file(file, file.name, file_format)
    except UnreadableError as error:
        problem = PROBLEMS.get(error.reason, error.reason)
        detail = f" ({error.detail})" if error.detail else ""
        raise CorpusError(f"{file}: {problem}{detail}") from error


def check_files(folder: Path) -> None:
    """Raise CorpusError unless ``folder`` is, or has, a file with a reader, readable or not."""
    paths, skipped = _list_files(folder)
    if not paths:
        raise CorpusError(_no_files_message(folder, skipped))


def folder_name(folder: Path, given: str | None = None) -> str:
    """Return the name given to a folder, else its own name and a hash of its absolute path.

    Raises:
        InputError: The name given is blank or no text.
    """
    if given is not None:
        if not isinstance(given, str) or not given.strip():
            raise InputError(f"name must be text that isn't blank, got {given!r:.80}")
        return given
    path = folder.resolve()
    name = path.name.encode(errors="replace").decode()
    return f"{name}-{content_hash(os.fsencode(path)).hex()[:8]}"


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 file`` and ``2 files``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _make_passages(
    document: Document, source: str, name: str, splitting: Splitting, fits: Fits | None
) -> Iterator[Passage]:
    """Yield the passages of a document."""
    chunks = list(split_document(document, splitting, fits))
    identifiers = [_entry_id(chunk) for chunk in chunks]
    if not all(identifiers) or len(set(identifiers)) < len(identifiers):
        identifiers = [str(part) for part in range(len(chunks))]
    for part, (chunk, identifier) in enumerate(zip(chunks, identifiers, strict=True)):
        metadata = dict(chunk.entry.metadata) if chunk.entry is not None else {}
        metadata |= {
            "source": source,
            "folder": name,
            "part": part,
            "start": chunk.start,
            "end": chunk.end,
        }
        if chunk.entry is not None:
            metadata[document.place] = chunk.entry.place
        elif document.place:
            metadata[document.place] = document.find_place(chunk.start)
        if chunk.section:
            metadata["section"] = chunk.section
        metadata.pop(SPLITTING, None)
        if splitting != Splitting():
            metadata[SPLITTING] = [splitting.size, splitting.overlap]
        text = document.text[chunk.start : chunk.end]
        yield Passage(id=f"{source}#{identifier}", title=chunk.title, text=text, metadata=metadata)


def _entry_id(chunk: Chunk) -> str:
    """Return the id of a chunk's entry with its part, "" without an id."""
    if chunk.entry is None or not chunk.entry.id:
        return ""
    return chunk.entry.id + (f".{chunk.entry_part}" if chunk.entry_part else "")


def _warn_of_losses(folder: Path, report: FolderReport, *, stacklevel: int) -> None:
    """Warn of files that couldn't be read, and of those whose encoding was guessed."""
    by_problem: dict[str, list[SkippedFile]] = {}
    for file in report.skipped:
        if file.reason in PROBLEMS:
            key = file.detail if file.reason == NO_PACKAGE else ""
            by_problem.setdefault(f"{file.reason}\0{key}", []).append(file)
    messages = [f"left out {_describe_files(files)}" for files in by_problem.values()]
    if report.guessed:
        messages.append(
            f"read {count_of(len(report.guessed), 'file')} as Windows-1252, such as "
            f"{report.guessed[0]!r:.80}: not Unicode; convert to UTF-8 if the text is wrong"
        )
    for message in messages:
        warnings.warn(f"{folder}: {message}", DegradedWarning, stacklevel=stacklevel + 1)


def _describe_files(files: Sequence[SkippedFile]) -> str:
    """Return the names of some files that are left out for one reason, and the problem."""
    reason = files[0].reason
    has_details = reason not in (NO_PACKAGE, NO_TEXT)
    names = ", ".join(
        f"{file.source!r:.80}{f' ({file.detail})' if has_details and file.detail else ''}"
        for file in files[:_NAMED]
    )
    such = "such as " if len(files) > _NAMED else ""
    problem = files[0].detail if reason == NO_PACKAGE else PROBLEMS[reason]
    return f"{count_of(len(files), 'file')}, {such}{names}: {problem}"


def _no_files_message(folder: Path, skipped: Sequence[SkippedFile]) -> str:
    counts = Counter(file.reason for file in skipped).most_common(5)
    found = ", ".join(f"{number:,} {reason}" for reason, number in counts)
    return (
        f"{folder} has no corpus: no file in a format that is read"
        f"{f' ({found})' if found else ''}: pass a folder of Markdown, text, PDF, HTML, Word or "
        "other documents"
    )


def _list_files(folder: Path) -> tuple[list[tuple[str, FileFormat]], list[SkippedFile]]:
    """Return the files with a reader, sorted by path below ``folder``, and what else is there.

    If ``folder`` is a file, it is the only one.
    """
    if folder.is_file():
        file_format = find_format(folder.name)
        return [(folder.name, file_format)] if file_format is not None else [], []
    paths: list[tuple[Path, FileFormat]] = []
    skipped: list[SkippedFile] = []

    def skip(path: Path, reason: str, detail: str = "") -> None:
        skipped.append(SkippedFile(path.relative_to(folder).as_posix(), reason, detail))

    def skip_folder(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise CorpusError(f"{folder} can't be read: {error.strerror}") from error
        skip(Path(error.filename), UNREADABLE, error.strerror or str(error))

    for base, folders, files in os.walk(folder, onerror=skip_folder):
        for name in list(folders):
            reason = _refuse_folder(Path(base, name))
            if reason is not None:
                skip(Path(base, name), reason)
                folders.remove(name)
        for name in files:
            path = Path(base, name)
            file_format = find_format(name) if not name.startswith(".") else None
            if file_format is not None:
                paths.append((path, file_format))
            else:
                suffix = path.suffix.lower() or NO_SUFFIX
                skip(path, HIDDEN if name.startswith(".") else suffix)
    ordered = sorted(paths, key=lambda item: item[0])
    return [(path.relative_to(folder).as_posix(), each) for path, each in ordered], skipped


def _refuse_folder(path: Path) -> str | None:
    """Return why a folder is left out, None if it isn't."""
    if path.name.startswith("."):
        return HIDDEN
    if path.is_symlink():
        return LINK
    try:
        has_index = all((path / part).is_file() for part in _INDEX_FILES)
    except OSError:  # os.walk reports a folder that can't be read
        return None
    return INDEX if has_index else None


def _read_file(path: Path, source: str, file_format: FileFormat) -> Document:
    """Read a file; raise UnreadableError with the reason why not."""
    try:
        source.encode()
    except UnicodeEncodeError:
        raise UnreadableError(BAD_NAME) from None
    limit = read_limit("file_bytes")
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for its writer
            raise UnreadableError(NO_FILE)
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        reason = NO_FILE if error.errno in (errno.ENOENT, errno.ELOOP) else UNREADABLE
        raise UnreadableError(reason, error.strerror or str(error)) from error
    if len(data) > limit:
        given, advice = f"more than {limit:,}", "split it"
        message = limit_message("file_bytes", limit, "a file", "bytes", given, advice)
        raise UnreadableError(TOO_LARGE, message)
    return parse_document(data, source, file_format)
