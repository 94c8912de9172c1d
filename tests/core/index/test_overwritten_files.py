"""Other tools write over the files of an index that is open, as ``cp -r`` does.

This is not supported. An index must answer as the new or the old one, or raise an error.
"""

import os
import shutil
import sqlite3

import pytest

from twofold import HashingEncoder, Index, Retriever
from twofold.errors import CorruptIndexError

ENCODER = HashingEncoder()


def fill(path, name, count):
    with Index.open(path, encoder=ENCODER) as index:
        index.upsert(
            {"id": f"{n}", "text": f"{name} number{n} apple {f'{name} ' * (n % 7)}"}
            for n in range(count)
        )


def copy_over(source, target, *, head_first):
    """Copy file by file, into the files that are there."""
    files = sorted(
        (path for path in source.rglob("*") if path.is_file()),
        key=lambda path: (path.name == "HEAD") != head_first,
    )
    for file in files:
        with file.open("rb") as data, (target / file.relative_to(source)).open("wb") as written:
            shutil.copyfileobj(data, written)
            written.flush()
            os.fsync(written.fileno())


def search(index):
    try:
        hits = Retriever(index, k=5).retrieve("apple number3 number4")
    except CorruptIndexError as error:
        return error
    return [(hit.id, hit.passage.text) for hit in hits]


def check(answer, *allowed):
    assert isinstance(answer, CorruptIndexError) or answer in allowed


@pytest.fixture
def pair(tmp_path):
    """Two indexes whose passages have the same ids and rows, and the answers of each."""
    answers = []
    for name in ("cat", "dog"):
        fill(tmp_path / name, name, 300)
        with Index.open(tmp_path / name, encoder=ENCODER) as index:
            index.upsert([{"id": "more", "text": f"{name} apple"}])
            answers.append(search(index))
    assert answers[0] != answers[1]
    return tmp_path / "cat", tmp_path / "dog", *answers


@pytest.mark.parametrize("head_first", [True, False])
@pytest.mark.parametrize("log", ["log", "checkpointed"])
def test_answers_are_those_of_one_index_or_an_error(pair, head_first, log):
    cat, dog, old, new = pair
    with Index.open(cat, encoder=ENCODER) as writer:
        writer.upsert([{"id": "x", "text": "other words"}])  # into the log, which stays
        if log == "checkpointed":
            connection = sqlite3.connect(cat / "catalog.sqlite")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
        with Index.open(cat, encoder=ENCODER, read_only=True) as reader:
            assert search(reader) == old == search(writer)
            copy_over(dog, cat, head_first=head_first)
            for index in (reader, writer, reader, writer):
                check(search(index), new)


def test_an_error_names_the_cause(pair):
    cat, dog, _, _ = pair
    with Index.open(cat, encoder=ENCODER) as index:
        index.upsert([{"id": "x", "text": "other words"}])
        search(index)
        copy_over(dog, cat, head_first=False)
        found = search(index)
        assert "its catalog and its HEAD file belong to two indexes" in str(found)
        with pytest.raises(CorruptIndexError, match="belong to two indexes"):
            index.upsert([{"id": "y", "text": "more words"}])


def test_a_closed_index_that_is_copied_over_is_the_new_one(pair):
    cat, dog, _, new = pair
    copy_over(dog, cat, head_first=True)
    with Index.open(cat, encoder=ENCODER) as index:
        assert search(index) == new
        assert index.verify(deep=True).ok


def test_a_log_written_back_by_others_is_no_damage(pair):
    cat, _, old, _ = pair
    with Index.open(cat, encoder=ENCODER) as index:
        for turn in range(3):
            index.upsert([{"id": "x", "text": f"other words {turn}"}])
            connection = sqlite3.connect(cat / "catalog.sqlite")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            assert search(index) == old
        assert index.verify().ok


def test_files_that_are_shorter_are_found_on_loading(pair):
    cat = pair[0]
    for file in (cat / "vectors").iterdir():
        os.truncate(file, file.stat().st_size - 4)
    with Index.open(cat, encoder=ENCODER) as index:
        assert isinstance(search(index), CorruptIndexError)
