"""Reads plain text, Markdown, reStructuredText and source code, whose text stays as it is."""

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import PurePosixPath

from markdown_it import MarkdownIt

from twofold.corpus.documents.decoding import decode_text, find_coding
from twofold.corpus.documents.document import Document, Heading, find_line_starts

_HEADING = 1000
"""Characters of a heading that are read."""
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|$)")
_FRONT_MATTER = re.compile(
    r"\s*---[ \t]*[\r\n].*?[\r\n](?:---|\.\.\.)[ \t]*(?=[\r\n]|\Z)", re.DOTALL
)
_FRONT_TITLE = re.compile(r"[\r\n]title:([^\r\n]*)")
_MARKUP = re.compile(
    r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])|[*`]|\s*\{[#.:][^}]*\}\s*$"
    r"|</?(?:a|b|br|code|em|i|img|kbd|small|span|strong|sub|sup)\b[^>]*>"
)
_ADORNMENT = re.compile(r"([!-/:-@[-`{-~])\1{2,}[ \t]*$")
_ROLE = re.compile(r":[\w:+-]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`|`([^`<]*?)(?:\s*<[^`]*>)?`_{0,2}|[*`|]")


def read_text(data: bytes, source: str) -> Document:
    """Read plain text. The title is the file's name."""
    text, guessed = decode_text(data)
    return _as_document(text, PurePosixPath(source).stem, (), guessed=guessed)


def read_markdown(data: bytes, source: str) -> Document:
    """Read Markdown. The title is that of the front matter, the first heading or the name."""
    text, guessed = decode_text(data)
    front = _FRONT_MATTER.match(text)
    begin = front.end() if front is not None else 0
    headings = tuple(_find_markdown_headings(text, begin))
    named = _FRONT_TITLE.search(front[0]) if front is not None else None
    title = named[1].strip().strip("'\"").strip() if named is not None else ""
    title = title or (headings[0].text if headings else "")
    name = PurePosixPath(source).stem
    return _as_document(text, title or name, headings, guessed=guessed, is_markdown=True)


def read_restructured_text(data: bytes, source: str) -> Document:
    """Read reStructuredText. The title is the first section's, or the file's name."""
    text, guessed = decode_text(data)
    headings = tuple(_find_section_titles(text))
    title = headings[0].text if headings else PurePosixPath(source).stem
    return _as_document(text, title, headings, guessed=guessed)


def read_source(data: bytes, source: str) -> Document:
    """Read source code. The title is the path; in Python, classes and functions are headings."""
    text, guessed = decode_text(data, find_coding(data))
    is_python = PurePosixPath(source).suffix.lower() in (".py", ".pyi")
    headings = tuple(_find_definitions(text)) if is_python else ()
    return _as_document(text, source, headings, guessed=guessed)


def clean_heading(text: str) -> str:
    """Return a Markdown heading without links, emphasis, tags and attributes."""
    short = " ".join(text.split())[:_HEADING]
    return " ".join(_MARKUP.sub(lambda match: match[1] or "", short).split())


def find_markdown_headings(text: str) -> list[tuple[int, int, int, str]]:
    """Return the first line (from 0), the line after, the level and the text of each heading."""
    tokens = _MARKDOWN.parse(text)
    return [
        (token.map[0], token.map[1], int(token.tag[1:]), clean_heading(tokens[at + 1].content))
        for at, token in enumerate(tokens)
        if token.type == "heading_open" and token.map is not None and not token.level
    ]


def _make_parser() -> MarkdownIt:
    """Return a parser of blocks alone; inline markup stays as it is."""
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


_MARKDOWN = _make_parser()


def _as_document(
    text: str,
    title: str,
    headings: tuple[Heading, ...],
    *,
    guessed: bool,
    is_markdown: bool = False,
) -> Document:
    starts = find_line_starts(text)
    return Document(
        text, title, headings, "line", starts, is_markdown=is_markdown, is_guessed=guessed
    )


def _find_markdown_headings(text: str, begin: int) -> Iterator[Heading]:
    """Yield the headings with a text, from the offset ``begin`` on."""
    starts = find_line_starts(text[begin:])
    for line, _, level, heading in find_markdown_headings(text[begin:]):
        if heading:
            yield Heading(begin + starts[line], level, heading)


def _find_section_titles(text: str) -> Iterator[Heading]:
    """Yield the titles of reStructuredText: underlined lines, perhaps with a line above too.

    The first adornment that a document uses marks its highest level, and so on.
    """
    lines = [(match.start(), match[1]) for match in _LINE.finditer(text)]
    levels: dict[tuple[str, bool], int] = {}
    at = 0
    while at + 1 < len(lines):
        start, line = lines[at]
        over = _ADORNMENT.match(line) if not at or not lines[at - 1][1].strip() else None
        if over is not None and at + 2 < len(lines) and lines[at + 1][1].strip():
            under, title, kind = lines[at + 2][1], lines[at + 1][1], (line[0], True)
            if under.rstrip() == line.rstrip() and not _ADORNMENT.match(title):
                yield Heading(start, levels.setdefault(kind, len(levels) + 1), _plain_title(title))
                at += 3
                continue
        under = lines[at + 1][1].rstrip()
        begins = not at or not lines[at - 1][1].strip()
        is_text = bool(line.strip()) and not line[0].isspace() and not _ADORNMENT.match(line)
        if begins and is_text and _ADORNMENT.match(under) and len(under) >= min(len(line), 4):
            kind = (under[0], False)
            yield Heading(start, levels.setdefault(kind, len(levels) + 1), _plain_title(line))
            at += 1
        at += 1


def _plain_title(line: str) -> str:
    """Return a title of reStructuredText without roles, literals and emphasis."""
    return " ".join(_ROLE.sub(lambda match: match[1] or match[2] or "", line[:_HEADING]).split())


def _find_definitions(text: str) -> Iterator[Heading]:
    """Yield the classes, functions and methods of a Python file; none if it isn't valid."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old escapes in strings
            module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    starts = find_line_starts(text)
    yield from _definitions_in(module.body, starts, 1)


def _definitions_in(body: list[ast.stmt], starts: tuple[int, ...], level: int) -> Iterator[Heading]:
    is_inside = False
    for node in body:
        if node.lineno > len(starts):  # lines are counted in another way
            return
        is_definition = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
        if is_definition:
            yield Heading(starts[first - 1], level, getattr(node, "name", ""))
            if isinstance(node, ast.ClassDef):
                yield from _definitions_in(node.body, starts, level + 1)
        elif is_inside:  # code after a definition belongs to what is around
            yield Heading(starts[first - 1], level, "")
        is_inside = is_definition
