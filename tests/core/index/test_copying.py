import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Retriever
from twofold.errors import CorruptIndexError, IndexLockedError, InputError, StorageError
from twofold.index import copying


def answers(index, queries):
    retriever = Retriever(index, k=5)
    return [
        list(zip(h.ids, h.scores.tolist(), strict=True)) for h in map(retriever.retrieve, queries)
    ]


def test_a_copy_is_an_index_of_its_own(index, abstracts, claims, tmp_path):
    index.upsert({"id": each["_id"], "text": each["text"]} for each in abstracts[:200])
    index.delete([abstracts[3]["_id"]])
    before = answers(index, claims[:20])
    index.copy(tmp_path / "deep" / "copy")
    index.delete(where={})
    with Index.open(tmp_path / "deep" / "copy") as copied:
        assert copied.verify(deep=True).ok
        assert answers(copied, claims[:20]) == before
        copied.upsert(["more"])
        assert len(copied) == 200
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["copy"]


def test_what_is_there_is_left_alone_unless_it_is_an_index(index, tmp_path):
    index.upsert(["a text"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("notes")
    for overwrite, message in ((False, "is not empty"), (True, "is not an index")):
        with pytest.raises(InputError, match=message):
            index.copy(tmp_path / "mine", overwrite=overwrite)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "notes"
    with pytest.raises(InputError, match="is the index itself"):
        index.copy(index.path, overwrite=True)
    with Index.open(tmp_path / "other", encoder=None) as other:
        other.upsert(["another text"])
        with pytest.raises(IndexLockedError, match="another Index of this process"):
            index.copy(tmp_path / "other", overwrite=True)
        assert [each.text for each in other] == ["another text"]
    index.copy(tmp_path / "other", overwrite=True)
    with Index.open(tmp_path / "other") as replaced:
        assert [each.text for each in replaced] == ["a text"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "mine", "other"]


def test_copies_beside_a_writer_are_each_one_generation(tmp_path):
    rng = np.random.default_rng(0)
    with Index.open(tmp_path / "i", encoder=HashingEncoder()) as index:
        index.upsert(["first"])
        stop = threading.Event()

        def write():
            turn = 0
            while not stop.is_set():
                turn += 1
                # Both of a pair, or neither; enough deletes to have files replaced.
                index.upsert([{"id": f"{own}{turn % 50}", "text": f"{turn}"} for own in "ab"])
                index.delete([f"{own}{int(rng.integers(50))}" for own in "ab"])

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for turn in range(8):
                index.copy(tmp_path / f"copy{turn}")
        finally:
            stop.set()
            writer.join()
    for turn in range(8):
        with Index.open(tmp_path / f"copy{turn}", read_only=True) as copied:
            assert copied.verify(deep=True).ok


def test_an_index_that_lacks_a_file_is_not_copied(tmp_path):
    with Index.open(tmp_path / "i", encoder=HashingEncoder()) as index:
        index.upsert([f"text {n}" for n in range(30)])
        for path in (tmp_path / "i" / "vectors").iterdir():
            path.unlink()
        with pytest.raises(CorruptIndexError, match="is missing: restore"):
            index.copy(tmp_path / "copy")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["i"]


def test_an_index_that_can_not_be_replaced_stays(index, tmp_path, monkeypatch):
    index.upsert(["a text"])
    with Index.open(tmp_path / "other", encoder=None) as other:
        other.upsert(["another text"])
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())  # without renameat2
    plain = Path.replace

    def failing(self, target):
        if self.parent.name.endswith(".partial") and self.name == "index":
            raise OSError("no more")
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="no more"):
        index.copy(tmp_path / "other", overwrite=True)
    monkeypatch.undo()
    with Index.open(tmp_path / "other") as unchanged:
        assert [passage.text for passage in unchanged] == ["another text"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "other"]


KILLED = """
import os, signal, sys, ctypes
from pathlib import Path
from twofold import Index

plain = Path.replace

def replace(self, target):
    plain(self, target)
    if Path(target).name == "replaced":
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[3] == "between renames":
    ctypes.CDLL = lambda *_, **__: object()  # a system without renameat2
    Path.replace = replace
else:
    from twofold.index import copying
    copying.finish_folder = lambda _: os.kill(os.getpid(), signal.SIGKILL)
Index.open(sys.argv[1]).copy(sys.argv[2], overwrite=True)
"""


def copy_until_killed(source, target, place):
    command = [sys.executable, "-c", KILLED, str(source), str(target), place]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


def test_what_killed_copies_leave_is_removed_by_the_next_one(tmp_path):
    source, target = tmp_path / "source", tmp_path / "other"
    with Index.open(source, encoder=None) as index:
        index.upsert(["a text"])
        index.copy(target)
    for _ in range(3):
        copy_until_killed(source, target, "in the copy")
        assert len(list(tmp_path.glob("other.*.partial"))) == 1
    strange = tmp_path / "other.0123456789abcdef.partially"
    strange.mkdir()
    with Index.open(source) as index:
        index.copy(target, overwrite=True)
    assert sorted(tmp_path.iterdir()) == [target, strange, source]


@pytest.mark.parametrize("read_only", [False, True])
def test_an_index_moved_away_by_a_killed_copy_is_moved_back_on_opening(tmp_path, read_only):
    source, target = tmp_path / "source", tmp_path / "other"
    for path in (source, target):
        with Index.open(path, encoder=None) as index:
            index.upsert([path.name])
    copy_until_killed(source, target, "between renames")
    assert not target.exists()
    with Index.open(target, read_only=read_only) as index:
        assert [passage.text for passage in index] == ["other"]
        assert index.verify(deep=True).ok
    copy_until_killed(source, target, "between renames")
    with Index.open(source) as index:
        index.copy(target, overwrite=True)
    with Index.open(target) as index:
        assert [passage.text for passage in index] == ["source"]
    assert sorted(tmp_path.iterdir()) == [target, source]


def test_a_copy_at_work_is_no_leftover(tmp_path, monkeypatch):
    """Another copy to the same place begins and ends while one is being written."""
    with Index.open(tmp_path / "source", encoder=None) as index:
        index.upsert(["a text"])
        plain = copying.finish_folder

        def finish(layout):
            monkeypatch.setattr(copying, "finish_folder", plain)
            index.copy(tmp_path / "copy")
            plain(layout)

        monkeypatch.setattr(copying, "finish_folder", finish)
        with pytest.raises(StorageError, match="not empty"):
            index.copy(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "source"]
    with Index.open(tmp_path / "copy") as copied:
        assert [passage.text for passage in copied] == ["a text"]


def test_a_link_to_an_index_stays_one_when_it_is_overwritten(tmp_path):
    for name in ("source", "real"):
        with Index.open(tmp_path / name, encoder=None) as index:
            index.upsert([name])
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with Index.open(tmp_path / "source") as index:
        index.copy(tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    with Index.open(tmp_path / "real") as index:
        assert [passage.text for passage in index] == ["source"]
