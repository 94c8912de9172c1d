"""Reads Word files by python-docx, and PowerPoint files by python-pptx."""

import io
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from twofold.corpus.documents.archives import check_zip
from twofold.corpus.documents.document import Document, DocumentBuilder

_HEADING_STYLE = re.compile(r"heading (\d)", re.IGNORECASE)
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEFT_OUT = (
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",  # for older programs
    f"{_W}moveFrom",
)
_TEXTS = tuple(f"{_W}{name}" for name in ("t", "tab", "br", "cr", "noBreakHyphen", "p"))
_CONTAINERS = tuple(f"{_W}{name}" for name in ("sdt", "sdtContent", "customXml", "ins", "moveTo"))


def read_docx(data: bytes, source: str) -> Document:
    """Read a Word file, insertions and content controls included, deletions not."""
    import docx

    check_zip(data)
    file = docx.Document(io.BytesIO(data))
    levels = {style.style_id: _heading_level(style.name) for style in file.styles}
    builder = DocumentBuilder()
    title = ""
    for kind, element in _walk_body(file.element.body):
        if kind == "table":
            builder.add_block("\n".join(_docx_rows(element)))
            continue
        text = _paragraph_text(element)
        style = element.find(f"{_W}pPr/{_W}pStyle")
        level = levels.get(style.get(f"{_W}val")) if style is not None else None
        if level is None:
            is_item = element.find(f"{_W}pPr/{_W}numPr") is not None
            builder.add_block(f"- {text}" if is_item and text.strip() else text)
        else:
            builder.add_heading(max(level, 1), text)
            title = title or (" ".join(text.split()) if level == 0 else "")
    named = " ".join(str(file.core_properties.title or "").split())
    return builder.build(named or title or builder.find_title() or PurePosixPath(source).stem)


def read_pptx(data: bytes, source: str) -> Document:
    """Read a PowerPoint file, slide by slide, with tables and notes."""
    import pptx

    check_zip(data)
    file = pptx.Presentation(io.BytesIO(data))
    builder = DocumentBuilder("slide")
    for slide in file.slides:
        builder.begin_place()
        title = slide.shapes.title
        if title is not None:
            builder.add_heading(1, title.text_frame.text)
        for shape in _flatten(slide.shapes):
            if title is not None and shape.shape_id == title.shape_id:
                continue
            if shape.has_text_frame:
                builder.add_block(shape.text_frame.text.replace("\v", "\n"))
            elif getattr(shape, "has_table", False):
                rows = ([cell.text for cell in row.cells] for row in shape.table.rows)
                builder.add_block("\n".join(" | ".join(row) for row in rows if any(row)))
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            builder.add_block(slide.notes_slide.notes_text_frame.text)
    named = " ".join(str(file.core_properties.title or "").split())
    if named == "PowerPoint Presentation":  # what PowerPoint writes without a title
        named = ""
    return builder.build(named or builder.find_title() or PurePosixPath(source).stem)


def _heading_level(name: str | None) -> int | None:
    """Return the level of a heading's style, 0 for the title, None for other styles."""
    if name is None:
        return None
    if name.lower() == "title":
        return 0
    found = _HEADING_STYLE.fullmatch(name)
    return int(found[1]) if found is not None else None


def _walk_body(element: Any) -> Iterator[tuple[str, Any]]:
    """Yield the paragraphs and tables of a body in order, those of content controls too."""
    for child in element:
        if child.tag == f"{_W}p":
            yield "paragraph", child
        elif child.tag == f"{_W}tbl":
            yield "table", child
        elif child.tag in _CONTAINERS:
            yield from _walk_body(child)


def _paragraph_text(paragraph: Any) -> str:
    """Return the text of a paragraph, with links and insertions."""
    parts: list[str] = []
    for node in paragraph.iter(*_TEXTS):
        if node is paragraph or any(above.tag in _LEFT_OUT for above in node.iterancestors()):
            continue
        if node.tag == f"{_W}t":
            parts.append(node.text or "")
        else:
            parts.append({f"{_W}tab": "\t", f"{_W}noBreakHyphen": "-"}.get(node.tag, "\n"))
    return "".join(parts)


def _docx_rows(table: Any) -> Iterator[str]:
    for row in _find_children(table, f"{_W}tr"):
        cells = [
            " ".join(" ".join(map(_paragraph_text, _cell_paragraphs(cell))).split())
            for cell in _find_children(row, f"{_W}tc")
        ]
        if any(cells):
            yield " | ".join(cells)


def _find_children(element: Any, tag: str) -> Iterator[Any]:
    """Yield the children with a tag, those in content controls too."""
    for child in element:
        if child.tag == tag:
            yield child
        elif child.tag in _CONTAINERS:
            yield from _find_children(child, tag)


def _cell_paragraphs(cell: Any) -> Iterator[Any]:
    """Yield the paragraphs of a cell, those of tables in it too, but not those in paragraphs."""
    for paragraph in cell.iter(f"{_W}p"):
        if not any(above.tag == f"{_W}p" for above in paragraph.iterancestors()):
            yield paragraph


def _flatten(shapes: Any) -> Iterator[Any]:
    """Yield shapes in order, those of groups too."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _flatten(shape.shapes)
        else:
            yield shape
