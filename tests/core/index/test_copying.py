import threading
from pathlib import Path

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Retriever
from twofold.errors import CorruptIndexError, IndexLockedError, InputError


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
    assert not [each for each in tmp_path.iterdir() if "copying" in each.name]
    assert not [each for each in tmp_path.iterdir() if "replaced" in each.name]


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
        if ".copying" in self.name:
            raise OSError("no more")
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="no more"):
        index.copy(tmp_path / "other", overwrite=True)
    monkeypatch.undo()
    with Index.open(tmp_path / "other") as kept:
        assert [each.text for each in kept] == ["another text"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["index", "other"]
