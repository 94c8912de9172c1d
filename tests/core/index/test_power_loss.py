"""Every new name of a file or folder is synced, which strict POSIX rules demand."""

import os
from pathlib import Path

import numpy as np
import pytest

from twofold import HashingEncoder, Index
from twofold.encoders import QueryAdapter


@pytest.fixture
def calls(monkeypatch):
    """Record the path of each file and folder that is synced."""
    synced: list[Path] = []
    real = os.fsync

    def fsync(handle):
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return synced


def last(calls, path):
    """Return the place of the last sync of a path, -1 for none."""
    return max((at for at, synced in enumerate(calls) if synced == path), default=-1)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_folders_above_a_new_index_are_synced(tmp_path, calls, depth):
    path = tmp_path.joinpath(*"abcd"[:depth], "index")
    Index.open(path, encoder="hashing").close()
    for above in path.parents:
        if above.is_relative_to(tmp_path):
            assert last(calls, above) >= 0, above
    assert last(calls, path / "HEAD.tmp") >= 0
    assert last(calls, path) > last(calls, path / "HEAD.tmp")


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_names_in_a_copy_are_synced_before_it_appears(tmp_path, calls, overwrite):
    target = tmp_path / "new" / "copy"
    with Index.open(tmp_path / "index", encoder="hashing") as index:
        index.upsert([f"passage {n}" for n in range(2000)])
        if overwrite:
            index.copy(target)
        calls.clear()
        index.copy(target, overwrite=overwrite)
    (folder,) = {path for path in calls if path.parent.name.endswith(".partial")}
    head = last(calls, folder / "HEAD")
    assert 0 <= head < last(calls, folder) < last(calls, target.parent)
    assert last(calls, folder / "vectors") >= 0
    if not overwrite:
        assert last(calls, tmp_path) >= 0  # has the name of "new"
    with Index.open(target) as copy:
        assert len(copy) == 2000


def test_the_folder_of_query_adapters_is_synced(tmp_path, calls):
    encoder = HashingEncoder()
    with Index.open(tmp_path / "index", encoder=encoder) as index:
        index.upsert(["green tea", "black coffee"])
        calls.clear()
        adapter = QueryAdapter(np.eye(index.dim, dtype=np.float32))
        index.query_adapters.save("trained", adapter)
    assert last(calls, tmp_path / "index") >= 0
    assert last(calls, tmp_path / "index" / "adapters") >= 0
