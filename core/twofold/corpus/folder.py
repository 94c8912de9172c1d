"""Reads the text files of a folder, whatever their encoding, and reports what was left out."""

import codecs
import errno
import os
import re
import stat
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from twofold.errors import CorpusError, DegradedWarning
from twofold.storage import content_hash

TEXT, MARKDOWN = (".txt", ".text"), (".md", ".markdown")
EMPTY, BINARY, HIDDEN, LINK = "empty", "binary", "hidden", "linked folder"
NO_FILE, UNREADABLE, UNKNOWN = "no file", "unreadable", "unknown encoding"
BAD_NAME = "bad name"
TEXT_FILE_REASONS = (EMPTY, BINARY, UNKNOWN, BAD_NAME, UNREADABLE, NO_FILE, LINK)
"""Why something is left out that may have text; the other reasons are suffixes and ``hidden``."""
_PROBLEMS = {
    UNREADABLE: "the system can't read it",
    UNKNOWN: "neither Unicode nor Windows-1252; convert it to UTF-8",
    BINARY: "it has NUL characters, so it is no text, or UTF-16 without a byte order mark",
    BAD_NAME: "its name is not UTF-8; rename it",
}
"""By reason, the message for a text file that is left out although it may have text."""
_FALLBACK = "cp1252"
# UTF-32 comes first, because its little-endian mark starts with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
_FENCED = re.compile(r"^ {0,3}(```(?![^\n]*`)|~~~).*?(?:^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file, or a hidden, linked or unreadable folder, that gives no passages.

    ``source`` is its path below the corpus folder. ``reason`` is a suffix such as ``.pdf``,
    ``no suffix``, or one of these:

    - ``hidden``: its name starts with a period.
    - ``empty``: it has nothing but blanks.
    - ``binary``: it has NUL characters.
    - ``unknown encoding``: it is neither Unicode nor Windows-1252.
    - ``unreadable``: the system refuses to read it. ``detail`` says why.
    - ``bad name``: its name is not UTF-8, so that ids of its passages would be no text.
    - ``no file``: a broken link, or a device.
    - ``linked folder``: a link to a folder, which isn't followed, so that no loop is endless.
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

    read: tuple[str, ...]
    guessed: tuple[str, ...]
    skipped: tuple[SkippedFile, ...]

    def counts(self) -> dict[str, int]:
        """Return the number of skipped files by reason, the most frequent first."""
        return dict(Counter(file.reason for file in self.skipped).most_common())


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file as decoded, without byte order mark and with its line breaks as they are."""

    source: str
    text: str
    guessed: bool

    @property
    def is_markdown(self) -> bool:
        """Whether the suffix is that of Markdown."""
        return self.source.lower().endswith(MARKDOWN)

    @property
    def title(self) -> str:
        """The first heading outside of code blocks if this is Markdown, else the file's name."""
        if self.is_markdown:
            plain = self.text.replace("\r\n", "\n").replace("\r", "\n")
            for heading in _HEADING.finditer(_FENCED.sub("", plain)):
                if title := _strip_closing(heading[1].rstrip()):
                    return title
        return Path(self.source).stem


def _strip_closing(heading: str) -> str:
    """Return a heading without the number signs that may close it; ``C#`` keeps its own."""
    text = heading.rstrip("#")
    return text.rstrip() if not text or text[-1].isspace() else heading


def read_text_files(folder: Path) -> Iterator[TextFile | SkippedFile]:
    """Yield the text files below ``folder`` sorted by path, and then what is skipped.

    Files are read as UTF-8, or as UTF-16 or UTF-32 if they start with its byte order mark. A file
    that is none of them is read as Windows-1252, and left out if that has no such characters.
    """
    paths, skipped = _list_files(folder)
    for path in paths:
        file = _read_file(path, path.relative_to(folder).as_posix())
        if isinstance(file, TextFile):
            yield file
        else:
            skipped.append(file)
    yield from sorted(skipped, key=lambda file: Path(file.source))


def report_folder(folder: Path) -> FolderReport:
    """Read all text files below ``folder``, and report which give passages."""
    read: list[str] = []
    guessed: list[str] = []
    skipped: list[SkippedFile] = []
    for file in read_text_files(folder):
        if isinstance(file, SkippedFile):
            skipped.append(file)
            continue
        read.append(file.source)
        guessed += [file.source] if file.guessed else []
    return FolderReport(tuple(read), tuple(guessed), tuple(skipped))


def has_text_files(folder: Path) -> bool:
    """Return whether there are text or Markdown files below ``folder``, readable or not."""
    paths, _ = _list_files(folder)
    return bool(paths)


def folder_name(folder: Path) -> str:
    """Return the default name of a folder: its own, and a hash of its absolute path."""
    path = folder.resolve()
    name = path.name.encode(errors="replace").decode()
    return f"{name}-{content_hash(os.fsencode(path)).hex()[:8]}"


def warn_of_losses(
    folder: Path, guessed: Sequence[str], skipped: Sequence[SkippedFile], *, stacklevel: int
) -> None:
    """Warn of text files that couldn't be read, and of those whose encoding was guessed."""
    by_problem: dict[str, list[str]] = {}
    for file in skipped:
        if file.reason in _PROBLEMS:
            problem = f"{_PROBLEMS[file.reason]}{f' ({file.detail})' if file.detail else ''}"
            by_problem.setdefault(problem, []).append(file.source)
    messages = [
        f"left out {count_of(len(sources), 'file')}, such as {sources[0]!r:.80}: {problem}"
        for problem, sources in by_problem.items()
    ]
    if guessed:
        messages.append(
            f"read {count_of(len(guessed), 'file')} as Windows-1252, such as {guessed[0]!r:.80}: "
            "not Unicode; convert to UTF-8 if the text is wrong"
        )
    for message in messages:
        warnings.warn(f"{folder}: {message}", DegradedWarning, stacklevel=stacklevel + 1)


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 file`` and ``2 files``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _list_files(folder: Path) -> tuple[list[Path], list[SkippedFile]]:
    """Return the paths of the text files below ``folder``, sorted, and what else is there."""
    paths: list[Path] = []
    skipped: list[SkippedFile] = []

    def skip(path: Path, reason: str, detail: str = "") -> None:
        skipped.append(SkippedFile(path.relative_to(folder).as_posix(), reason, detail))

    def skip_folder(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise CorpusError(f"{folder} can't be read: {error.strerror}") from error
        skip(Path(error.filename), UNREADABLE, error.strerror or str(error))

    for base, folders, files in os.walk(folder, onerror=skip_folder):
        for name in list(folders):
            path = Path(base, name)
            if name.startswith("."):
                skip(path, HIDDEN)
            elif path.is_symlink():
                skip(path, LINK)
            else:
                continue
            folders.remove(name)
        for name in files:
            path = Path(base, name)
            if name.startswith("."):
                skip(path, HIDDEN)
            elif path.suffix.lower() not in TEXT + MARKDOWN:
                skip(path, path.suffix.lower() or "no suffix")
            else:
                paths.append(path)
    return sorted(paths), skipped


def _read_file(path: Path, source: str) -> TextFile | SkippedFile:
    """Read a file, or return why not."""
    try:
        source.encode()
    except UnicodeEncodeError:
        return SkippedFile(source, BAD_NAME)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for its writer
            return SkippedFile(source, NO_FILE)
        data = path.read_bytes()
    except OSError as error:
        reason = NO_FILE if error.errno in (errno.ENOENT, errno.ELOOP) else UNREADABLE
        return SkippedFile(source, reason, error.strerror or str(error))
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    text, guessed = _decode(data, encoding), False
    if text is None and b"\0" not in data and encoding == "utf-8-sig":
        text, guessed = _decode(data, _FALLBACK), True
    if text is None:
        return SkippedFile(source, UNKNOWN if b"\0" not in data else BINARY)
    if "\0" in text:
        return SkippedFile(source, BINARY)
    return TextFile(source, text, guessed) if text.strip() else SkippedFile(source, EMPTY)


def _decode(data: bytes, encoding: str) -> str | None:
    """Return text, or None for bytes that the encoding doesn't have."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None
