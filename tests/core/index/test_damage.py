"""Damage is seen: what is derived is built anew loudly, what is not is reported."""

import os
import shutil
import sqlite3
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold import HashingEncoder, Index, Metric, Retriever
from twofold.errors import CorruptIndexError, RebuildWarning
from twofold.storage import read_head, write_head
from twofold.storage.catalog import passage_checksum
from twofold.storage.records import row_checksum
from twofold.types import EncoderIdentity


class Encoder(HashingEncoder):
    """Counts calls, so that a rebuild that encodes again shows."""

    calls = 0

    def encode_passages(self, texts):
        type(self).calls += 1
        return super().encode_passages(texts)

    def encode_queries(self, texts):
        return HashingEncoder().encode_passages(texts)


@pytest.fixture(scope="module")
def built(tmp_path_factory, abstracts):
    path = tmp_path_factory.mktemp("damage") / "index"
    with Index.open(path, encoder=Encoder()) as index:
        for some in (abstracts[:450], abstracts[450:600]):  # so that there are segments
            index.upsert({"id": a["_id"], "text": a["text"], "metadata": {"n": 1}} for a in some)
        index.delete([a["_id"] for a in abstracts[:5]])
        answers = _answers(index, abstracts)
    return path, answers


@pytest.fixture
def copy(built, tmp_path):
    shutil.copytree(built[0], tmp_path / "copy")
    return tmp_path / "copy", built[1]


def _answers(index, abstracts):
    return [
        [(hit.id, hit.score) for hit in Retriever(index).retrieve(each["title"], where={"n": 1})]
        for each in abstracts[10:14]
    ]


@given(st.integers(0, 1 << 40), st.text(), st.text(), st.text(), st.text(), st.binary())
def test_a_passages_checksum_is_that_of_its_row(row, name, title, text, metadata, content):
    fields = (row, name, title, text, metadata, content)
    assert passage_checksum(*fields) == row_checksum(*fields)
    if title:  # what moves from one field to another shows
        moved = passage_checksum(row, name + title, "", text, metadata, content)
        assert moved != row_checksum(*fields)


def flip(path, at, bit=4):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def test_a_damaged_or_missing_segment_is_built_anew_without_encoding(copy, abstracts):
    path, answers = copy
    files = sorted((path / "segments").iterdir())
    assert len(files) >= 2
    flip(files[0], files[0].stat().st_size // 2)
    for file in files[1:]:
        file.unlink()
    before = {file.name for file in files}
    with Index.open(path, encoder=Encoder()) as index:
        Encoder.calls = 0
        with pytest.warns(RebuildWarning, match="is rebuilt in memory"):
            assert _answers(index, abstracts) == answers
        report = index.verify()
        assert len(report.problems) == len(files)
        assert Encoder.calls == 1  # the canaries, once a process
        index.upsert([{"id": "new", "text": "new text"}])
        assert index.verify(deep=True).ok
    assert not before & {file.name for file in (path / "segments").iterdir()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Index.open(path, encoder=Encoder()) as index:
            index.delete(["new"])
            assert _answers(index, abstracts) == answers


def test_readers_never_repair_on_disk(copy, abstracts):
    path, answers = copy
    file = next((path / "segments").iterdir())
    file.unlink()
    with Index.open(path, read_only=True) as index, pytest.warns(RebuildWarning):
        assert _answers(index, abstracts) == answers
    assert not file.exists()


def test_every_flipped_bit_of_the_vectors_is_seen(copy):
    path, _ = copy
    file = next((path / "vectors").iterdir())
    for at in np.random.default_rng(0).integers(0, file.stat().st_size, 10).tolist():
        flip(file, at)
        with Index.open(path) as index:
            assert "are not those that were written" in index.verify().problems[0]
            with pytest.raises(CorruptIndexError, match="restore the index from a copy"):
                Retriever(index, mode="dense").retrieve("x")
            assert len(Retriever(index, mode="lexical").retrieve("cells")) == 10
        flip(file, at)
    with Index.open(path) as index:
        assert index.verify().ok


def test_a_missing_or_short_vector_file_is_seen(copy):
    path, _ = copy
    file = next((path / "vectors").iterdir())
    data = file.read_bytes()
    file.write_bytes(data[:-100])
    with Index.open(path) as index:
        assert "does not hold its" in index.verify().problems[0]
    file.unlink()
    with Index.open(path) as index:
        assert not index.verify().ok
        with pytest.raises(CorruptIndexError, match="restore the index from a copy"):
            Retriever(index).retrieve("x")
        assert len(Retriever(index, mode="lexical").retrieve("cells")) == 10


def test_no_flipped_bit_of_the_catalog_goes_unseen(copy):
    path, _ = copy
    catalog = path / "catalog.sqlite"
    size = catalog.stat().st_size
    pages = np.random.default_rng(1)
    seen = 0
    data = catalog.read_bytes()
    texts = [data.index(words) + 3 for words in (b"cells", b"patients", b"protein")]
    settings = [data.index(b'"analyzer"') + 1]
    with Index.open(path) as index:
        passages = list(index)
        ids = Retriever(index, mode="lexical").retrieve("cells").ids
    assert len(passages) == 595
    for place, at in enumerate([*texts, *settings, *pages.integers(0, size, 60).tolist()]):
        flip(catalog, at, place % 8)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Index.open(path) as index:
                    problems = index.verify().problems
                    if not problems:  # a bit in unused space: nothing that is read has changed
                        assert list(index) == passages
                        assert Retriever(index, mode="lexical").retrieve("cells").ids == ids
        except CorruptIndexError:
            problems = ("refused",)
        seen += bool(problems)
        flip(catalog, at, place % 8)
    assert seen > 40
    with Index.open(path) as index:
        assert index.verify(deep=True).ok


def test_a_catalog_behind_its_head_is_damage(copy):
    path, _ = copy
    identity, generation = read_head(path / "HEAD")
    write_head(path / "HEAD", (identity, generation + 1))
    with pytest.raises(CorruptIndexError, match=f"generation {generation}.*{generation + 1} was"):
        Index.open(path)


@pytest.mark.parametrize("newest", [True, False])
def test_one_damaged_slot_of_head_is_reported_and_replaced(copy, abstracts, newest):
    path, answers = copy
    with Index.open(path, encoder=Encoder()) as index:
        index.upsert([{"id": "new", "text": "text"}])
        index.delete(["new"])  # both slots are written
    identity, generation = read_head(path / "HEAD")
    slot = (generation if newest else generation + 1) % 2
    flip(path / "HEAD", slot * 4096 + 3)
    with Index.open(path, encoder=Encoder()) as index:
        problems = index.verify().problems
        assert len(problems) == 1
        assert f"the {'newer' if newest else 'older'} slot of" in problems[0]
        assert _answers(index, abstracts) == answers
        index.upsert([{"id": "x", "text": "other text"}])
        assert index.verify().ok
    assert read_head(path / "HEAD") == (identity, generation + 1)


def test_a_slot_of_head_that_was_never_written_is_no_damage(copy, tmp_path):
    path, _ = copy
    with Index.open(path, encoder=Encoder()) as index:
        for turn in range(3):
            index.copy(tmp_path / "c", overwrite=turn > 0)
            with Index.open(tmp_path / "c") as other:
                assert other.verify().ok
            index.upsert([{"id": "x", "text": f"text {turn}"}])
    with Index.open(tmp_path / "empty", encoder=Encoder()) as index:
        assert index.verify().ok


def test_a_lost_or_broken_head_is_damage(copy):
    path, _ = copy
    head = (path / "HEAD").read_bytes()
    (path / "HEAD").write_bytes(b"\0" * len(head))
    with pytest.raises(CorruptIndexError, match="names no generation"):
        Index.open(path)
    (path / "HEAD").unlink()
    with pytest.raises(CorruptIndexError, match="lost its HEAD"):
        Index.open(path)


def test_a_torn_head_leaves_the_other_slot(copy):
    path, _ = copy
    with Index.open(path, encoder=Encoder()) as index:
        index.upsert(["x"])
        with index.view() as view:
            generation = view.corpus.generation
    data = bytearray((path / "HEAD").read_bytes())
    at = (generation + 1) % 2 * 4096
    data[at : at + 4] = b"torn"
    (path / "HEAD").write_bytes(data)
    with Index.open(path) as index:
        assert "the older slot of" in index.verify().problems[0]
        index.upsert(["y"])
        assert index.verify().ok


def test_what_a_killed_writer_left_is_clean_and_cleared(copy):
    path, _ = copy
    identity, _ = read_head(path / "HEAD")
    (path / "segments" / f"{identity}-0000009999.lexical.tmp").write_bytes(b"half")
    (path / "vectors" / f"{identity}-0000009999.f32").write_bytes(b"never committed")
    with next((path / "vectors").glob("*-00000000*.f32")).open("ab") as file:
        file.write(b"uncommitted tail")
    with Index.open(path, encoder=Encoder()) as index:
        assert index.verify().ok
        index.upsert([{"id": "new", "text": "brand new text"}])
        assert index.verify(deep=True).ok
        assert Retriever(index).retrieve("brand new text")[0].id == "new"
    assert not list(path.rglob("*9999*"))


def test_a_copy_opens_on_read_only_media(copy, abstracts, monkeypatch):
    path, answers = copy
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)
    with Index.open(path, read_only=True) as index:
        assert _answers(index, abstracts) == answers
    assert not list(path.glob("catalog.sqlite-*"))


def test_another_sqlite_file_is_not_taken_for_an_index(tmp_path):
    import sqlite3

    folder = tmp_path / "other"
    folder.mkdir()
    connection = sqlite3.connect(folder / "catalog.sqlite")
    connection.execute("CREATE TABLE mine (x)")
    connection.execute("PRAGMA application_id = 7")
    connection.commit()
    connection.close()
    from twofold.errors import IndexNotFoundError

    with pytest.raises((IndexNotFoundError, CorruptIndexError)):
        Index.open(folder, create=False)


def edit(path, statement):
    import sqlite3

    connection = sqlite3.connect(path / "catalog.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM vector_blocks WHERE number = (SELECT max(number) FROM vector_blocks)",
        "DELETE FROM vector_sets",
        "DELETE FROM segments WHERE leg = 'lexical'",
        "DELETE FROM settings",
        "DELETE FROM state",
        "UPDATE state SET digest = 'x' || digest",
        "UPDATE state SET passages = passages + 1",
        "UPDATE settings SET value = replace(value, 'english', 'anglish')",
    ],
)
def test_lost_rows_are_damage_and_nothing_is_thrown_away(copy, statement):
    path, _ = copy
    edit(path, statement)
    files = sorted(file.name for file in path.rglob("*.*"))
    with pytest.raises(CorruptIndexError), Index.open(path) as index:
        index.upsert(["x"])
    assert sorted(file.name for file in path.rglob("*.f32")) == [
        name for name in files if name.endswith(".f32")
    ]


def test_a_lost_passage_is_seen(copy):
    path, _ = copy
    edit(path, "DELETE FROM passages WHERE row = (SELECT max(row) FROM passages)")
    with Index.open(path) as index:
        assert "passages were committed" in index.verify().problems[0]


def test_verify_reads_again_what_an_open_index_holds(copy):
    path, _ = copy
    with Index.open(path) as index:
        assert index.verify().ok
        file = next((path / "segments").iterdir())
        flip(file, 1000)
        assert len(index.verify().problems) == 1
        flip(file, 1000)
        assert index.verify().ok


def test_folders_that_a_copy_left_out_are_made_again(tmp_path):
    with Index.open(tmp_path / "i", encoder=None) as index:
        index.upsert(["small"])
    (tmp_path / "i" / "segments").rmdir()
    (tmp_path / "i" / "vectors").rmdir()
    with Index.open(tmp_path / "i") as index:
        index.upsert(["more"])
        assert index.verify(deep=True).ok


@pytest.mark.parametrize("head", [True, False])
def test_a_schema_that_is_not_unicode_is_damage(tmp_path, head):
    path = tmp_path / "index"
    with Index.open(path, encoder=None) as index:
        index.upsert(["a text"])
    catalog = path / "catalog.sqlite"
    data = catalog.read_bytes()
    at = data.index(b"CREATE INDEX passages_content ON passages")
    names = data.index(b"passages (content)", at)
    catalog.write_bytes(data[:names] + b"\xcc" + data[names + 1 :])
    if not head:
        (path / "HEAD").unlink()
    with pytest.raises(CorruptIndexError, match="is damaged"):
        Index.open(path, encoder=None)


@pytest.mark.parametrize("table", ["sqlite_autoindex_passages_1", "passages_content"])
def test_flipped_bits_in_an_index_of_sqlite_hide_and_change_nothing(tmp_path, abstracts, table):
    path = tmp_path / "index"
    texts = {a["_id"]: a["text"] for a in abstracts[:40]}
    with Index.open(path, encoder=Encoder()) as index:
        index.upsert([{"id": name, "text": text} for name, text in texts.items()])
        before = _vectors(index, texts)
    with sqlite3.connect(path / "catalog.sqlite") as database:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = database.execute(query, (table,)).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    intact = (path / "catalog.sqlite").read_bytes()
    seen = 0
    for at in range((page - 1) * size + 100, page * size, 97):
        for bit in (0, 5):
            data = bytearray(intact)
            data[at] ^= 1 << bit
            copy = tmp_path / f"{at}-{bit}"
            shutil.copytree(path, copy)
            (copy / "catalog.sqlite").write_bytes(data)
            with Index.open(copy, encoder=Encoder()) as index:
                assert {p.id: p.text for p in index.get(list(texts))} == texts
                assert all(name in index for name in texts)
                try:
                    result = index.upsert([{"id": n, "text": t} for n, t in texts.items()])
                    assert (result.added, result.unchanged) == (0, len(texts))
                    result = index.upsert(
                        [{"id": f"other {n}", "text": t} for n, t in texts.items()]
                    )
                    assert result.added == len(texts)
                    assert np.array_equal(_vectors(index, [f"other {n}" for n in texts]), before)
                    assert index.delete(list(texts)) == len(texts)
                    assert len(index) == len(texts)
                    seen += 1
                except CorruptIndexError:
                    assert {p.id: p.text for p in index.get(list(texts))} == texts
            shutil.rmtree(copy)
    assert seen > 10


def _vectors(index, names):
    with index.open_search() as scope:
        return scope.session.fetch(ids=list(names), texts=False, vectors=True).vectors


def hide_rows(path):
    """Damage the schema so that SQLite finds no row by its number, without an error."""
    data = (path / "catalog.sqlite").read_bytes()
    declared = b"row INTEGER PRIMARY KEY, id TEXT"
    assert data.count(declared) == 1
    changed = data.replace(declared, b"row INTEGEP PRIMARY KEY, id TEXT")
    (path / "catalog.sqlite").write_bytes(changed)


def hide_table(path):
    """Let the table of passages begin at the page of an empty table."""
    with sqlite3.connect(path / "catalog.sqlite") as database:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = database.execute(query, ("tombstones",)).fetchone()
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = 'passages'", (page,))
    database.close()


def test_a_changed_schema_is_damage(tmp_path):
    path = tmp_path / "index"
    with Index.open(path, encoder=None) as index:
        index.upsert([{"id": f"{n}", "text": f"text {n}"} for n in range(5)])
    hide_rows(path)
    with pytest.raises(CorruptIndexError, match="its tables are not those of an index"):
        Index.open(path)
    assert Index.repair(path, tmp_path / "saved").passages == 5


def test_passages_that_sqlite_hides_are_missed_by_all_that_reads_them(tmp_path):
    path = tmp_path / "index"
    with Index.open(path, encoder=HashingEncoder(), title_weight=2) as index:
        index.upsert([{"id": f"{n}", "text": f"text {n}"} for n in range(5)])
    hide_table(path)
    with Index.open(path, encoder=HashingEncoder()) as index:
        for use in (
            lambda: list(index),
            lambda: index.get(["1"]),
            lambda: index.reanalyze("german"),
            lambda: index.reencode(NarrowEncoder()),
            lambda: index.upsert(["another"], replace_all=True),
            lambda: weigh_titles(index),
            lambda: index.export(tmp_path / "export"),
        ):
            with pytest.raises(CorruptIndexError):
                use()
        try:
            problems = index.verify().problems
        except CorruptIndexError:
            problems = ("refused",)
        assert problems


def weigh_titles(index):
    with index.view() as view:
        view.weigh_titles(3)


class NarrowEncoder(HashingEncoder):
    name, dim = "narrow", 8

    @property
    def identity(self):
        return EncoderIdentity("narrow", 8, Metric.COSINE, "narrow")
