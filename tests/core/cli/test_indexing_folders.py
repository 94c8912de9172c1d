"""Indexing a folder again: what its files no longer have is deleted, nothing else, and all told."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mixed_folder import make_mixed_folder
from short_reader import ShortReader
from twofold import Index
from twofold.cli import app
from twofold.corpus import (
    Corpus,
    FolderContents,
    FolderReport,
    SkippedFile,
    Splitting,
    find_outdated,
    index_folder,
    read_folder,
)

pytestmark = pytest.mark.filterwarnings("default::twofold.errors.DegradedWarning")
LONG = " ".join(f"Sentence {n} is here." for n in range(60))


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def index(folder, target, *options):
    """Index a folder; return what is told as JSON."""
    options = ("--encoder", "none", "--size", 200, "--json", *options)
    done = run("index", folder, "--to", target, *options)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def stored(target):
    with Index.open(target, create=False, read_only=True) as opened:
        return {passage.id: passage.text for passage in opened}


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("the secret of a")
    (folder / "b.md").write_text("# B\n\nabout b")
    (folder / "sub" / "long.txt").write_text(LONG)
    return folder


CHANGES = {
    "emptied": lambda path: path.write_text(""),
    "blanked": lambda path: path.write_bytes(b"\xef\xbb\xbf \r\n"),
    "deleted": lambda path: path.unlink(),
    "hidden": lambda path: path.rename(path.with_name(".a.txt")),
    "renamed to another type": lambda path: path.rename(path.with_suffix(".bak")),
    "made binary": lambda path: path.write_bytes(b"\0\1\2"),
    "made unreadable text": lambda path: path.write_bytes(b"\xff\xfea"),
    "made a broken link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("source", ["a.txt", "sub/long.txt"])
def test_passages_of_a_file_without_text_are_deleted(docs, tmp_path, change, source):
    target = tmp_path / "i"
    index(docs, target)
    before = stored(target)
    CHANGES[change](docs / source)
    told = index(docs, target)
    left = {id_: text for id_, text in before.items() if not id_.startswith(f"{source}#")}
    assert stored(target) == left
    lost = len(before) - len(left)
    assert told["missing"] == {"files": 1, "passages": lost}
    assert (told["removed"], told["passages"]) == (lost, len(left))
    assert told["shortened"] == told["unreadable"] == {"files": 0, "passages": 0}
    again = index(docs, target)
    assert again["removed"] == again["missing"]["files"] == 0


def test_a_renamed_file_and_a_deleted_folder(docs, tmp_path):
    target = tmp_path / "i"
    count = index(docs, target)["passages"]
    (docs / "a.txt").rename(docs / "z.txt")
    (docs / "sub" / "long.txt").unlink()
    (docs / "sub").rmdir()
    done = run("index", docs, "--to", target)
    assert f"2 files gone or without text: {count - 1} passages deleted\n" in done.stdout
    assert set(stored(target)) == {"z.txt#0", "b.md#0"}


def test_a_shorter_file(docs, tmp_path):
    count = index(docs, tmp_path / "i")["passages"]
    (docs / "sub" / "long.txt").write_text(LONG[:190])
    done = run("index", docs, "--to", tmp_path / "i", "--size", 200)
    assert f"1 file shorter: {count - 3} passages deleted\n" in done.stdout


def test_passages_from_elsewhere_are_never_deleted(docs, tmp_path):
    target = tmp_path / "i"
    others = tmp_path / "x" / "docs"  # of the same name
    others.mkdir(parents=True)
    (others / "other.txt").write_text("another folder")
    (others / "gone.txt").write_text("soon gone")
    rows = [
        {"id": "a.txt#7", "text": "like a part", "metadata": {"source": "a.txt", "part": 7}},
        {"id": "n.txt#0", "text": "no folder", "metadata": {"source": "n.txt", "part": 0}},
        {"id": "o", "text": "odd", "metadata": {"source": 3, "part": None, "folder": ["docs"]}},
        {"id": "3#0", "text": "odd", "metadata": {"source": 3, "part": 0, "folder": "docs"}},
        {"text": "plain"},
    ]
    lines = tmp_path / "c.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)))
    for corpus in (docs, others, lines):
        index(corpus, target)
    before = stored(target)
    assert len(before) == 7 + len(list(Corpus.from_path(docs, Splitting(200, 50))))
    for path in (docs / "a.txt", others / "gone.txt"):
        path.unlink()
    assert index(docs, target)["removed"] == 1
    assert index(lines, target)["removed"] == 0
    after = stored(target)
    assert {*before} - {*after} == {"a.txt#0"}
    assert index(others, target)["removed"] == 1
    assert {*after} - {*stored(target)} == {"gone.txt#0"}


def test_two_folders_with_files_of_the_same_name_do_not_replace_each_other(docs, tmp_path):
    target, others = tmp_path / "i", tmp_path / "others"
    others.mkdir()
    (others / "a.txt").write_text("another a")
    index(docs, target)
    before = stored(target)
    done = run("index", others, "--to", target)
    assert done.exit_code == 2
    name = Corpus.from_path(docs).name
    assert f"the index has 'a.txt#0' from another folder, '{name}'" in done.stderr
    assert stored(target) == before


def test_a_folder_that_has_moved_keeps_its_name(docs, tmp_path):
    target = tmp_path / "i"
    first = index(docs, target)
    name, count = first["folder"], first["passages"]
    moved = docs.rename(tmp_path / "moved")
    (moved / "b.md").unlink()
    assert run("index", moved, "--to", target).exit_code == 2
    told = index(moved, target, "--name", name)
    assert (told["unchanged"], told["removed"], told["folder"]) == (count - 1, 1, name)


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file of Linux")
def test_passages_of_a_file_that_cannot_be_read_now_are_kept(docs, tmp_path):
    target = tmp_path / "i"
    index(docs, target)
    before = stored(target)
    (docs / "a.txt").unlink()
    (docs / "a.txt").symlink_to("/proc/self/mem")
    done = run("index", docs, "--to", target, "--size", 200)
    assert "1 file unreadable: 1 passage kept\n" in done.stdout
    assert "left out 1 file, 'a.txt'" in done.stderr
    assert stored(target) == before


@pytest.mark.parametrize(
    ("unreadable", "kept"),
    [("sub", ["sub/a.txt#0", "sub/x/b.txt#0"]), ("sub/x", ["sub/x/b.txt#0"])],
)
def test_passages_below_a_folder_that_cannot_be_read_are_kept(tmp_path, unreadable, kept):
    """Root can read every folder, so that the report is made by hand here."""
    for source in ("a.txt", "sub/a.txt", "sub/x/b.txt", "subway.txt"):
        (tmp_path / source).parent.mkdir(exist_ok=True)
        (tmp_path / source).write_text("text")
    before = read_folder(tmp_path)
    report = FolderReport(("a.txt",), (), (SkippedFile(unreadable, "unreadable"),))
    now = FolderContents(before.name, before.passages[:1], report)
    found = find_outdated(before, now)
    assert [id_ for ids in found.unreadable.values() for id_ in ids] == kept
    everything = {"a.txt#0", "sub/a.txt#0", "sub/x/b.txt#0", "subway.txt#0"}
    missing = {id_ for ids in found.missing.values() for id_ in ids}
    assert missing == everything - {"a.txt#0", *kept}


def test_a_folder_that_lost_all_its_files_needs_a_word(docs, tmp_path):
    target = tmp_path / "i"
    index(docs, target)
    for path in [*docs.rglob("*.txt"), *docs.rglob("*.md")]:
        path.unlink()
    before = stored(target)
    done = run("index", docs, "--to", target)
    assert done.exit_code == 2
    assert "--allow-empty deletes their passages" in done.stderr
    assert stored(target) == before
    told = index(docs, target, "--allow-empty")
    assert told["missing"] == {"files": 3, "passages": len(before)}
    assert stored(target) == {}


def test_what_is_left_out_is_counted_by_reason(docs, tmp_path):
    for name, data in {
        "p.png": b"x",
        "q.PNG": b"x",
        "r.pdf": b"x",
        "Makefile": b"x",
        ".hidden.txt": b"x",
        "e.txt": b"",
        "n.txt": b"a\0b",
        "latin.txt": b"caf\xe9",
    }.items():
        (docs / name).write_bytes(data)
    done = run("index", docs, "--to", tmp_path / "i", "--encoder", "none")
    assert done.exit_code == 0
    line, names = done.stdout.splitlines()[-2:]
    assert names == "no reader for 'p.png', 'q.PNG'"
    assert line.startswith("indexed 5 files, 6 passages; skipped 6: 2 .png (no reader), ")
    counts = {"2 .png (no reader)", "1 hidden", "1 empty", "1 binary", "1 broken"}
    assert set(line.partition("skipped 6: ")[2].split(", ")) == counts
    assert done.stderr.splitlines() == [
        f"warning: {docs}: left out 1 file, 'n.txt': it has NUL characters, so it is no text, or "
        "UTF-16 without a byte order mark",
        f"warning: {docs}: left out 1 file, 'r.pdf' (Failed to load document (PDFium: Data format "
        "error).): it isn't valid in its format",
        f"warning: {docs}: read 1 file as Windows-1252, such as 'latin.txt': not Unicode; convert "
        "to UTF-8 if the text is wrong",
    ]
    told = index(docs, tmp_path / "i")
    assert told["skipped"] == {".png": 2, "broken": 1, "hidden": 1, "empty": 1, "binary": 1}
    assert {(file["source"], file["reason"]) for file in told["skipped_files"]} == {
        ("e.txt", "empty"),
        ("n.txt", "binary"),
        ("r.pdf", "broken"),
        ("p.png", ".png"),
        ("q.PNG", ".png"),
    }
    assert told["guessed"] == ["latin.txt"]
    assert told["files"] == 5


@pytest.mark.filterwarnings("ignore::twofold.errors.DegradedWarning")
def test_a_second_run_over_a_mixed_folder_changes_what_has_changed(tmp_path):
    docs, target = tmp_path / "docs", tmp_path / "i"
    planted = make_mixed_folder(docs)
    (docs / "noise.bin.pdf").write_bytes(bytes(range(256)) * 20)
    (docs / "noise").write_bytes(bytes(range(256)) * 20)
    done = run("index", docs, "--to", target, "--encoder", "hashing")
    assert done.exit_code == 0
    assert "left out 1 file, 'noise.bin.pdf' (Failed to load document" in done.stderr
    before = stored(target)
    for source, word in planted.items():
        found = run("search", target, word, "--mode", "lexical", "-k", 50, "--json")
        sources = {hit["metadata"]["source"] for hit in json.loads(found.stdout)["hits"]}
        assert sources == {source}
    again = json.loads(run("index", docs, "--to", target, "--json").stdout)
    counted = ("added", "updated", "removed", "unchanged")
    assert [again[name] for name in counted] == [0, 0, 0, len(before)]
    edited, deleted, renamed = docs / "made md/file 0.md", "made pdf/file 1.pdf", "made docx/file 2"
    edited.write_text(edited.read_text() + "\nThe end is new: zebra.\n")
    (docs / deleted).unlink()
    (docs / f"{renamed}.docx").rename(docs / f"{renamed} again.docx")
    changed = json.loads(run("index", docs, "--to", target, "--json").stdout)
    after = stored(target)
    of_renamed = [each for each in before if each.startswith(f"{renamed}.docx#")]
    of_deleted = [each for each in before if each.startswith(f"{deleted}#")]
    assert changed["missing"]["files"] == 2
    assert changed["removed"] == len(of_renamed) + len(of_deleted)
    touched = ("made md/file 0.md#", f"{renamed} again.docx#")
    assert {id_: text for id_, text in after.items() if not id_.startswith(touched)} == {
        id_: text
        for id_, text in before.items()
        if not id_.startswith("made md/file 0.md#") and id_ not in {*of_renamed, *of_deleted}
    }
    news = [id_ for id_ in after if id_.startswith(touched) and after[id_] != before.get(id_)]
    assert len(of_renamed) < len(news) <= len(of_renamed) + 2
    assert "zebra" in "".join(after[id_] for id_ in news)


def test_the_length_of_passages_is_remembered(docs, tmp_path):
    target = tmp_path / "i"
    first = run("index", docs, "--to", target, "--encoder", "hashing", "--size", 120, "--json")
    count = json.loads(first.stdout)["passages"]
    again = json.loads(run("index", docs, "--to", target, "--json").stdout)
    assert (again["unchanged"], again["passages"]) == (count, count)
    longer = json.loads(run("index", docs, "--to", target, "--size", 900, "--json").stdout)
    assert longer["passages"] < count
    with Index.open(tmp_path / "j", encoder=ShortReader(100)) as opened:
        (docs / "rows.jsonl").write_text('{"text": "row", "_splitting": [60, 5]}')
        index_folder(opened, docs, Splitting(overlap=20))
        before = [passage.text for passage in opened]
        assert opened.encoder.token_spans(before) == [None] * len(before)
        update = index_folder(opened, docs)
        assert update.result.unchanged == len(before)


def test_a_failed_index_leaves_nothing_behind(docs, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = run("index", docs, "--to", tmp_path / "i", "--encoder", "openai:text-embedding-3-small")
    assert done.exit_code == 2
    assert not (tmp_path / "i").exists()
    index(docs, tmp_path / "i")
    before = stored(tmp_path / "i")
    failed = run("index", docs, "--to", tmp_path / "i", "--encoder", "hashing")
    assert failed.exit_code == 2
    assert stored(tmp_path / "i") == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_skipped(docs, tmp_path):
    target = tmp_path / "i"
    index(docs, target)
    before = stored(target)
    (docs / "sub").chmod(0)
    try:
        assert index(docs, target)["skipped"] == {"unreadable": 1}
        assert stored(target) == before
    finally:
        (docs / "sub").chmod(0o700)


def test_a_file_that_is_broken_for_a_moment_keeps_its_passages(docs, tmp_path):
    target = tmp_path / "i"
    (docs / "rows.json").write_text('[{"text": "one"}, {"text": "two"}]')
    index(docs, target)
    before = stored(target)
    (docs / "rows.json").write_text('[{"text": "one"}, {"te')
    told = index(docs, target)
    assert told["unreadable"] == {"files": 1, "passages": 2}
    assert stored(target) == before


def test_a_passage_of_the_user_is_never_overwritten(docs, tmp_path):
    target = tmp_path / "i"
    with Index.open(target, encoder=None) as opened:
        opened.upsert([{"id": "a.txt#0", "text": "my own"}])
    done = run("index", docs, "--to", target)
    assert done.exit_code == 2
    assert "'a.txt#0' from elsewhere" in done.stderr
    assert stored(target) == {"a.txt#0": "my own"}


def test_files_whose_ids_collide_end_nothing(docs, tmp_path):
    (docs / "x.json").write_text('[{"id": "2.json#0", "text": "one"}]')
    (docs / "x.json#2.json").write_text('[{"text": "two"}]')
    told = index(docs, tmp_path / "i")
    assert told["skipped"] == {"broken": 1}
    assert "x.json#2.json#0" in stored(tmp_path / "i")
    row = {"text": "short", "vector": list(range(2_000_000))}
    (docs / "large.json").write_text(json.dumps([row]))
    told = index(docs, tmp_path / "i")
    assert told["skipped"] == {"broken": 2}
    details = [file["detail"] for file in told["skipped_files"]]
    assert any("metadata must have at most 10,000,000 bytes" in detail for detail in details)
