"""The file formats, and the reader of each."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePosixPath

from twofold.corpus.documents.document import Document, UnreadableError
from twofold.corpus.documents.reasons import BROKEN, EMPTY, NO_PACKAGE, NO_TEXT
from twofold.errors import MissingExtraError
from twofold.extras import check_extra

_HERE = "twofold.corpus.documents"


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A format of files that give text.

    Attributes:
        name: Its name in messages.
        suffixes: The suffixes of its files, in small letters.
        reader: The module in this package and the function that read it.
        packages: The modules that the reader needs, all of the extra ``files``.
    """

    name: str
    suffixes: tuple[str, ...]
    reader: tuple[str, str]
    packages: tuple[str, ...] = ()


_SOURCES = (
    ".py .pyi .ipy .js .mjs .cjs .jsx .ts .tsx .java .kt .kts .scala .groovy .c .h .cc .cpp .cxx "
    ".hpp .hh .cs .go .rs .rb .php .swift .m .mm .r .jl .lua .pl .pm .sh .bash .zsh .fish .ps1 "
    ".bat .sql .clj .ex .exs .erl .hs .ml .fs .vb .dart .zig .proto .graphql .css .scss .less "
    ".vue .svelte .yaml .yml .toml .ini .cfg .conf .properties .cmake .mk .dockerfile .tf"
)
_MARKDOWN = (".md", ".markdown", ".mdx", ".qmd", ".rmd")
FORMATS = (
    FileFormat("text", (".txt", ".text", ".log", ".adoc", ".org", ".tex"), ("plain", "read_text")),
    FileFormat("Markdown", _MARKDOWN, ("plain", "read_markdown")),
    FileFormat("reStructuredText", (".rst", ".rest"), ("plain", "read_restructured_text")),
    FileFormat("source code", tuple(_SOURCES.split()), ("plain", "read_source")),
    FileFormat("notebook", (".ipynb",), ("notebook", "read_notebook")),
    FileFormat("table", (".csv", ".tsv", ".tab"), ("tables", "read_table")),
    FileFormat("JSON", (".json",), ("tables", "read_json")),
    FileFormat("JSON lines", (".jsonl", ".ndjson"), ("tables", "read_json_lines")),
    FileFormat("HTML", (".html", ".htm", ".xhtml"), ("html", "read_html"), ("lxml",)),
    FileFormat("PDF", (".pdf",), ("pdf", "read_pdf"), ("pypdfium2",)),
    FileFormat("Word", (".docx", ".docm"), ("office", "read_docx"), ("docx", "lxml")),
    FileFormat("PowerPoint", (".pptx", ".pptm"), ("office", "read_pptx"), ("pptx", "lxml")),
    FileFormat("EPUB", (".epub",), ("epub", "read_epub"), ("lxml",)),
)
"""All formats that are read."""

_BLANKS = b" \t\r\n\f\v\0\xef\xbb\xbf\xfe\xff"
"""Bytes of blanks and byte order marks."""
_BY_SUFFIX = {suffix: each for each in FORMATS for suffix in each.suffixes}
_TEXT_NAMES = frozenset(
    (
        *("readme", "license", "licence", "copying", "notice", "authors", "contributors", "todo"),
        *("changelog", "changes", "history", "news", "install", "makefile", "dockerfile"),
    )
)
"""Names of files without a suffix that are text."""


def find_format(name: str) -> FileFormat | None:
    """Return the format of a file by its name, None if there is no reader for it."""
    path = PurePosixPath(name)
    if not path.suffix:
        return FORMATS[0] if path.name.lower() in _TEXT_NAMES else None
    return _BY_SUFFIX.get(path.suffix.lower())


def parse_document(data: bytes, source: str, file_format: FileFormat) -> Document:
    """Return the text of a file from its bytes.

    Raises:
        UnreadableError: The file gives no text, with the reason.
    """
    try:
        check_extra("files", f"{file_format.name} files", *file_format.packages)
    except MissingExtraError as error:
        raise UnreadableError(NO_PACKAGE, str(error)) from error
    module, function = file_format.reader
    read: Callable[[bytes, str], Document] = getattr(import_module(f"{_HERE}.{module}"), function)
    try:
        document = read(data, source)
    except UnreadableError:
        raise
    except Exception as error:
        problem = f"{file_format.name}: {type(error).__name__}: {error}"
        raise UnreadableError(BROKEN, problem[:300]) from error
    if not document.text.strip():
        is_blank = module == "plain" or not data.strip(_BLANKS)
        raise UnreadableError(EMPTY if is_blank else NO_TEXT)
    return document.without_surrogates()
