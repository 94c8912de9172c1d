"""Errors of the system and of SQLite come out as errors of the library."""

import os
import resource

import numpy as np
import pytest

from twofold import HashingEncoder, Index
from twofold.encoders import QueryAdapter
from twofold.errors import CorruptIndexError, StorageError


def test_a_catalog_that_sqlite_can_not_create_is_a_storage_error(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # like a full disk
    try:
        with pytest.raises(StorageError, match="catalog.sqlite can't be read or written"):
            Index.open(tmp_path / "index", encoder=HashingEncoder())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with Index.open(tmp_path / "index", encoder=HashingEncoder()) as index:
        assert index.verify().ok


def test_a_copy_that_the_system_refuses_is_a_storage_error(index, tmp_path):
    index.upsert(["a text"])
    with pytest.raises(StorageError, match="File name too long"):
        index.copy(tmp_path / ("n" * 250))  # the working folder beside it has a longer name
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_copy_of_files_that_can_not_be_read_is_a_storage_error(index, tmp_path):
    index.upsert(["a text"])
    index.query_adapters.save("trained", QueryAdapter(np.eye(256, dtype=np.float32)))
    file = index.path / "adapters" / "trained.adapter"
    file.unlink()
    file.mkdir()
    with pytest.raises(CorruptIndexError, match="must be a plain file"):
        index.copy(tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_query_adapter_that_can_not_be_written_is_a_storage_error(index):
    index.upsert(["a text"])
    (index.path / "adapters").write_text("a file")
    with pytest.raises(StorageError, match="File exists"):
        index.query_adapters.save("trained", QueryAdapter(np.eye(256, dtype=np.float32)))
    assert list(index.query_adapters) == []
    assert index.verify().ok


def test_an_index_writes_again_once_the_system_allows_it(tmp_path, monkeypatch):
    path = tmp_path / "index"
    Index.open(path, encoder=HashingEncoder()).close()
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)
    with Index.open(path, encoder=HashingEncoder()) as index:
        assert len(index) == 0
        monkeypatch.undo()
        index.upsert(["a text"])
        assert [passage.text for passage in index] == ["a text"]
        assert index.verify().ok
