"""The readers of the file formats, on files that well-kept libraries or standards make."""

import io
import json
import zipfile

import docx
import pptx
import pytest

from mixed_folder import MAKERS, make_epub, make_mixed_folder, make_pdf
from twofold.corpus import read_document, read_folder
from twofold.errors import CorpusError, DegradedWarning
from twofold.extras import is_installed

CHAPTERS = [
    ("Brewing", "Steep green tea for two minutes, and black tea for four. " * 4),
    ("Storing", "Tea keeps for a year in a dark tin. The code word is zephyr. " * 4),
]


def read(path, data):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_document(path)


@pytest.mark.parametrize("suffix", [*MAKERS])
@pytest.mark.parametrize("capital", [False, True])
def test_every_format_gives_its_text_its_titles_and_its_places(tmp_path, suffix, capital):
    path = tmp_path / f"a{suffix.upper() if capital else suffix}"
    path.write_bytes(MAKERS[suffix]("All about tea", CHAPTERS))
    document = read_document(path)
    for words in ("Steep green tea", "dark tin", "code word is zephyr"):
        assert words in " ".join(document.text.split())
    for words in ("navigation", "footer", "hidden", "an output", "color", "¶"):
        assert words not in document.text
    contents = read_folder(tmp_path)
    assert contents.report.skipped == ()
    found = [passage for passage in contents if "zephyr" in passage.text]
    for passage in contents:
        metadata = passage.metadata
        assert document.text[metadata["start"] : metadata["end"]] == passage.text
    if suffix == ".jsonl":
        assert found[0].title == "Storing"
        assert found[0].id == f"{path.name}#r1"
    elif suffix in (".csv", ".json"):
        assert found[0].title == "a"
        assert found[0].metadata["name"] == "Storing"
        assert "summary" not in found[0].metadata  # it is the text
    else:
        assert document.title == "All about tea"
        assert {passage.title for passage in found} == {"All about tea > Storing"}
        assert {passage.metadata["section"] for passage in found} == {"Storing"}
    places = {".pdf": ("page", 2), ".pptx": ("slide", 2), ".epub": ("chapter", 2)}
    places |= {".csv": ("row", 2), ".json": ("item", 2), ".jsonl": ("line", 2)}
    places |= {".md": ("line", 7), ".rst": ("line", 10)}
    if suffix in places:
        name, number = places[suffix]
        assert found[0].metadata[name] == number


def test_python_files_have_the_path_and_the_definitions_as_titles(tmp_path):
    code = (
        '"""About tea."""\n\nimport tea\n\n\n'
        "@tea.hot\nclass Kettle:\n"
        f'    """{"Boils water. " * 12}"""\n\n'
        f'    def boil(self):\n        """{"To the boil. " * 12}"""\n\n'
        f'    @property\n    def level(self):\n        """{"The level. " * 12}"""\n\n\n'
        f"LATER = '{'x' * 150}'\n"
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "kettle.py").write_text(code)
    (tmp_path / "broken.py").write_text("def f(:\n" + "    pass\n" * 40)
    passages = read_folder(tmp_path)
    titles = {p.title: p.metadata["line"] for p in passages if p.title.startswith("sub")}
    assert titles == {
        "sub/kettle.py": 18,
        "sub/kettle.py > Kettle": 1,  # the short beginning is joined to what follows
        "sub/kettle.py > Kettle > boil": 10,
        "sub/kettle.py > Kettle > level": 13,
    }
    assert any(passage.title == "broken.py" for passage in passages)


MARKDOWN = [
    ("# A\n\ntext\n\n## B `code` [link](x) {#b}\n\nmore", ["A", "B code link"]),
    ("A\n===\n\ntext\n\nB\n---\n\nmore", ["A", "B"]),
    ("---\ntitle: 'Front'\ntags: [a]\n---\n\n# A\n", ["A"]),
    ("```\n# no\n```\n\n~~~\n# no\n~~~\n\n    # no\n\n# A\n", ["A"]),
    ("<div>\n# no\n</div>\n\n# A\n", ["A"]),
    ("> # quoted\n\n- # item\n\n# A\n", ["A"]),
]


@pytest.mark.parametrize(("text", "headings"), MARKDOWN)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_markdown_headings(tmp_path, text, headings, end):
    document = read(tmp_path / "a.md", text.replace("\n", end))
    assert [heading.text for heading in document.headings] == headings
    for heading in document.headings:
        assert document.text[heading.start :].lstrip("# ").startswith(heading.text[0])
    assert document.title == ("Front" if text.startswith("---") else headings[0])


def test_headings_of_a_million_brackets_are_read_in_a_moment(tmp_path):
    for odd in ("[" * 1_000_000, "<a" * 500_000, ":a" * 500_000, "`" * 1_000_000):
        assert len(read(tmp_path / "a.md", f"# x {odd}\n").headings[0].text) <= 1000
        text = f"x {odd}\n{'=' * 1_000_010}\n"
        assert len(read(tmp_path / "a.rst", text).headings[0].text) <= 1000


def test_titles_of_restructured_text(tmp_path):
    text = (
        ".. comment\n\n=====\n Tea\n=====\n\ntext\n\nGreen *tea*\n-----------\n\ntext::\n\n"
        "    literal\n    -------\n\n=====  =====\nno     title\n=====  =====\n\n"
        "Steeping :func:`~tea.steep`\n^^^^^^^^^^^^^^^^^^^^^^^^^^^\n\nBlack\n-----\n\nend\n"
    )
    document = read(tmp_path / "a.rst", text)
    assert [(each.level, each.text) for each in document.headings] == [
        (1, "Tea"),
        (2, "Green tea"),
        (3, "Steeping tea.steep"),
        (2, "Black"),
    ]


def test_html_in_a_declared_encoding_and_without_a_body(tmp_path):
    page = "<html><head><meta charset='shift_jis'></head><body><h1>お茶</h1><p>緑茶</p></body>"
    document = read(tmp_path / "a.html", page.encode("shift_jis"))
    assert (document.title, document.text) == ("お茶", "お茶\n\n緑茶")
    fragment = read(tmp_path / "b.html", "<p>one <b>two</b>three<br>four<p>five<ul><li>six</ul>")
    assert fragment.text == "one twothree four\n\nfive\n\n- six"
    assert read(tmp_path / "c.htm", "plain words").text == "plain words"
    blocks = "<td><p>Hello</p><p>World</p></td><td>one<ul><li>two</li></ul></td>"
    page = f"<form><h2><div>Alpha</div><div>Beta</div></h2><table><tr>{blocks}</table></form>"
    assert read(tmp_path / "g.html", page).text == "Alpha Beta\n\nHello World | one two"
    nested = "<table><tr><td>outer<table><tr><td>inner</table></table>"
    assert read(tmp_path / "h.html", nested).text == "outer inner"
    for odd in (
        "<main><script>x</script></main><p>Body words",
        "<main hidden>old</main><main>Body words</main>",
        "<form>Body words</form>",
        "<div>" * 205 + "Body <b>words</b><table><tr><td>cell</table>",
        "<font>x " * 3000 + "<p>Body words",
        "<div>" * 3000 + "Body&nbsp;words<script>if (a<b) evil()</script> end",
    ):
        text = " ".join(read(tmp_path / "i.html", odd).text.split())
        assert "Body words" in text
        assert "evil" not in text
    table = "<table><tr><th>a<th>b<tr><td>1<td>2</table><pre>  x\n    y</pre>"
    assert read(tmp_path / "d.html", table).text == "a | b\n1 | 2\n\n  x\n    y"
    deep = "<div>" * 2_000 + "deep" + "</div>" * 2_000
    assert "deep" in read(tmp_path / "e.html", deep + "<p>end").text
    hidden = "<p hidden>no<p>yes<div role=navigation>no</div><header>no</header>"
    assert read(tmp_path / "f.html", hidden).text == "yes"


def test_word_files_keep_insertions_controls_and_tables(tmp_path):
    file = docx.Document()
    file.add_heading("Title of it", 0)
    paragraph = file.add_paragraph("before ")
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    for tag, name, text in (("ins", "t", "inserted "), ("del", "delText", "deleted ")):
        change = paragraph._p.makeelement(f"{{{word}}}{tag}", {})
        run = change.makeelement(f"{{{word}}}r", {})
        node = run.makeelement(f"{{{word}}}{name}", {})
        node.text = text
        run.append(node)
        change.append(run)
        paragraph._p.append(change)
    control = file.element.body.makeelement(f"{{{word}}}sdt", {})
    content = control.makeelement(f"{{{word}}}sdtContent", {})
    control.append(content)
    inside = file.add_paragraph("in a control")
    content.append(inside._p)
    file.element.body.insert(2, control)
    table = file.add_table(2, 2)
    for at, text in enumerate(("a", "b", "c", "d")):
        table.cell(at // 2, at % 2).text = text
    target = io.BytesIO()
    file.save(target)
    document = read(tmp_path / "a.docx", target.getvalue())
    assert document.title == "Title of it"
    assert document.text == "Title of it\n\nbefore inserted\n\nin a control\n\na | b\nc | d"


def test_tables_in_tables_are_read_once(tmp_path):
    file = docx.Document()
    cell = file.add_table(1, 1).cell(0, 0)
    cell.text = "outer"
    cell.add_table(1, 1).cell(0, 0).text = "inner"
    target = io.BytesIO()
    file.save(target)
    assert read(tmp_path / "a.docx", target.getvalue()).text == "outer inner"
    file = docx.Document()
    table = file.add_table(2, 2)
    for at, text in enumerate(("a", "b", "c", "d")):
        table.cell(at // 2, at % 2).text = text
    for element in (table.rows[0]._tr, table.cell(1, 1)._tc):  # in content controls
        control = element.makeelement(element.tag.replace("}tr", "}sdt").replace("}tc", "}sdt"), {})
        content = control.makeelement(control.tag.replace("}sdt", "}sdtContent"), {})
        element.getparent().replace(element, control)
        control.append(content)
        content.append(element)
    target = io.BytesIO()
    file.save(target)
    assert read(tmp_path / "b.docx", target.getvalue()).text == "a | b\nc | d"


def test_notebooks_keep_the_words_of_headings(tmp_path):
    cells = ["# Compare List<String> with vector<int>\n\ntext", "Two\nlines\n===\n", "\ud800 half"]
    notebook = {"cells": [{"cell_type": "markdown", "source": cell} for cell in cells]}
    document = read(tmp_path / "a.ipynb", json.dumps(notebook))
    assert document.title == "Compare List<String> with vector<int>"
    assert document.text == (
        "# Compare List<String> with vector<int>\n\ntext\n\nTwo\nlines\n===\n\n\ufffd half"
    )
    assert document.headings[0].text == "Compare List<String> with vector<int>"
    assert len(read_folder(tmp_path)) == 1


def test_long_lines_are_split_in_a_moment(tmp_path):
    words = " ".join(f"word{n}" for n in range(300_000))
    read(tmp_path / "a.txt", words)
    read(tmp_path / "b.md", f"---\ntitle: x{' ' * 200_000}y\n---\n" + "[" * 200_000)
    read(tmp_path / "c.csv", "a,b\n" + '"",' * 100_000 + '"x"\n')
    passages = read_folder(tmp_path)
    found = {p.metadata["source"] for p in passages}
    assert found == {"a.txt", "b.md", "c.csv"}
    texts = [p for p in passages if p.metadata["source"] == "a.txt"]
    assert all(len(p.text) <= 1000 for p in texts)
    covered = {at for p in texts for at in range(p.metadata["start"], p.metadata["end"])}
    assert all(at in covered or char == " " for at, char in enumerate(words))


def test_slides_without_titles_groups_and_notes(tmp_path):
    file = pptx.Presentation()
    slide = file.slides.add_slide(file.slide_layouts[6])
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 100, 100).text_frame.text = "in a group"
    rows = slide.shapes.add_table(1, 2, 0, 0, 100, 100).table
    rows.cell(0, 0).text, rows.cell(0, 1).text = "a", "b"
    slide.notes_slide.notes_text_frame.text = "say this"
    target = io.BytesIO()
    file.save(target)
    document = read(tmp_path / "a.pptx", target.getvalue())
    assert document.text == "in a group\n\na | b\n\nsay this"
    assert document.title == "a"


def test_tables_with_other_delimiters_and_types(tmp_path):
    table = "name;price;code;note\nTea;3.50;007;\n;4;008;good\n\n"
    first, second = read_folder_of(tmp_path / "one", "a.csv", table)
    assert first.text == "name: Tea\nprice: 3.50\ncode: 007"
    wanted = {"name": "Tea", "price": 3.5, "code": "007", "note": "", "row": 1}
    assert {key: first.metadata.get(key) for key in wanted} == wanted
    assert second.metadata["price"] == 4.0
    (one,) = read_folder_of(tmp_path / "two", "a.tsv", 'id\ttext\n7\tsays "hello"\n')
    assert (one.id, one.text) == ("a.tsv#7", 'says "hello"')
    (alone,) = read_folder_of(tmp_path / "three", "a.csv", "word\ntea\n")
    assert alone.text == "word: tea"
    (single,) = read_folder_of(tmp_path / "four", "a.csv", "tea,3\n")
    assert single.text == "column 1: tea\ncolumn 2: 3"
    quoted = '"size","note"\n"3.5"" disk\nold","red"\n\n"cable","x"\n'
    disk, cable = read_folder_of(tmp_path / "five", "a.csv", quoted)
    assert disk.text == 'size: 3.5" disk\nold\nnote: red'
    assert cable.metadata["row"] == 3
    one, two = read_folder_of(tmp_path / "six", "a.csv", "id,Note,Note\n1.1,a,b\n1.10,c,\n")
    assert [one.id, two.id] == ["a.csv#1.1", "a.csv#1.10"]
    assert (one.metadata["Note"], one.metadata["Note 3"]) == ("a", "b")
    quotes = "quote\nTo be; or not\nI am; you are\n"
    first, _ = read_folder_of(tmp_path / "nine", "a.csv", quotes)
    assert first.text == "quote: To be; or not"
    (rest,) = read_folder_of(tmp_path / "seven", "a.csv", "text,kind\n,words elsewhere\n")
    assert rest.text == "kind: words elsewhere"
    long = read_folder_of(tmp_path / "eight", "a.csv", f"a,b\n{'x' * 200_000},1\n")
    assert sum(passage.text.count("x") for passage in long) >= 200_000


def read_folder_of(folder, name, text):
    read(folder / name, text)
    return read_folder(folder)


def test_json_of_every_shape(tmp_path):
    (one,) = read_folder_of(tmp_path / "a", "a.json", '{"a": {"b": [1, 2]}, "c": [{"d": "x"}]}')
    assert one.text == "a.b: 1, 2\nc.1.d: x"
    (two,) = read_folder_of(tmp_path / "b", "a.json", '["x", [1, "y"]]')
    assert two.text == "1: x\n2: 1, y"
    items = '[{"id": 3, "title": "T", "contents": "words", "metadata": {"year": 1}, "n": 2}]'
    (three,) = read_folder_of(tmp_path / "c", "a.json", items)
    assert (three.id, three.title, three.text) == ("a.json#3", "T", "words")
    assert (three.metadata["year"], three.metadata["n"]) == (1, 2)
    for other in ('{"id": 1, "text": "b"}', '{"text": "b"}'):  # then no id counts
        rows = '{"id": 1, "text": "a"}\n' + other
        ids = [passage.id for passage in read_folder_of(tmp_path / "d", "a.jsonl", rows)]
        assert ids == ["a.jsonl#0", "a.jsonl#1"]
    rows = '{"text": "", "contents": "real words"}\n{"text": "foo", "metadata": "more"}'
    first, second = read_folder_of(tmp_path / "e", "a.jsonl", rows)
    assert first.text == "real words"
    assert second.metadata["metadata"] == "more"


def encrypted_epub():
    target = io.BytesIO(make_epub("a", CHAPTERS))
    rights = (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><EncryptedData '
        'xmlns="http://www.w3.org/2001/04/xmlenc#"><EncryptionMethod Algorithm="x"/>'
        "</EncryptedData></encryption>"
    )
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("META-INF/encryption.xml", rights)
    return target.getvalue()


def entity_bomb():
    target = io.BytesIO()
    lines = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 20}">' for n in range(1, 12))
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(
            "META-INF/container.xml", f'<!DOCTYPE x [<!ENTITY a0 "ha">{lines}]><x>&a11;</x>'
        )
    return target.getvalue()


NOISE = bytes((n * 167 + n // 256 * 31) % 256 for n in range(4000))
BAD = [
    ("a.pdf", NOISE, "broken"),
    ("a.pdf", make_pdf("t", CHAPTERS)[:300], "broken"),
    ("a.pdf", make_pdf("t", CHAPTERS, password="secret"), "protected"),
    ("a.docx", NOISE, "broken"),
    ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NOISE, "protected"),
    ("a.docx", MAKERS[".pptx"]("t", CHAPTERS), "broken"),
    ("a.docx", MAKERS[".docx"]("t", CHAPTERS)[:2000], "broken"),
    ("a.pptx", MAKERS[".docx"]("t", CHAPTERS), "broken"),
    ("a.epub", NOISE, "broken"),
    ("a.epub", MAKERS[".docx"]("t", CHAPTERS), "broken"),
    ("a.epub", encrypted_epub(), "protected"),
    ("a.epub", entity_bomb(), "broken"),
    ("a.ipynb", b"{}", "broken"),
    ("a.ipynb", b"[1]", "broken"),
    ("a.json", b"{", "broken"),
    ("a.json", b"[" * 100_000, "broken"),
    ("a.json", b'{"a": NaN}', "broken"),
    ("a.jsonl", b'{"text": "x"}\n{', "broken"),
    ("a.html", b"\0\1", "binary"),
    ("a.html", b"<!-- nothing -->", "broken"),
    ("a.html", b"<p></p>", "no text"),
    ("a.html", b"\xef\xbb\xbf \n", "empty"),
    ("a.csv", b",\n", "no text"),
    ("a.csv", b"", "empty"),
    ("a.ipynb", b'{"cells": []}', "no text"),
    ("a.json", b"{}", "no text"),
]


@pytest.mark.parametrize(("name", "data", "reason"), BAD)
@pytest.mark.filterwarnings("ignore::twofold.errors.DegradedWarning")
def test_a_bad_file_is_named_and_ends_nothing(tmp_path, name, data, reason):
    (tmp_path / "good.txt").write_text("good")
    with pytest.raises(CorpusError, match=name):
        read(tmp_path / name, data)
    contents = read_folder(tmp_path)
    assert [passage.text for passage in contents] == ["good"]
    assert [(file.source, file.reason) for file in contents.report.skipped] == [(name, reason)]


@pytest.mark.parametrize("suffix", [*MAKERS])
@pytest.mark.filterwarnings("ignore::twofold.errors.DegradedWarning")
def test_damaged_files_never_raise(tmp_path, suffix):
    data = MAKERS[suffix]("All about tea", CHAPTERS)
    for number in range(60):
        damaged = bytearray(data)
        start = (number * 7919) % len(data)
        damaged[start : start + 1 + number % 9] = NOISE[number : number + 1 + number % 5]
        (tmp_path / f"{number}{suffix}").write_bytes(damaged)
    report = read_folder(tmp_path).report
    assert len(report.read) + len(report.skipped) == 60


@pytest.mark.filterwarnings("ignore::twofold.errors.DegradedWarning")
def test_files_are_limited_packed_and_unpacked(tmp_path, monkeypatch):
    monkeypatch.setenv("TWOFOLD_MAX_FILE_BYTES", "50000")
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", "0" * 100_000)
    (tmp_path / "bomb.docx").write_bytes(target.getvalue())
    (tmp_path / "long.txt").write_text("word " * 20_000)
    (tmp_path / "good.txt").write_text("good")
    contents = read_folder(tmp_path)
    assert contents.report.read == ("good.txt",)
    assert contents.report.counts() == {"too large": 2}
    assert all("TWOFOLD_MAX_FILE_BYTES" in file.detail for file in contents.report.skipped)


def test_a_missing_package_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("twofold.extras.find_spec", lambda name: None)
    assert not is_installed("lxml")
    (tmp_path / "a.txt").write_text("text")
    for name in ("a.pdf", "b.PDF", "c.html"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.warns(DegradedWarning) as told:
        contents = read_folder(tmp_path)
    assert contents.report.counts() == {"missing package": 3}
    assert [str(each.message).partition(": ")[2] for each in told] == [
        "left out 2 files, 'a.pdf', 'b.PDF': PDF files need pypdfium2: pip install "
        "'twofold[files]'",
        "left out 1 file, 'c.html': HTML files need lxml: pip install 'twofold[files]'",
    ]


def test_what_has_no_reader_is_refused_by_name(tmp_path):
    with pytest.raises(CorpusError, match="has no reader: its name ends in '.zip'"):
        read(tmp_path / "a.zip", b"x")
    with pytest.raises(CorpusError, match="a broken link|there is no|No such file"):
        read_document(tmp_path / "missing.txt")


@pytest.mark.filterwarnings("ignore::twofold.errors.DegradedWarning")
def test_every_format_of_a_mixed_folder_is_found_and_indexes_are_left_out(tmp_path):
    planted = make_mixed_folder(tmp_path)
    (tmp_path / "an index").mkdir()
    for name in ("HEAD", "catalog.sqlite", "a.json"):
        (tmp_path / "an index" / name).write_text("{}")
    contents = read_folder(tmp_path)
    assert len(contents.report.read) > 170
    assert contents.report.counts()["index"] == 1
    for source, word in planted.items():
        found = {p.metadata["source"] for p in contents if word in p.text}
        assert found == {source}
    assert len({passage.id for passage in contents}) == len(contents)
    json.dumps([passage.metadata for passage in contents])
