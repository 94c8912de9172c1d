"""Repair saves what is intact, names what is lost, and leaves the damaged folder as it is."""

import hashlib
import shutil
import sqlite3

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Retriever
from twofold.encoders import QueryAdapter
from twofold.errors import (
    CorruptIndexError,
    IndexLockedError,
    IndexMismatchError,
    IndexNotFoundError,
    InputError,
)
from twofold.index.writing import commit_files
from twofold.storage.catalog import passage_checksum
from twofold.storage.records import row_checksum

LONG = "long " * 3000  # continues on overflow pages


def passages(stop=300):
    return [
        {
            "id": f"{n:04}",
            "title": "T" * (n % 3),
            "text": f"word{n} common {LONG if n % 100 == 7 else ''}",
            "metadata": {"n": n},
        }
        for n in range(stop)
    ]


def content(index):
    return {p.id: (p.title, p.text, dict(p.metadata)) for p in index}


def hash_folder(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }


@pytest.fixture(autouse=True)
def segments_in_files(monkeypatch):
    monkeypatch.setattr(commit_files, "IN_CATALOG", 512)


@pytest.fixture
def filled(tmp_path):
    """Fill an index with updates and deletes, and return its folder and content."""
    with Index.open(tmp_path / "index", encoder="hashing") as index:
        index.upsert(passages())
        index.upsert([{"id": f"{n:04}", "text": f"changed word{n}"} for n in range(40, 60)])
        index.delete([f"{n:04}" for n in range(10)])
        index.upsert([{"id": "last", "text": "the last one"}])
        stored = content(index)
    return tmp_path / "index", stored


def damage(path, start, stop):
    """Invert the bits of some bytes."""
    data = bytearray(path.read_bytes())
    data[start:stop] = bytes(255 - byte for byte in data[start:stop])
    path.write_bytes(data)


def check_saved(target, stored, report):
    """Check that all saved passages are as stored, and all others are reported."""
    with Index.open(target) as index:
        saved = content(index)
        assert index.verify(deep=True).problems == ()
        assert {name: stored[name] for name in saved} == saved
        assert len(saved) == report.passages
        assert set(report.lost) <= set(stored) - set(saved)
        assert len(report.lost) + report.lost_unnamed == len(stored) - len(saved)
        index.upsert(["one more"])
        assert Retriever(index).retrieve("one more").passages[0].text == "one more"
    return saved


def test_an_intact_index_is_saved_as_it_is(filled, tmp_path):
    folder, stored = filled
    before = hash_folder(folder)
    report = Index.repair(folder, tmp_path / "saved")
    assert report.ok
    assert report.problems == ()
    assert (report.passages, report.vectors, report.encoded) == (291, 291, 0)
    assert hash_folder(folder) == before
    with Index.open(folder) as index:
        hits = [Retriever(index, k=20).retrieve(f"word{n}") for n in range(0, 300, 17)]
    with Index.open(tmp_path / "saved") as saved:
        assert [Retriever(saved, k=20).retrieve(h.query).ids for h in hits] == [h.ids for h in hits]
    assert check_saved(tmp_path / "saved", stored, report) == stored


def test_a_wrong_passage_is_lost_and_named(filled, tmp_path):
    folder, stored = filled
    catalog = sqlite3.connect(folder / "catalog.sqlite")
    catalog.execute("UPDATE passages SET text = 'wrong' WHERE id IN ('0100', '0101')")
    catalog.execute("DELETE FROM passages WHERE id = '0102'")
    catalog.commit()
    catalog.close()
    before = hash_folder(folder)
    report = Index.repair(folder, tmp_path / "saved")
    assert report.lost == ("0100", "0101", "0102")
    assert report.lost_unnamed == 0
    assert not report.ok
    assert hash_folder(folder) == before
    assert len(check_saved(tmp_path / "saved", stored, report)) == 288


def test_every_page_of_the_catalog_zeroed_in_turn(filled, tmp_path):
    """No page, the first one included, costs more than the passages that are on it."""
    folder, stored = filled
    catalog = folder / "catalog.sqlite"
    data = catalog.read_bytes()
    size = int.from_bytes(data[16:18], "big")
    pages = range(0, len(data), size)
    worst = 0
    for start in pages[:: max(1, len(pages) // 25)]:
        catalog.write_bytes(data[:start] + bytes(size) + data[start + size :])
        target = tmp_path / f"saved{start}"
        report = Index.repair(folder, target)
        saved = check_saved_but_deletes(target, stored, report)
        worst = max(worst, len(stored) - len(saved))
    assert 0 < worst < 80


def check_saved_but_deletes(target, stored, report):
    """Check as ``check_saved``; where the report warns of it, deleted passages may be back."""
    with Index.open(target) as index:
        saved = content(index)
        assert index.verify(deep=True).problems == ()
    back = {name for name in saved if name not in stored}
    assert not back or any("delet" in problem for problem in report.problems)
    same = {name for name in saved if stored.get(name) == saved[name]}
    older = set(saved) - same - back
    assert not older or report.lost or any("delet" in problem for problem in report.problems)
    missing = set(stored) - set(saved)
    assert set(report.lost) <= missing
    assert len(report.lost) + report.lost_unnamed >= len(missing)
    return same


def test_a_catalog_that_sqlite_refuses(filled, tmp_path):
    folder, stored = filled
    damage(folder / "catalog.sqlite", 0, 100)
    with pytest.raises(Exception, match="not a database|not a twofold|damaged"):
        Index.open(folder)
    report = Index.repair(folder, tmp_path / "saved")
    saved = check_saved_but_deletes(tmp_path / "saved", stored, report)
    assert len(saved) == len(stored)


def test_commits_that_are_in_the_log_alone_are_saved(tmp_path):
    index = Index.open(tmp_path / "index", encoder="hashing")
    index.upsert(passages(50))
    log = tmp_path / "index" / "catalog.sqlite-wal"
    assert log.stat().st_size > 0
    copied = tmp_path / "crashed"
    copied.mkdir()
    for path in (tmp_path / "index").rglob("*"):
        if path.is_file() and path.name != "LOCK" and not path.name.endswith("-shm"):
            target = copied / path.relative_to(tmp_path / "index")
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    stored = content(index)
    index.close()
    report = Index.repair(copied, tmp_path / "saved")
    assert check_saved(tmp_path / "saved", stored, report) == stored
    damage(copied / "catalog.sqlite", 0, 100)
    report = Index.repair(copied, tmp_path / "saved2")
    assert len(check_saved_but_deletes(tmp_path / "saved2", stored, report)) == 50


def test_lost_vectors_are_encoded_again(filled, tmp_path):
    folder, stored = filled
    (vectors,) = (folder / "vectors").iterdir()
    damage(vectors, 100, 104)
    report = Index.repair(folder, tmp_path / "saved")
    assert report.ok
    assert report.encoded > 0
    assert report.vectors == len(stored)
    assert any("not those that were written" in problem for problem in report.problems)
    with Index.open(folder.parent / "clean", encoder="hashing") as clean:
        fields = ("title", "text", "metadata")
        clean.upsert(
            {"id": name, **dict(zip(fields, values, strict=True))}
            for name, values in stored.items()
        )
        with Index.open(tmp_path / "saved") as saved:
            for text in ("word7", "changed", "last"):
                hits = [Retriever(i, mode="dense", k=300).retrieve(text) for i in (clean, saved)]
                scores = [dict(zip(h.ids, h.scores.tolist(), strict=True)) for h in hits]
                assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_vectors_that_can_not_be_encoded_are_named(tmp_path):
    class Named(HashingEncoder):
        @property
        def name(self):
            return "mine"

    encoder = Named()
    vectors = np.random.default_rng(0).standard_normal((2000, 8), np.float32)
    with Index.open(tmp_path / "index", encoder=None, dim=8) as index:
        index.upsert(passages(2000), vectors=vectors)
    (path,) = (tmp_path / "index" / "vectors").iterdir()
    damage(path, 100, 104)
    report = Index.repair(tmp_path / "index", tmp_path / "saved")
    assert report.passages == 2000
    assert 0 < len(report.without_vector) < 2000
    assert report.vectors == 2000 - len(report.without_vector)
    assert not report.ok
    with Index.open(tmp_path / "saved") as saved:
        hits = Retriever(saved, mode="dense", k=1).retrieve(vector=vectors[1999])
        assert hits.ids == ["1999"]
    with Index.open(tmp_path / "mine", encoder=encoder) as index:
        index.upsert(passages(100))
    (path,) = (tmp_path / "mine" / "vectors").iterdir()
    damage(path, 100, 104)
    report = Index.repair(tmp_path / "mine", tmp_path / "saved2", encoder=encoder)
    assert report.ok
    assert report.encoded > 0


def test_segments_profiles_and_adapters(filled, tmp_path):
    folder, stored = filled
    with Index.open(folder) as index:
        index.query_adapters.save("good", QueryAdapter(np.eye(index.dim, dtype=np.float32)))
        index.query_adapters.save("bad", QueryAdapter(np.eye(index.dim, dtype=np.float32)))
        agreement = index.agreement
    damage(folder / "adapters" / "bad.adapter", 200, 210)
    for path in (folder / "segments").iterdir():
        damage(path, 10, 12)
    report = Index.repair(folder, tmp_path / "saved")
    assert not report.ok  # an adapter is lost
    assert report.lost == ()
    assert any("bad" in problem for problem in report.problems)
    with Index.open(tmp_path / "saved") as saved:
        assert list(saved.query_adapters) == ["good"]
        assert saved.agreement == agreement
    assert check_saved(tmp_path / "saved", stored, report) == stored


def test_a_lost_commit_is_reported(filled, tmp_path):
    folder, _ = filled
    before = (folder / "catalog.sqlite").read_bytes()
    with Index.open(folder) as index:
        index.upsert(["more"])
    (folder / "catalog.sqlite").write_bytes(before)
    report = Index.repair(folder, tmp_path / "saved")
    assert any("the changes since are lost" in problem for problem in report.problems)


def test_what_can_not_be_repaired(filled, tmp_path):
    folder, _ = filled
    with pytest.raises(IndexNotFoundError, match="has no catalog"):
        Index.repair(tmp_path / "nowhere", tmp_path / "saved")
    with pytest.raises(InputError, match="path outside of it"):
        Index.repair(folder, folder / "saved")
    with pytest.raises(InputError, match="not empty"):
        Index.repair(folder, folder.parent)
    with Index.open(folder) as index:
        index.delete(["0011"])
        with pytest.raises(IndexLockedError):
            Index.repair(folder, tmp_path / "saved")
    (folder / "catalog.sqlite").write_bytes(bytes(5000))
    with pytest.raises(CorruptIndexError, match="no passage of"):
        Index.repair(folder, tmp_path / "saved")
    (folder / "catalog.sqlite").write_bytes(b"")
    with pytest.raises(CorruptIndexError, match="no passage of"):
        Index.repair(folder, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def split_at_dashes(text):
    return text.split("-")


def test_the_analyzer_is_passed(tmp_path):
    with Index.open(tmp_path / "index", encoder=None, analyzer=split_at_dashes) as index:
        index.upsert([{"id": "1", "text": "green-tea"}])
    with pytest.raises(IndexMismatchError, match="trust"):
        Index.repair(tmp_path / "index", tmp_path / "saved")
    report = Index.repair(tmp_path / "index", tmp_path / "saved", analyzer=split_at_dashes)
    assert report.ok


def test_random_bytes_in_every_file(filled, tmp_path):
    folder, stored = filled
    rng = np.random.default_rng(1)
    files = [path for path in folder.rglob("*") if path.is_file()]
    contents = {path: path.read_bytes() for path in files}
    same = 0
    for turn in range(40):
        for path in files:
            path.write_bytes(contents[path])
        for _ in range(3):
            path = files[int(rng.integers(len(files)))]
            if contents[path]:
                start = int(rng.integers(len(contents[path])))
                data = bytearray(contents[path])
                data[start : start + 8] = rng.bytes(8)
                path.write_bytes(data)
        report = Index.repair(folder, tmp_path / f"saved{turn}")
        same += len(check_saved_but_deletes(tmp_path / f"saved{turn}", stored, report))
    assert same > 39 * len(stored)


def test_an_empty_index_is_saved(tmp_path):
    for name, options in (("a", {"encoder": None, "dim": 8}), ("b", {"encoder": None})):
        Index.open(tmp_path / name, **options).close()
        report = Index.repair(tmp_path / name, tmp_path / f"saved-{name}")
        assert report.ok
        assert report.passages == 0
        with Index.open(tmp_path / f"saved-{name}") as saved:
            assert len(saved) == 0


def test_lost_settings_are_no_complete_repair(filled, tmp_path):
    folder, stored = filled
    path = folder / "catalog.sqlite"
    data = path.read_bytes()
    assert data.count(b'"english"') == 1
    path.write_bytes(data.replace(b'"english"', b'"englisH"'))
    report = Index.repair(folder, tmp_path / "saved")
    assert not report.ok
    assert report.lost == ()
    with Index.open(tmp_path / "saved") as saved:
        assert content(saved) == stored


@pytest.mark.parametrize("place", [16, 17, 18, 20, 21, 25, 27])
def test_a_flipped_bit_in_the_header_of_the_catalog(filled, tmp_path, place):
    folder, stored = filled
    path = folder / "catalog.sqlite"
    data = path.read_bytes()
    for bit in (0, 2, 7):
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        path.write_bytes(changed)
        target = tmp_path / f"saved{bit}"
        report = Index.repair(folder, target)
        assert check_saved_but_deletes(target, stored, report) == set(stored)


def crash(tmp_path, count):
    """Return a folder as a crash leaves it: with all commits in the log."""
    index = Index.open(tmp_path / "index", encoder=None)
    for turn in range(count):
        index.upsert([{"id": f"{turn}", "text": f"word{turn}"}])
    copied = tmp_path / "crashed"
    shutil.copytree(tmp_path / "index", copied, ignore=shutil.ignore_patterns("LOCK", "*-shm"))
    index.close()
    return copied


def test_damage_in_the_log_is_reported(tmp_path):
    folder = crash(tmp_path, 6)
    path = folder / "catalog.sqlite-wal"
    damage(path, path.stat().st_size // 2, path.stat().st_size // 2 + 4)
    report = Index.repair(folder, tmp_path / "saved")
    assert not report.ok
    assert any("the changes since are lost" in problem for problem in report.problems)


def test_a_log_with_huge_page_numbers_ends(tmp_path):
    folder = crash(tmp_path, 3)
    path = folder / "catalog.sqlite-wal"
    data = bytearray(path.read_bytes())
    for start in range(32, len(data), 24 + 4096):
        data[start : start + 4] = b"\xff" * 4
    path.write_bytes(data)
    with pytest.raises(CorruptIndexError, match="no passage of"):
        Index.repair(folder, tmp_path / "saved")


def test_pointers_and_chains_of_pages_that_repeat_end(filled, tmp_path):
    """A page whose pointers all lead to a cell with a chain of overflow pages in a circle."""
    folder, _ = filled
    path = folder / "catalog.sqlite"
    data = path.read_bytes()
    number = len(data) // 4096 + 1
    page = bytearray(4096)
    page[0], page[3:5] = 0x0D, (1500).to_bytes(2, "big")
    page[8:3008] = (3100).to_bytes(2, "big") * 1500
    cell = b"\x84\xa0\x80\x00\x01"  # a payload of ten million bytes
    page[3100 : 3100 + len(cell)] = cell
    for at in range(3105, 4092, 4):
        page[at : at + 4] = number.to_bytes(4, "big")
    path.write_bytes(data + bytes(page) * 40)
    report = Index.repair(folder, tmp_path / "saved")
    assert report.passages == 291


@pytest.mark.parametrize("table", ["settings", "tombstones", "passages"])
def test_a_view_in_place_of_a_table_is_not_read(filled, tmp_path, table):
    folder, _ = filled
    catalog = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
    catalog.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    catalog.execute(
        f"CREATE VIEW {table} AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
        "SELECT x AS row, x AS value, x AS checksum FROM c WHERE x < 0"
    )
    catalog.close()
    with pytest.raises(CorruptIndexError, match="views or triggers"):
        Index.open(folder)
    report = Index.repair(folder, tmp_path / "saved")
    assert report.passages >= 291


@pytest.mark.parametrize("value", ["x", -1, b"x"])
def test_other_types_in_the_counters(filled, tmp_path, value):
    folder, stored = filled
    catalog = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
    *values, _ = catalog.execute("SELECT * FROM state").fetchone()
    values[4] = value
    catalog.execute("DELETE FROM state")
    marks = ",".join("?" * (len(values) + 1))
    catalog.execute(f"INSERT INTO state VALUES ({marks})", (*values, row_checksum(*values)))
    catalog.close()
    report = Index.repair(folder, tmp_path / "saved")
    assert check_saved_but_deletes(tmp_path / "saved", stored, report) == set(stored)


def test_a_passage_with_wrong_metadata_is_lost_alone(filled, tmp_path):
    folder, stored = filled
    catalog = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
    row, *fields, hashed = catalog.execute(
        "SELECT row, id, title, text, content FROM passages WHERE id = '0100'"
    ).fetchone()
    values = "[1]", passage_checksum(row, *fields, "[1]", hashed), row
    catalog.execute("UPDATE passages SET metadata = ?, checksum = ? WHERE row = ?", values)
    catalog.close()
    report = Index.repair(folder, tmp_path / "saved")
    assert report.lost == ("0100",)
    assert not report.ok
    assert len(check_saved(tmp_path / "saved", stored, report)) == 290
