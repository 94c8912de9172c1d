"""Reads Jupyter notebooks: the text of Markdown and code cells, without outputs."""

import json
from pathlib import PurePosixPath
from typing import Any

from twofold.corpus.documents.decoding import decode_text
from twofold.corpus.documents.document import Document, DocumentBuilder, UnreadableError
from twofold.corpus.documents.plain import find_markdown_headings
from twofold.corpus.documents.reasons import BROKEN


def read_notebook(data: bytes, source: str) -> Document:
    """Read a notebook. The title is its first heading, or its name."""
    text, _ = decode_text(data)
    try:
        notebook = json.loads(text)
        sheets = notebook.get("worksheets") or [notebook]  # of notebooks before version 4
        cells: list[dict[str, Any]] = [cell for sheet in sheets for cell in sheet["cells"]]
        sources = [
            (cell["cell_type"], "".join(cell.get("source", cell.get("input", ""))))
            for cell in cells
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"no notebook: {type(error).__name__} {error}"
        raise UnreadableError(BROKEN, problem) from error
    builder = DocumentBuilder("cell")
    for kind, cell in sources:
        builder.begin_place()
        if kind == "markdown":
            _add_markdown(builder, cell)
        else:
            builder.add_block(cell)
    return builder.build(builder.find_title() or PurePosixPath(source).stem)


def _add_markdown(builder: DocumentBuilder, text: str) -> None:
    """Add a Markdown cell, in which each heading begins a block."""
    lines = text.splitlines(keepends=True)
    begun = 0
    for first, end, level, heading in find_markdown_headings("\n".join(text.splitlines())):
        builder.add_block("".join(lines[begun:first]))
        begun = first
        if heading:
            builder.add_heading(level, heading, "".join(lines[first:end]))
            begun = end
    builder.add_block("".join(lines[begun:]))
