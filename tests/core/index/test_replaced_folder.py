"""Another index takes the folder of one that is open."""

import os
import shutil
import threading

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Retriever
from twofold.errors import (
    CorruptIndexError,
    EncoderMismatchError,
    IndexLockedError,
    IndexMismatchError,
    IndexNotFoundError,
)
from twofold.storage import exchange_paths, read_head

ENCODER = HashingEncoder()


def fill(path, name, count=40, encoder=ENCODER):
    """Make an index of passages that say which index they are of."""
    with Index.open(path, encoder=encoder) as index:
        index.upsert({"id": f"{n}", "text": f"{name} topic{n}"} for n in range(count))
        index.upsert([{"id": "last", "text": f"{name} last"}])


def remove_and_build(path, aside):
    shutil.rmtree(path)
    fill(path, "new")


def move_into_place(path, aside):
    fill(aside, "new")
    path.rename(path.with_name("old"))
    aside.rename(path)


def copy_over(path, aside):
    fill(aside, "new")
    with Index.open(aside) as index:
        index.copy(path, overwrite=True)


def move_a_diverged_copy_into_place(path, aside):
    """Of the same identity and generation, as cp -r gives it."""
    shutil.copytree(path, aside)
    for index in (path, aside):
        with Index.open(index, encoder=ENCODER) as opened:
            word = "old" if index == path else "new"
            opened.upsert({"id": f"{n}", "text": f"{word} topic{n}"} for n in range(41))
            opened.upsert([{"id": "last", "text": f"{word} last"}])
            opened.delete(["40"])
    path.rename(path.with_name("old"))
    aside.rename(path)


def exchange_links(path, aside):
    fill(aside, "new")
    real = path.with_name("real")
    path.rename(real)
    path.symlink_to(aside)


WAYS = [
    remove_and_build,
    move_into_place,
    copy_over,
    move_a_diverged_copy_into_place,
    exchange_links,
]
every_way = pytest.mark.parametrize("replace", WAYS, ids=lambda way: way.__name__)


@pytest.fixture
def path(tmp_path):
    fill(tmp_path / "i", "old")
    return tmp_path / "i"


def texts(index):
    return {passage.text.split()[0] for passage in index}


def check(path, count):
    """The new index is whole, and holds what it should."""
    with Index.open(path, read_only=True) as index:
        assert index.verify(deep=True).ok
        assert len(index) == count
        assert texts(index) <= {"new", "added"}


@every_way
def test_readers_go_over_to_the_new_index(path, tmp_path, replace):
    with Index.open(path, read_only=True) as index:
        retriever = Retriever(index, k=3)
        assert retriever.retrieve("topic7")[0].passage.text == "old topic7"
        replace(path, tmp_path / "aside")
        for n in (7, 3):
            assert retriever.retrieve(f"topic{n}")[0].passage.text == f"new topic{n}"
        assert index.get(["5"])[0].text == "new topic5"
        assert texts(index) == {"new"}
        assert index.verify(deep=True).ok
    check(path, 41)


@every_way
def test_a_write_goes_to_the_new_index(path, tmp_path, replace):
    with Index.open(path) as index:
        assert Retriever(index, k=1).retrieve("topic7")[0].passage.text == "old topic7"
        replace(path, tmp_path / "aside")
        result = index.upsert([{"id": "x", "text": "added one"}, {"id": "1", "text": "added two"}])
        assert (result.added, result.updated) == (1, 1)
        assert index.delete(["2", "3"]) == 2
        assert Retriever(index, k=1).retrieve("one")[0].passage.text == "added one"
        assert index.verify(deep=True).ok
    check(path, 40)


@pytest.mark.parametrize("replace", [remove_and_build, move_into_place, exchange_links])
def test_a_writer_whose_folder_is_replaced_lets_go_of_its_lock(path, tmp_path, replace):
    """copy(overwrite=True) isn't among the ways: it is refused while a writer holds the lock."""
    with Index.open(path) as index:
        index.upsert(["added before"])
        with Index.open(tmp_path / "aside2", encoder=None) as other:
            other.upsert(["x"])
            with pytest.raises(IndexLockedError):
                other.copy(path, overwrite=True)
        replace(path, tmp_path / "aside")
        index.upsert([{"id": "x", "text": "added after"}])
        with Index.open(path) as second:
            second.upsert([{"id": "y", "text": "added by another"}])
        index.upsert([{"id": "z", "text": "added last"}])
    check(path, 44)


@every_way
def test_an_open_session_stays_with_the_index_that_it_began_with(path, tmp_path, replace):
    with Index.open(path, read_only=True) as index:
        with index.view() as view:
            before = view.fetch(ids=["7"]).passages[0].text
            replace(path, tmp_path / "aside")
            assert view.fetch(ids=["7"]).passages[0].text == before == "old topic7"
            hits = view.search_lexical(["topic9"], 1, None, None)[0]
            assert view.fetch(hits.keys).passages[0].text == "old topic9"
        assert index.get(["7"])[0].text == "new topic7"


@pytest.mark.parametrize("replace", [remove_and_build, move_into_place, exchange_links])
def test_a_replacement_during_a_write_is_refused_and_harms_neither(path, tmp_path, replace):
    done = []

    class Late(HashingEncoder):
        def encode_passages(self, texts):
            if not done and any("late" in text for text in texts):
                done.append(replace(path, tmp_path / "aside"))
            return super().encode_passages(texts)

    with Index.open(path, encoder=Late()) as index:
        with pytest.raises(IndexLockedError, match="repeat the write"):
            index.upsert(["late text"])
        assert done
        assert index.upsert(["late text"]).added == 1
    with Index.open(path, read_only=True) as found:
        assert found.verify(deep=True).ok
        assert texts(found) == {"new", "late"}


def test_a_folder_that_is_gone_is_said_so(path):
    with Index.open(path) as index:
        index.upsert(["added"])
        shutil.rmtree(path)
        for use in (lambda: index.upsert(["x"]), lambda: index.get(["1"]), index.verify):
            with pytest.raises(IndexNotFoundError, match="there is no index at"):
                use()
        assert not path.exists()


def test_what_contradicts_the_arguments_of_open_is_refused(path):
    with Index.open(path, metric="cosine", encoder=ENCODER) as index:
        assert len(index) == 41
        shutil.rmtree(path)
        with Index.open(path, dim=4, metric="dot") as other:
            other.upsert(["x"], vectors=np.ones((1, 4), np.float32))
        with pytest.raises(IndexMismatchError, match="metric"):
            index.get(["1"])


def test_the_encoder_is_checked_against_the_new_index(path):
    class Backwards(HashingEncoder):
        identity = None

        def encode_passages(self, texts):
            return super().encode_passages([text[::-1] for text in texts])

    with Index.open(path, encoder=ENCODER) as index:
        Retriever(index).retrieve("topic7")
        shutil.rmtree(path)
        fill(path, "new", encoder=Backwards())
        with pytest.raises(EncoderMismatchError):
            Retriever(index).retrieve("topic7")
        assert Retriever(index, mode="lexical").retrieve("topic7")[0].passage.text == "new topic7"


def test_a_copy_is_another_index(path, tmp_path):
    with Index.open(path) as index:
        index.copy(tmp_path / "copy")
    (first, generation), second = read_head(path / "HEAD"), read_head(tmp_path / "copy" / "HEAD")
    assert second[1] == generation
    assert second[0] != first
    shutil.copyfile(path / "HEAD", tmp_path / "copy" / "HEAD")
    with pytest.raises(CorruptIndexError, match="belong to two indexes"):
        Index.open(tmp_path / "copy")


def test_files_of_others_are_left_alone(path, tmp_path):
    with Index.open(tmp_path / "other", encoder=ENCODER) as other:
        other.upsert(f"text {n}" for n in range(20))
    strangers = [next((tmp_path / "other" / "vectors").iterdir())]
    strangers += [tmp_path / name for name in ("notes.f32", "0000000001.f32")]
    for stranger in strangers[1:]:
        stranger.write_text("mine")
    for stranger in strangers:
        shutil.copy(stranger, path / "vectors")
    (path / "segments" / "folder").mkdir()
    with Index.open(path) as index:
        own = read_head(path / "HEAD")[0]
        left = path / "vectors" / f"{own}-0000099999.f32"
        left.write_text("left by a killed writer")
        index.upsert(["another"])
        assert not left.exists()
        index.delete(where={})
        index.upsert(f"text {n}" for n in range(20))
        assert index.verify(deep=True).ok
    for stranger in strangers:
        assert (path / "vectors" / stranger.name).exists()
    assert (path / "segments" / "folder").is_dir()


def test_nothing_is_deleted_behind_a_link(path, tmp_path):
    shared = tmp_path / "shared"
    (path / "vectors").rename(shared)
    own = read_head(path / "HEAD")[0]
    (shared / f"{own}-0000099999.f32").write_text("not needed")
    (shared / "notes").write_text("mine")
    (path / "vectors").symlink_to(shared)
    before = set(os.listdir(shared))
    with Index.open(path) as index:
        index.upsert(["another"])
        assert index.verify(deep=True).ok
    assert before <= set(os.listdir(shared))


def test_readers_beside_replacements_never_mix_two_indexes(tmp_path):
    names = ["red", "blue"]
    for name in names:
        fill(tmp_path / name, name, 60)
    path, problems, answered = tmp_path / "i", [], []
    shutil.copytree(tmp_path / "red", path)
    stop = threading.Event()

    def read():
        with Index.open(path, read_only=True) as index:
            retriever = Retriever(index, k=2)
            while not stop.is_set():
                for n in (3, 17, 41):
                    hit = retriever.retrieve(f"topic{n}")[0]
                    answered.append(hit.passage.text)
                    if hit.passage.text not in {f"{name} topic{n}" for name in names}:
                        problems.append(hit.passage.text)
                kinds = texts(index)
                if len(kinds) != 1:
                    problems.append(kinds)

    def run():
        try:
            read()
        except Exception as error:  # noqa: BLE001  # shown by the assertion
            problems.append(error)

    readers = [threading.Thread(target=run) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for turn in range(30):
            with Index.open(tmp_path / names[turn % 2], read_only=True) as index:
                index.copy(path, overwrite=True)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert problems == []
    assert {text.split()[0] for text in answered} == set(names)


def test_a_writer_killed_while_it_creates_an_index_leaves_one_that_opens(tmp_path, monkeypatch):
    """At every file that it renames or opens on its way."""
    from twofold.storage import files

    for step in range(1, 8):
        path, left = tmp_path / f"i{step}", [step]

        def fail(plain, left=left):
            def counted(*arguments, **options):
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt
                return plain(*arguments, **options)

            return counted

        monkeypatch.setattr(files.os, "fsync", fail(os.fsync))
        monkeypatch.setattr(files.os, "open", fail(os.open))
        try:
            with Index.open(path, encoder=None):
                pass
        except KeyboardInterrupt:
            pass
        monkeypatch.undo()
        fill(path, "new", encoder=None)
        check(path, 41)


def test_an_index_opens_while_another_takes_its_folder(tmp_path):
    """HEAD is read before the catalog, so the two may be of two indexes."""
    path, aside, stop = tmp_path / "index", tmp_path / "aside", threading.Event()
    fill(path, "old")
    fill(aside, "new")
    exchanged, opened = 0, set()

    def exchange():
        nonlocal exchanged
        while not stop.is_set():
            assert exchange_paths(path, aside)
            with Index.open(aside, read_only=True) as index:  # so that openings come between
                assert index.get(["last"])
            exchanged += 1

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(300):
            with Index.open(path, read_only=True) as index:
                opened.add(index.get(["last"])[0].text)
    finally:
        stop.set()
        thread.join()
    assert exchanged > 100
    assert opened == {"old last", "new last"}
