"""A folder of about 200 files in all formats: those of installed packages, and made ones."""

import csv
import gzip
import io
import json
import random
import shutil
import sysconfig
import zipfile
from html import escape
from pathlib import Path

import docx
import pptx
from reportlab.lib.pagesizes import A5
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer

DATA = Path(__file__).parent.parent / "examples" / "data" / "scifact-1000" / "corpus.jsonl.gz"
PACKAGES = Path(sysconfig.get_path("purelib"))
COLLECTED = {".md": 40, ".rst": 14, ".txt": 40, ".py": 20, ".json": 8, ".csv": 4, ".pdf": 8}
"""How many files of installed packages are taken, by suffix."""
MADE = 6
"""How many files are made in each format."""


def read_abstracts(count):
    """Return (title, text) of real abstracts."""
    with gzip.open(DATA, "rt", encoding="utf-8") as file:
        rows = [json.loads(next(file)) for _ in range(count)]
    return [(row["title"], row["text"]) for row in rows]


def make_pdf(title, chapters, password=None):
    """Return a PDF with an outline, each chapter on a page."""

    class Outlined(SimpleDocTemplate):
        def afterFlowable(self, flowable):  # noqa: N802 - reportlab's name
            if getattr(flowable, "entry", None):
                self.canv.bookmarkPage(flowable.entry)
                self.canv.addOutlineEntry(flowable.entry, flowable.entry, 0)

    styles, target = getSampleStyleSheet(), io.BytesIO()
    story = []
    for name, text in chapters:
        heading = Paragraph(escape(name), styles["Heading1"])
        heading.entry = name
        story += [heading, Paragraph(escape(text), styles["BodyText"]), Spacer(1, 12), PageBreak()]
    encrypt = {"encrypt": password} if password is not None else {}
    Outlined(target, pagesize=A5, title=title, **encrypt).build(story)
    return target.getvalue()


def make_docx(title, chapters):
    """Return a Word file with headings, a list and a table."""
    file, target = docx.Document(), io.BytesIO()
    file.add_heading(title, 0)
    for name, text in chapters:
        file.add_heading(name, 1)
        file.add_paragraph(text)
        file.add_paragraph("an item", style="List Bullet")
        table = file.add_table(rows=1, cols=2)
        table.rows[0].cells[0].text, table.rows[0].cells[1].text = "words", str(len(text.split()))
    file.save(target)
    return target.getvalue()


def make_pptx(title, chapters):
    """Return a PowerPoint file with a slide and notes for each chapter."""
    file, target = pptx.Presentation(), io.BytesIO()
    file.core_properties.title = title
    for name, text in chapters:
        slide = file.slides.add_slide(file.slide_layouts[1])
        slide.shapes.title.text = name
        slide.placeholders[1].text = text
        slide.notes_slide.notes_text_frame.text = f"notes on {name}"
    file.save(target)
    return target.getvalue()


def make_html(title, chapters):
    """Return a page with navigation, scripts and a footer around its chapters."""
    body = "".join(
        f"<h2>{escape(name)}<a class=headerlink href=#x>¶</a></h2><p>{escape(text)}</p>"
        for name, text in chapters
    )
    return (
        f"<!doctype html><html><head><meta charset=utf-8><title>{escape(title)} - site</title>"
        "<script>var hidden = 'script';</script><style>p {color: red}</style></head>"
        f"<body><nav>the navigation</nav><main><h1>{escape(title)}</h1>{body}</main>"
        "<footer>the footer</footer></body></html>"
    ).encode()


def make_epub(title, chapters):
    """Return an EPUB file."""
    target = io.BytesIO()
    names = [f"c{number}.xhtml" for number in range(len(chapters))]
    items = "".join(
        f'<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>' for name in names
    )
    spine = "".join(f'<itemref idref="{name}"/>' for name in names)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:'
            'container"><rootfiles><rootfile full-path="OEBPS/content.opf"/></rootfiles>'
            "</container>",
        )
        archive.writestr(
            "OEBPS/content.opf",
            '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/'
            f'dc/elements/1.1/"><dc:title>{escape(title)}</dc:title></metadata><manifest>{items}'
            f"</manifest><spine>{spine}</spine></package>",
        )
        for name, (heading, text) in zip(names, chapters, strict=True):
            archive.writestr(
                f"OEBPS/{name}",
                '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml">'
                f"<head><title>x</title></head><body><h1>{escape(heading)}</h1><p>{escape(text)}"
                "</p></body></html>",
            )
    return target.getvalue()


def make_notebook(title, chapters):
    """Return a notebook with a Markdown and a code cell for each chapter, and an output."""
    cells = [{"cell_type": "markdown", "metadata": {}, "source": [f"# {title}\n"]}]
    for name, text in chapters:
        cells.append({"cell_type": "markdown", "metadata": {}, "source": f"## {name}\n\n{text}"})
        output = {"output_type": "stream", "name": "stdout", "text": ["an output"]}
        cells.append(
            {
                "cell_type": "code",
                "metadata": {},
                "execution_count": 1,
                "outputs": [output],
                "source": ["import math\n", f"math.sqrt({len(text)})"],
            }
        )
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook).encode()


def make_csv(title, chapters):
    """Return a table of the chapters."""
    target = io.StringIO()
    writer = csv.writer(target)
    writer.writerow(["name", "words", "summary"])
    writer.writerows([name, len(text.split()), text] for name, text in chapters)
    return target.getvalue().encode()


def make_json(title, chapters):
    """Return a list of objects."""
    return json.dumps([{"name": name, "summary": text} for name, text in chapters]).encode()


def make_json_lines(title, chapters):
    """Return an object in each line, with ids and texts."""
    rows = [{"id": f"r{at}", "title": n, "text": t} for at, (n, t) in enumerate(chapters)]
    return "\n".join(map(json.dumps, rows)).encode()


def make_markdown(title, chapters):
    """Return Markdown with a heading for each chapter."""
    sections = "".join(f"## {name}\n\n{text}\n\n" for name, text in chapters)
    return f"# {title}\n\n{sections}".encode()


def make_rst(title, chapters):
    """Return reStructuredText with an underlined title for each chapter."""
    sections = "".join(f"{n}\n{'-' * len(n)}\n\n{t}\n\n" for n, t in chapters)
    return f"{'=' * len(title)}\n{title}\n{'=' * len(title)}\n\n{sections}".encode()


MAKERS = {
    ".pdf": make_pdf,
    ".docx": make_docx,
    ".pptx": make_pptx,
    ".html": make_html,
    ".epub": make_epub,
    ".ipynb": make_notebook,
    ".csv": make_csv,
    ".json": make_json,
    ".jsonl": make_json_lines,
    ".md": make_markdown,
    ".rst": make_rst,
}
"""By suffix, the function that makes a file of a title and chapters (name, text)."""


def make_mixed_folder(folder):
    """Fill a folder with files, and return for each made one a sentence that only it has."""
    abstracts = read_abstracts(3 * MADE * len(MAKERS))
    planted = {}
    for suffix, make in MAKERS.items():
        for number in range(MADE):
            chapters = [abstracts.pop() for _ in range(3)]
            word = f"zq{suffix[1:]}{'abcdefgh'[number]}"
            name, text = chapters[1]
            chapters[1] = name, f"{text} The code word of this document is {word}."
            path = folder / f"made {suffix[1:]}" / f"file {number}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make(f"Collected {suffix[1:]} {number}", chapters))
            planted[path.relative_to(folder).as_posix()] = word
    chosen = random.Random(7)
    for suffix, count in COLLECTED.items():
        found = sorted(p for p in PACKAGES.rglob(f"*{suffix}") if 500 < p.stat().st_size < 20_000)
        for number, path in enumerate(chosen.sample(found, min(count, len(found)))):
            target = folder / "packages" / suffix[1:] / f"{number} {path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return planted
