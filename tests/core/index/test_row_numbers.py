"""Row numbers have 32 bits: what would exceed them is refused before anything is written."""

from dataclasses import replace

import pytest

from twofold import HashingEncoder, Index, Retriever
from twofold.errors import InputError
from twofold.index.writing.upsert import MAX_ROWS
from twofold.storage import Catalog


@pytest.fixture
def path(tmp_path):
    """An index with room for three more rows."""
    with Index.open(tmp_path / "i", encoder=HashingEncoder()) as index:
        index.upsert([{"id": "old", "text": "an apple"}])
    catalog = Catalog(tmp_path / "i" / "catalog.sqlite", read_only=False)
    with catalog.write_transaction() as writer:
        writer.put_state(replace(writer.state(), next_row=MAX_ROWS - 3))
    catalog.close()
    return tmp_path / "i"


def numbered(*numbers):
    return [{"id": f"{n}", "text": f"apple {n}"} for n in numbers]


def test_the_last_rows_are_used(path):
    with Index.open(path, encoder=HashingEncoder()) as index:
        index.upsert(numbered(1, 2))
        index.upsert(numbered(3))
        assert index.upsert(numbered(1, 2, 3)).unchanged == 3  # takes no row
        assert index.verify(deep=True).ok
    with Index.open(path, encoder=HashingEncoder()) as index:
        assert {passage.id for passage in index} == {"old", "1", "2", "3"}
        assert set(Retriever(index).retrieve("apple").ids) == {"old", "1", "2", "3"}


@pytest.mark.parametrize("replace_all", [False, True])
def test_more_rows_are_refused(path, replace_all):
    with Index.open(path, encoder=HashingEncoder()) as index:
        with index.view() as view:
            before = view.snapshot.state
        words = "at most 4,294,967,296 passages in .* has room for 3 more, got 4: Index.export"
        with pytest.raises(InputError, match=words):
            index.upsert(numbered(1, 2, 3, 4), replace_all=replace_all)
        with index.view() as view:
            assert view.snapshot.state == before
        assert index.verify().ok
        index.upsert(numbered(1, 2, 3))
        with pytest.raises(InputError, match="has room for 0 more, got 1"):
            index.upsert([{"id": "1", "text": "changed"}])
        assert index.delete(["1"]) == 1
        index.copy(path.with_name("copy"))
    with Index.open(path, encoder=HashingEncoder()) as index:
        passages = list(index)
    with Index.open(path.with_name("anew"), encoder=HashingEncoder()) as index:
        index.upsert(passages)
        assert index.upsert(numbered(4)).added == 1
