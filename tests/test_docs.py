"""The documentation: its code runs, its links lead somewhere, and the README is short."""

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest

from twofold import Index
from twofold.corpus import Corpus

ROOT = Path(__file__).parent.parent
DATA = ROOT / "examples" / "data" / "scifact-1000"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^```\n(tea .*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# The code of other pages needs a model from the network, a framework's objects or training.
RUN = (
    *("backups", "dates", "engines", "evaluation", "files", "filters", "fusion", "mmr", "scores"),
    *("updating", "vectors", "why_not", "words"),
)


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_pages_and_headings(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_is_python(page):
    for code in CODE.findall(page.read_text(encoding="utf-8")):
        compile(code, name_of(page), "exec")


@pytest.mark.parametrize("name", RUN)
@pytest.mark.filterwarnings("ignore::twofold.errors.DegradedWarning")
def test_code_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for source in ("queries.jsonl", "qrels"):
        copy = shutil.copytree if (DATA / source).is_dir() else shutil.copy
        copy(DATA / source, tmp_path / source)
    with gzip.open(DATA / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        (tmp_path / "corpus.jsonl").write_text("".join(list(file)[:200]), encoding="utf-8")
    for stored in ("papers.twofold", "scifact.twofold"):
        with Index.open(stored, encoder="hashing") as index:
            index.upsert(Corpus.from_path(tmp_path / "corpus.jsonl"))
    names = {}
    for code in CODE.findall((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")):
        exec(compile(code, f"{name}.md", "exec"), names)
    printed = capsys.readouterr().out
    assert printed or name in ("engines", "backups")


def test_the_readme_is_short_and_prints_what_it_says(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    monkeypatch.chdir(tmp_path)
    exec(compile(CODE.findall(text)[0], "README.md", "exec"), {})
    assert capsys.readouterr().out == OUTPUT.findall(text)[0]


def test_every_page_is_in_the_table_of_contents():
    listed = LINK.findall((ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= {link.partition("#")[0] for link in listed}


def test_the_json_in_the_pages_is_valid():
    for page in PAGES:
        for found in re.findall(r"--where '(\{[^']*\})'", page.read_text(encoding="utf-8")):
            json.loads(found)
