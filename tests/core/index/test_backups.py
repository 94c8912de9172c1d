"""Backups: one archive for all backups of an index, each restorable, each verified."""

import json
import os
import shutil
import sqlite3
import tarfile
import threading
from contextlib import suppress

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Retriever
from twofold.encoders import QueryAdapter
from twofold.errors import CorruptIndexError, IndexLockedError, InputError, StorageError
from twofold.index import backup, list_backups, verify_backups
from twofold.index.writing import commit_files
from twofold.storage import WriteLock, content_hash


def passages(start, stop, turn=0):
    return [
        {"id": f"{n:04}", "text": f"word{n} turn{turn} common", "metadata": {"n": n}}
        for n in range(start, stop)
    ]


def content(index):
    return {p.id: (p.title, p.text, dict(p.metadata)) for p in index}


def answers(index):
    retriever = Retriever(index, k=5)
    found = [retriever.retrieve(f"word{n} common") for n in range(0, 60, 7)]
    return [(hits.ids, hits.scores.tolist()) for hits in found]


@pytest.fixture(autouse=True)
def segments_in_files(monkeypatch):
    monkeypatch.setattr(commit_files, "IN_CATALOG", 512)


@pytest.fixture
def filled(tmp_path):
    with Index.open(tmp_path / "index", encoder="hashing") as index:
        index.upsert(passages(0, 60))
        yield index


def test_a_restored_backup_is_the_index_as_it_was(filled, tmp_path):
    filled.query_adapters.save("map", QueryAdapter(np.eye(filled.dim, dtype=np.float32)))
    before, found = content(filled), answers(filled)
    backup = filled.backup(tmp_path / "deep" / "a.tar")
    assert (backup.number, backup.passages, backup.vectors) == (1, 60, 60)
    filled.delete(where={})
    with Index.from_backup(tmp_path / "deep" / "a.tar", tmp_path / "restored") as restored:
        assert content(restored) == before
        assert answers(restored) == found
        assert list(restored.query_adapters) == ["map"]
        assert restored.verify(deep=True).problems == ()
        restored.upsert(passages(60, 70))
        assert len(restored) == 70
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "index", "restored"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.tar"]


def test_each_of_several_backups_can_be_restored(filled, tmp_path):
    archive, states = tmp_path / "a.tar", []
    for turn in range(5):
        filled.upsert(passages(turn * 10, turn * 10 + 40, turn))
        filled.delete([f"{turn:04}"])
        assert filled.backup(archive).number == turn + 1
        states.append((content(filled), answers(filled)))
    assert [backup.passages for backup in list_backups(archive)] == [len(s[0]) for s in states]
    for number, (stored, found) in enumerate(states, 1):
        target = tmp_path / f"restored{number}"
        with Index.from_backup(archive, target, number=number) as restored:
            assert content(restored) == stored
            assert answers(restored) == found
            assert restored.verify(deep=True).problems == ()
    with Index.from_backup(archive, tmp_path / "newest") as newest:
        assert content(newest) == states[-1][0]


def test_a_backup_adds_only_vectors_that_are_new(tmp_path):
    rng = np.random.default_rng(0)
    with Index.open(tmp_path / "index", dim=64, encoder=None) as index:
        vectors = rng.standard_normal((5000, 64), np.float32)
        index.upsert(passages(0, 5000), vectors=vectors)
        first = index.backup(tmp_path / "a.tar")
        index.upsert(passages(5000, 5010), vectors=vectors[:10])
        second = index.backup(tmp_path / "a.tar")
    assert first.added == first.size
    with tarfile.open(tmp_path / "a.tar") as archive:
        sizes = {member.name: member.size for member in archive}
    vector_members = {name: size for name, size in sizes.items() if "/vectors/" in name}
    assert sorted(vector_members.values()) == [10 * 64 * 4, 5000 * 64 * 4]
    assert second.size > second.added
    assert second.size - second.added >= 5000 * 64 * 4


def test_a_backup_of_the_same_generation_adds_nothing(filled, tmp_path):
    assert filled.backup(tmp_path / "a.tar").added > 0
    again = filled.backup(tmp_path / "a.tar")
    assert (again.number, again.added) == (2, 0)
    with Index.from_backup(tmp_path / "a.tar", tmp_path / "restored") as restored:
        assert content(restored) == content(filled)


def test_any_tar_program_lists_and_extracts_an_archive(filled, tmp_path):
    for _ in range(2):
        filled.backup(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar", "r:") as archive:
        names = archive.getnames()
        manifest = archive.extractfile("000002/manifest.json").read()
    assert names[0] == "twofold-backups"
    assert json.loads(manifest.partition(b"\n")[2])["passages"] == 60


def test_an_archive_belongs_to_one_index(filled, tmp_path):
    filled.backup(tmp_path / "a.tar")
    filled.copy(tmp_path / "copy")
    with Index.open(tmp_path / "copy") as copied:
        with pytest.raises(InputError, match="of another index"):
            copied.backup(tmp_path / "a.tar")
        copied.backup(tmp_path / "b.tar")
    with Index.from_backup(tmp_path / "a.tar", tmp_path / "index2") as restored:
        assert len(restored) == 60
    assert len(list_backups(tmp_path / "a.tar")) == 1


def test_other_files_are_refused_and_left_alone(filled, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("my notes " * 200)
    with tarfile.open(tmp_path / "other.tar", "w") as other:
        other.add(notes, "notes.txt")
    for path in (notes, tmp_path / "other.tar"):
        before = path.read_bytes()
        with pytest.raises(InputError, match="is not an archive of backups"):
            filled.backup(path)
        with pytest.raises(InputError, match="is not an archive of backups"):
            Index.from_backup(path, tmp_path / "restored")
        assert path.read_bytes() == before
    with pytest.raises(InputError, match="own folder"):
        filled.backup(filled.path / "a.tar")
    with pytest.raises(InputError, match="is not a file"):
        filled.backup(tmp_path)
    with pytest.raises(InputError, match="there is no archive"):
        Index.from_backup(tmp_path / "missing.tar", tmp_path / "restored")
    (tmp_path / "empty.tar").touch()
    with pytest.raises(InputError, match="holds no complete backup"):
        Index.from_backup(tmp_path / "empty.tar", tmp_path / "restored")
    filled.backup(tmp_path / "a.tar")
    for number in (0, 2, "x"):
        with pytest.raises(InputError, match=f"got number {number}"):
            Index.from_backup(tmp_path / "a.tar", tmp_path / "restored", number=number)
    with pytest.raises(InputError, match="not empty"):
        Index.from_backup(tmp_path / "a.tar", filled.path)
    assert not (tmp_path / "restored").exists()


def test_a_restored_index_may_replace_another_one(filled, tmp_path):
    filled.backup(tmp_path / "a.tar")
    with Index.open(tmp_path / "other", encoder=None) as other:
        other.upsert(["another"])
        with pytest.raises(IndexLockedError):
            Index.from_backup(tmp_path / "a.tar", tmp_path / "other", overwrite=True)
    with Index.from_backup(tmp_path / "a.tar", tmp_path / "other", overwrite=True) as restored:
        assert len(restored) == 60


def test_a_damaged_index_adds_nothing_to_an_archive(filled, tmp_path):
    archive = tmp_path / "a.tar"
    filled.backup(archive)
    before = archive.read_bytes()
    filled.upsert(passages(60, 120))
    (vectors,) = (filled.path / "vectors").iterdir()
    data = bytearray(vectors.read_bytes())
    data[-5] ^= 4
    vectors.write_bytes(data)
    with pytest.raises(CorruptIndexError, match="is not what was written"):
        filled.backup(archive)
    assert archive.read_bytes() == before
    with pytest.raises(CorruptIndexError, match="is not what was written"):
        filled.backup(tmp_path / "new.tar")
    assert not (tmp_path / "new.tar").exists()


def test_a_damaged_passage_never_enters_an_archive(filled, tmp_path):
    archive = tmp_path / "a.tar"
    filled.backup(archive)
    before = archive.read_bytes()
    filled.upsert(passages(60, 70))
    filled.close()
    catalog = filled.path / "catalog.sqlite"
    data = catalog.read_bytes()
    assert data.count(b"word33 ") == 1
    catalog.write_bytes(data.replace(b"word33 ", b"word34 "))
    with Index.open(filled.path) as damaged:
        with pytest.raises(CorruptIndexError, match="passage '0033' .* damaged"):
            damaged.backup(archive)
    assert archive.read_bytes() == before


def test_damage_of_an_archive_is_found_and_leaves_the_target(filled, tmp_path):
    archive = tmp_path / "a.tar"
    filled.backup(archive)
    data = archive.read_bytes()
    with Index.open(tmp_path / "target", encoder=None) as target:
        target.upsert(["unchanged"])
    rng = np.random.default_rng(3)
    seen = 0
    for place in rng.choice(len(data), 150, replace=False).tolist():
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        archive.write_bytes(changed)
        try:
            Index.from_backup(archive, tmp_path / "target", overwrite=True).close()
        except (CorruptIndexError, InputError):
            seen += 1
            with Index.open(tmp_path / "target") as target:
                assert [passage.text for passage in target] == ["unchanged"]
        else:  # padding
            with Index.open(tmp_path / "target") as target:
                assert content(target) == content(filled)
            with Index.open(tmp_path / "second", encoder=None) as other:
                other.upsert(["unchanged"])
                other.copy(tmp_path / "target", overwrite=True)
    assert seen > 100


def test_an_archive_cut_anywhere_has_the_backups_before(filled, tmp_path):
    archive, sizes = tmp_path / "a.tar", []
    for turn in range(3):
        filled.upsert(passages(turn * 20, turn * 20 + 25, turn))
        filled.backup(archive)
        sizes.append(archive.stat().st_size)
    data = archive.read_bytes()
    for size in np.linspace(1, len(data), 40).astype(int).tolist():
        archive.write_bytes(data[:size])
        # A manifest is followed by 1,024 bytes that mark the end for tar programs.
        complete = sum(end - 1024 <= size for end in sizes)
        if size < 1024:
            continue
        assert len(list_backups(archive)) == complete
        assert filled.backup(archive).number == complete + 1
        with Index.from_backup(archive, tmp_path / "restored", overwrite=True) as restored:
            assert content(restored) == content(filled)


def test_an_archive_cut_after_its_manifest_takes_another_backup(filled, tmp_path):
    archive = tmp_path / "a.tar"
    filled.backup(archive)
    data = archive.read_bytes()
    filled.upsert(passages(60, 61))
    whole = len(data.rstrip(b"\0"))
    assert whole % 512  # the manifest is padded
    for size in range(whole, len(data) + 1, 41):
        archive.write_bytes(data[:size])
        assert [backup.number for backup in list_backups(archive)] == [1]
        assert filled.backup(archive).number == 2
        assert [backup.number for backup in list_backups(archive)] == [1, 2]
        assert verify_backups(archive) == []
    with Index.from_backup(archive, tmp_path / "restored") as restored:
        assert content(restored) == content(filled)


def test_names_in_a_crafted_archive_stay_in_the_target(filled, tmp_path):
    archive = tmp_path / "a.tar"
    filled.backup(archive)
    data = archive.read_bytes()
    with tarfile.open(archive) as opened:
        member = opened.getmember("000001/manifest.json")
        manifest = json.loads(opened.extractfile(member).read().partition(b"\n")[2])
    for name in ("../evil", "/evil", "vectors/../../evil", "LOCK", "catalog.sqlite/x", "HEAD"):
        crafted = dict(manifest)
        crafted["files"] = {**manifest["files"], name: [part("x")]}
        text = json.dumps(crafted).encode()
        written = content_hash(text).hex().encode() + b"\n" + text
        header = tarfile.TarInfo("000001/manifest.json")
        header.size = len(written)
        start = member.offset
        archive.write_bytes(
            data[:start] + header.tobuf() + written + bytes(-len(written) % 512) + bytes(1024)
        )
        with pytest.raises(CorruptIndexError, match="is no file of an index"):
            Index.from_backup(archive, tmp_path / "target" / "restored")
        assert not list(tmp_path.rglob("*evil*"))
        assert not (tmp_path / "target" / "restored").exists()


def test_one_process_writes_to_an_archive(filled, tmp_path):
    filled.backup(tmp_path / "a.tar")
    lock = WriteLock(tmp_path / "a.tar")
    lock.acquire()
    with pytest.raises(IndexLockedError, match="another backup is being written"):
        filled.backup(tmp_path / "a.tar")
    lock.release()
    assert filled.backup(tmp_path / "a.tar").number == 2


def test_files_of_others_next_to_an_archive_stay(filled, tmp_path):
    others = [tmp_path / "a.tar.catalog", tmp_path / "a.tar.partial", tmp_path / "a.tar.tmp"]
    for path in others:
        path.write_text("mine")
    leftover = tmp_path / f"a.tar.{'0' * 16}.partial"
    leftover.mkdir()
    filled.backup(tmp_path / "a.tar")
    assert [path.read_text() for path in others] == ["mine"] * 3
    assert not leftover.exists()
    assert len(list(tmp_path.iterdir())) == 5


def test_a_full_disk_leaves_the_earlier_backups(filled, tmp_path, monkeypatch):
    archive = tmp_path / "a.tar"
    filled.backup(archive)
    filled.upsert(passages(60, 90))
    plain, calls = os.fsync, []

    def failing(handle):
        calls.append(handle)
        if os.fstat(handle).st_ino == archive.stat().st_ino:
            raise OSError(28, "No space left on device")
        plain(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError, match="No space left"):
        filled.backup(archive)
    monkeypatch.undo()
    assert calls
    assert [backup.passages for backup in list_backups(archive)] == [60]
    assert filled.backup(archive).passages == 90


def test_backups_beside_a_writer_are_each_one_generation(tmp_path):
    with Index.open(tmp_path / "index", encoder=HashingEncoder()) as index:
        index.upsert(passages(0, 40))
        stop, turns = threading.Event(), [0]

        def write():
            while not stop.is_set() or turns[0] < 3:
                turns[0] += 1
                index.upsert(passages(0, 40, turns[0]))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(6):
                index.backup(tmp_path / "a.tar")
        finally:
            stop.set()
            writer.join()
    seen = set()
    for number in range(1, 7):
        target = tmp_path / f"restored{number}"
        with Index.from_backup(tmp_path / "a.tar", target, number=number) as restored:
            assert restored.verify(deep=True).ok
            texts = {text.split()[1] for _, text, _ in content(restored).values()}
            assert len(restored) == 40
            assert len(texts) == 1
            seen |= texts
    assert seen


@pytest.mark.parametrize("size", [0, 300, 512, 800, 1024])
@pytest.mark.parametrize("zeros", [0, 512, 1024])
def test_a_part_of_a_title_that_a_loss_of_power_left_is_no_backup(tmp_path, size, zeros):
    archive = tmp_path / "backups.tar"
    with Index.open(tmp_path / "index", encoder=HashingEncoder()) as index:
        index.upsert(passages(0, 5))
        index.backup(archive)
        title = archive.read_bytes()[:1024]
        archive.write_bytes((bytes(zeros) + title[zeros:])[:size])
        assert list_backups(archive) == []
        assert index.backup(archive).number == 1
    with Index.from_backup(archive, tmp_path / "restored") as restored:
        assert len(restored) == 5


@pytest.mark.parametrize("name", ["a" * 100, "é" * 90, "x.adapter", "000001"])
def test_a_query_adapter_of_any_name_is_restored(filled, tmp_path, name):
    adapter = QueryAdapter(np.eye(filled.dim, dtype=np.float32))
    filled.query_adapters.save("same", adapter)
    filled.query_adapters.save(name, adapter)
    for number in (1, 2):
        assert filled.backup(tmp_path / "a.tar").number == number
        filled.upsert(passages(60, 60 + number))
    with Index.from_backup(tmp_path / "a.tar", tmp_path / "restored") as restored:
        assert sorted(restored.query_adapters) == sorted(["same", name])
        assert restored.verify().ok


def test_damage_between_backups_is_no_end_of_the_archive(filled, tmp_path):
    archive, states = tmp_path / "a.tar", []
    for turn in range(4):
        filled.upsert(passages(turn * 10, turn * 10 + 40, turn))
        filled.backup(archive)
        states.append(content(filled))
    data = archive.read_bytes()
    assert verify_backups(archive) == []
    with tarfile.open(archive) as opened:
        headers = {m.name: (m.offset, m.size) for m in opened if m.name.startswith("000002/")}
    assert len(headers) > 2
    for offset, size in headers.values():
        for place in (offset + 3, offset + 150, offset + 512 + size // 2):
            changed = bytearray(data)
            changed[place] ^= 1
            archive.write_bytes(changed)
            assert verify_backups(archive) != []
            numbers = [backup.number for backup in list_backups(archive)]
            assert {1, 3, 4} <= set(numbers)
            with suppress(CorruptIndexError, InputError):
                Index.from_backup(archive, tmp_path / "r", number=2, overwrite=True).close()
            with Index.from_backup(archive, tmp_path / "r", number=1, overwrite=True) as restored:
                assert content(restored) == states[0]
            if place != offset + 512 + size // 2:  # a header is read by each backup
                with pytest.raises(CorruptIndexError, match="pass the path of a new archive"):
                    filled.backup(archive)
            assert len(archive.read_bytes()) >= len(data)


def test_an_index_that_was_rolled_back_is_backed_up_as_it_is(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((50, 8), np.float32)
    with Index.open(tmp_path / "index", encoder=None, dim=8) as index:
        index.upsert(passages(0, 20), vectors=vectors[:20])
    shutil.copytree(tmp_path / "index", tmp_path / "old")
    with Index.open(tmp_path / "index") as index:
        index.upsert(passages(20, 22), vectors=vectors[20:22])
        index.backup(tmp_path / "a.tar")
    shutil.rmtree(tmp_path / "index")
    (tmp_path / "old").rename(tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        index.upsert(passages(30, 32), vectors=vectors[30:32])
        for number in (2, 3):
            assert index.backup(tmp_path / "a.tar").number == number
            target = tmp_path / f"restored{number}"
            with Index.from_backup(tmp_path / "a.tar", target) as restored:
                assert content(restored) == content(index)
                assert restored.verify(deep=True).problems == ()
            index.upsert(passages(40, 41), vectors=vectors[40:41])


def test_an_archive_that_another_process_made_meanwhile_stays(filled, tmp_path, monkeypatch):
    archive = tmp_path / "a.tar"
    with Index.open(tmp_path / "other", encoder=None) as other:
        other.upsert(["another"])
        plain = backup.make_folders

        def make_folders(folder):
            monkeypatch.setattr(backup, "make_folders", plain)
            other.backup(archive)
            plain(folder)

        monkeypatch.setattr(backup, "make_folders", make_folders)
        with pytest.raises(InputError, match="of another index"):
            filled.backup(archive)
    assert [made.passages for made in list_backups(archive)] == [1]


def test_only_indexes_are_overwritten(filled, tmp_path):
    filled.backup(tmp_path / "a.tar")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "catalog.sqlite").write_text("mine")
    (mine / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'thesis.txt'"):
        Index.from_backup(tmp_path / "a.tar", mine, overwrite=True)
    with pytest.raises(InputError, match=r"holds 'thesis.txt'"):
        filled.copy(mine, overwrite=True)
    assert (mine / "thesis.txt").read_text() == "mine"
    for call in (filled.copy, filled.export, lambda p: Index.from_backup(tmp_path / "a.tar", p)):
        with pytest.raises(InputError, match="in the folder of the index"):
            call(filled.path / "vectors" / "x")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    filled.copy(private)
    assert private.stat().st_mode & 0o777 == 0o700


def craft_manifest(archive, change):
    """Replace the manifest of an archive's only backup."""
    data = archive.read_bytes()
    with tarfile.open(archive) as opened:
        member = opened.getmember("000001/manifest.json")
        values = json.loads(opened.extractfile(member).read().partition(b"\n")[2])
    change(values)
    text = json.dumps(values).encode()
    written = content_hash(text).hex().encode() + b"\n" + text
    header = tarfile.TarInfo("000001/manifest.json")
    header.size = len(written)
    padding = bytes(-len(written) % 512) + bytes(1024)
    archive.write_bytes(data[: member.offset] + header.tobuf() + written + padding)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["files"].update(a=v["files"]["catalog.sqlite"] * 500),
        lambda v: v["files"].pop("catalog.sqlite"),
        lambda v: v["files"].update({"catalog.sqlite": []}),
        lambda v: v["files"].update({"adapters/a\0.adapter": [part("x")]}),
        lambda v: v["files"].update({"adapters/\ud800.adapter": [part("x")]}),
        lambda v: v["files"].update({"adapters/..adapter": [part("x")]}),
        lambda v: v["files"]["catalog.sqlite"][0].update(size=10**400),
        lambda v: v["files"]["catalog.sqlite"][0].update(size=-1),
        lambda v: v["files"]["catalog.sqlite"][0].update(member=1),
        lambda v: v.update(state="x"),
        lambda v: v.update(passages=None),
        lambda v: v.update(files=[]),
    ],
)
def test_crafted_manifests_are_refused(filled, tmp_path, change):
    filled.backup(tmp_path / "a.tar")
    craft_manifest(tmp_path / "a.tar", change)
    for call in (
        lambda: Index.from_backup(tmp_path / "a.tar", tmp_path / "restored").close(),
        lambda: list_backups(tmp_path / "a.tar"),
        lambda: verify_backups(tmp_path / "a.tar"),
        lambda: filled.backup(tmp_path / "a.tar"),
    ):
        with suppress(CorruptIndexError, InputError):
            call()
    assert not (tmp_path / "restored").exists()


def part(member):
    return {"member": member, "size": 1, "hash": ""}


def test_a_catalog_with_triggers_is_not_restored(filled, tmp_path):
    """A trigger would run when the restored index gets its identity."""
    filled.close()
    catalog = sqlite3.connect(filled.path / "catalog.sqlite", isolation_level=None)
    catalog.execute(
        "CREATE TRIGGER t BEFORE DELETE ON state BEGIN SELECT count(*) FROM (WITH RECURSIVE c(x) "
        "AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c); END"
    )
    catalog.close()
    with pytest.raises(CorruptIndexError, match="views or triggers"):
        Index.open(filled.path)
    report = Index.repair(filled.path, tmp_path / "saved")
    assert report.passages == 60
    with Index.open(tmp_path / "saved") as saved:
        assert saved.verify(deep=True).ok


def test_an_interrupt_after_a_first_backup_leaves_it(filled, tmp_path, monkeypatch):
    plain = backup.shutil.rmtree

    def rmtree(path, **options):
        plain(path, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(backup.shutil, "rmtree", rmtree)
    with pytest.raises(KeyboardInterrupt):
        filled.backup(tmp_path / "a.tar")
    monkeypatch.undo()
    assert [made.passages for made in list_backups(tmp_path / "a.tar")] == [60]
