"""Folders of text files: whatever lies in them, what can be read is read, and the rest is told."""

import os
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from twofold.corpus import Corpus, FolderReport, Splitting, read_document, read_folder
from twofold.errors import CorpusError, DegradedWarning, InputError


def fill(folder, files):
    """Write files, by path below ``folder``, as bytes or as UTF-8."""
    for source, content in files.items():
        path = folder / source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def texts(folder):
    return {passage.metadata["source"]: passage.text for passage in Corpus.from_path(folder)}


TEXT = "Grüße, naïve café: 5 € für “Ж”"
ENCODED = {
    "utf-8": TEXT.encode(),
    "utf-8 with mark": TEXT.encode("utf-8-sig"),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16 big-endian": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "utf-32": TEXT.encode("utf-32"),
    "utf-32 big-endian": b"\x00\x00\xfe\xff" + TEXT.encode("utf-32-be"),
}


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("suffix", [".txt", ".md", ".MARKDOWN"])
def test_unicode_is_read_in_every_encoding(tmp_path, name, suffix):
    fill(tmp_path, {f"a{suffix}": ENCODED[name]})
    assert texts(tmp_path) == {f"a{suffix}": TEXT}
    assert read_folder(tmp_path).report == FolderReport((f"a{suffix}",), (), ())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"caf\xe9", "café"),
        ("5 € für “Grüße”".encode("cp1252"), "5 € für “Grüße”"),
        ("naïve façade".encode("latin-1"), "naïve façade"),
    ],
)
def test_what_is_no_unicode_is_read_as_windows_1252_and_told(tmp_path, data, text):
    fill(tmp_path, {"a.txt": data, "b.txt": "plain"})
    with pytest.warns(DegradedWarning, match="read 1 file as Windows-1252, such as 'a.txt'"):
        contents = read_folder(tmp_path)
    assert [passage.text for passage in contents] == [text, "plain"]
    assert contents.report.guessed == ("a.txt",)


LEFT_OUT = [
    ("a.txt", b"", "empty"),
    ("a.md", b" \r\n\t\n", "empty"),
    ("a.txt", b"\xef\xbb\xbf", "empty"),
    ("a.txt", b"\xff\xfe", "empty"),
    ("a.txt", b"PK\x03\x04\x00\x00 text", "binary"),
    ("a.txt", b"\x89PNG\x00\xff\x81", "binary"),
    ("a.txt", "plain".encode("utf-16-le"), "binary"),  # without a mark
    ("a.txt", "a\0b".encode("utf-16"), "binary"),
    ("a.txt", b"\xff\xfea", "unknown encoding"),  # half a character
    ("a.txt", "日本語のテキスト、漢字".encode("shift-jis"), "unknown encoding"),
    ("a.pdf", b"%PDF", "broken"),
    ("a.TAR.GZ", b"x", ".gz"),
    ("core", b"x", "no suffix"),
    (".a.txt", b"x", "hidden"),
    (".txt", b"x", "hidden"),
]


@pytest.mark.parametrize(("source", "data", "reason"), LEFT_OUT)
def test_what_is_left_out_stops_nothing_and_is_reported(tmp_path, source, data, reason):
    fill(tmp_path, {f"sub/{source}": data, "good.txt": "good"})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        contents = read_folder(tmp_path)
    assert [passage.text for passage in contents] == ["good"]
    assert contents.report.read == ("good.txt",)
    (skipped,) = contents.report.skipped
    assert (skipped.source, skipped.reason) == (f"sub/{source}", reason)
    assert contents.report.counts() == {reason: 1}
    # Only text that may be lost is worth a warning.
    assert len(told) == (reason in ("binary", "unknown encoding", "broken"))
    for warning in told:
        assert f"left out 1 file, 'sub/{source}'" in str(warning.message)
        assert warning.filename == __file__


def test_hidden_and_linked_folders_are_one_each_and_loops_end(tmp_path):
    fill(tmp_path / "docs", {"a.txt": "a", "sub/b.txt": "b", ".git/x.txt": "x", ".git/y.txt": "y"})
    fill(tmp_path / "elsewhere", {"c.txt": "c"})
    folder = tmp_path / "docs"
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "sub" / "other").symlink_to(tmp_path / "elsewhere")
    (folder / "linked.txt").symlink_to(tmp_path / "elsewhere" / "c.txt")
    (folder / "itself.txt").symlink_to(folder / "itself.txt")
    (folder / "broken.md").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.txt")
    assert texts(folder) == {"a.txt": "a", "sub/b.txt": "b", "linked.txt": "c"}
    skipped = read_folder(folder).report.skipped
    assert {(file.source, file.reason) for file in skipped} == {
        (".git", "hidden"),
        ("sub/loop", "linked folder"),
        ("sub/other", "linked folder"),
        ("itself.txt", "no file"),
        ("broken.md", "no file"),
        ("pipe.txt", "no file"),
    }


def test_a_name_that_is_no_utf_8_is_left_out(tmp_path):
    fill(tmp_path, {"good.txt": "good"})
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("bad")
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    with pytest.warns(DegradedWarning, match="its name is not UTF-8"):
        assert texts(tmp_path) == {"good.txt": "good"}


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file of Linux")
def test_a_file_that_fails_while_it_is_read_is_left_out_and_told(tmp_path):
    fill(tmp_path, {"good.txt": "good"})
    (tmp_path / "bad.txt").symlink_to("/proc/self/mem")
    with pytest.warns(DegradedWarning, match="left out 1 file.*'bad.txt'.*Input/output error"):
        contents = read_folder(tmp_path)
    assert [passage.text for passage in contents] == ["good"]
    assert contents.report.counts() == {"unreadable": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_the_system_refuses_is_left_out_and_told(tmp_path):
    fill(tmp_path, {"good.txt": "good", "bad.txt": "bad", "sub/c.txt": "c"})
    (tmp_path / "bad.txt").chmod(0)
    (tmp_path / "sub").chmod(0)
    try:
        with pytest.warns(DegradedWarning, match="left out 2 files.*Permission denied"):
            contents = read_folder(tmp_path)
        assert [passage.text for passage in contents] == ["good"]
        assert contents.report.counts() == {"unreadable": 2}
    finally:
        (tmp_path / "sub").chmod(0o700)


@pytest.mark.parametrize(
    ("source", "text", "title"),
    [
        ("a.md", "# The Title\n\ntext", "The Title"),
        ("a.md", "\ufeff# The Title\n\ntext", "The Title"),
        ("a.md", "\ufeff\r\n## The Title ##\r\n\r\ntext", "The Title"),
        ("a.md", "text\r# The Title\rmore", "The Title"),
        ("a.md", "  # The Title\ntext", "The Title"),
        ("a.md", "```sh\n# a comment\n```\n# The Title\n", "The Title"),
        ("a.md", "~~~\n# a comment\n", "a"),
        ("a.md", "#\n\ntext", "a"),
        ("a.md", "#hashtag", "a"),
        ("a.md", "C# is no heading", "a"),
        ("a.md", "# Using C#", "Using C#"),
        ("a.md", "# ##\n# The Title \t #### \t", "The Title"),
        ("a.md", "```one line``` of code\n# The Title", "The Title"),
        ("a.md", f"# The{' ' * 100_000}Title{' #' * 50_000}x\n", "many blanks"),
        ("sub/a.b.txt", "# The Title", "a.b"),
    ],
)
def test_titles_are_the_first_heading_or_the_name(tmp_path, source, text, title):
    fill(tmp_path, {source: text})
    if title == "many blanks":  # read in a moment, and shortened
        title = f"{' '.join(text[2:].split())[:199].rstrip()}…"
    assert {passage.title for passage in Corpus.from_path(tmp_path)} == {title}
    assert not any("\ufeff" in passage.text for passage in Corpus.from_path(tmp_path))


words = st.sampled_from(["word", "Grüße", "😀", "# head", "", "a\u0301", " ", "long" * 9, "- item"])
breaks = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\n\r\n", " ", "\n\r", "\u2028"])
marks = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])


@settings(deadline=None)
@example([("\u2028\n\n \U0001f600\n\n\u0301\rGr\xfc\xdfe\r\na\u0301# e", "")], "utf-8", "a.md")
@given(st.lists(st.tuples(words, breaks), min_size=1), marks, st.sampled_from(["a.txt", "a.md"]))
def test_offsets_are_those_of_the_file_as_decoded(tmp_path_factory, parts, encoding, name):
    text = "".join(word + end for word, end in parts)
    folder = fill(tmp_path_factory.mktemp("offsets"), {name: text.encode(encoding)})
    path = folder / name
    with path.open(encoding=encoding if encoding != "utf-8" else "utf-8-sig", newline="") as file:
        assert file.read() == text
    passages = list(Corpus.from_path(folder, Splitting(20, 5)))
    assert bool(passages) == bool(text.strip())
    for passage in passages:
        assert text[passage.metadata["start"] : passage.metadata["end"]] == passage.text
    assert not text.strip() or read_document(path).text == text
    covered = {at for p in passages for at in range(p.metadata["start"], p.metadata["end"])}
    assert all(at in covered or char.isspace() for at, char in enumerate(text))


def test_folders_have_names_of_their_own(tmp_path, monkeypatch):
    one, two = (fill(tmp_path / name / "docs", {"a.txt": "a"}) for name in ("x", "y"))
    names = {Corpus.from_path(folder).name for folder in (one, two)}
    assert len(names) == 2
    assert all(name.startswith("docs-") for name in names)
    assert str(tmp_path) not in str(names)
    monkeypatch.chdir(one)
    for same in (Path(), Path("../docs"), one / "..", tmp_path / "x" / "docs"):
        expected = same.resolve() == one
        assert (Corpus.from_path(same).name == Corpus.from_path(one).name) == expected
    (named,) = Corpus.from_path(one, name="mine")
    place = {"part": 0, "start": 0, "end": 1, "line": 1}
    assert named.metadata == {"source": "a.txt", "folder": "mine", **place}
    for name in ("", " ", 3):
        with pytest.raises(InputError, match="name must be text that isn't blank"):
            Corpus.from_path(one, name=name)
    lines = tmp_path / "c.jsonl"
    lines.write_text('{"text": "a"}')
    with pytest.raises(InputError, match="name is for folders of files"):
        Corpus.from_path(lines, name="mine")


def test_a_folder_without_text_files_is_refused_unless_that_is_wanted(tmp_path):
    fill(tmp_path, {"a.zip": "x", ".hidden/a.txt": "x"})
    with pytest.raises(CorpusError, match=r"has no corpus.*\(1 hidden, 1 .zip\)"):
        Corpus.from_path(tmp_path)
    assert list(Corpus.from_path(tmp_path, allow_empty=True)) == []


def test_one_file_is_read_as_a_folder_of_one(tmp_path):
    fill(tmp_path, {"a.md": "# Tea\n\nsteeps", "b.md": "other", "c.zip": "x"})
    contents = read_folder(tmp_path / "a.md")
    assert [(passage.id, passage.title) for passage in contents] == [("a.md#0", "Tea")]
    assert contents.name.startswith("a.md-")
    assert list(Corpus.from_path(tmp_path / "a.md")) == list(contents)
    with pytest.raises(CorpusError, match="c.zip is not a corpus: pass a folder, a file in a"):
        Corpus.from_path(tmp_path / "c.zip")
    with pytest.raises(CorpusError, match="has no corpus"):
        read_folder(tmp_path / "c.zip")
