"""The write lock of another writer: waited for as long as `Index.open(wait=...)` says."""

import math

import pytest

from twofold import Index
from twofold.errors import IndexLockedError, InputError
from twofold.index.writing import writer


def test_a_write_waits_until_the_lock_is_free(tmp_path, monkeypatch):
    first = Index.open(tmp_path / "i", encoder=None)
    first.upsert(["one"])
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            first.close()

    monkeypatch.setattr(writer.time, "sleep", pause)
    with Index.open(tmp_path / "i", wait=60) as second:
        assert len(second) == 1  # reading needs no lock
        second.upsert(["two"])
        assert len(second) == 2
    assert len(pauses) == 3
    assert all(0 < seconds <= 0.05 for seconds in pauses)


@pytest.mark.parametrize("wait", [0, 0.01])
def test_the_error_comes_after_that_time(tmp_path, wait):
    with Index.open(tmp_path / "i", encoder=None) as first:
        first.upsert(["one"])
        with Index.open(tmp_path / "i", wait=wait) as second:
            with pytest.raises(IndexLockedError, match="another Index of this process holds"):
                second.upsert(["two"])
            assert len(second) == 1
        first.upsert(["three"])
        assert len(first) == 2


@pytest.mark.parametrize("wait", [-1, math.nan, math.inf, "30", None, [1]])
def test_bad_times_are_refused(tmp_path, wait):
    with pytest.raises(InputError, match="wait must be a number of seconds >= 0, got"):
        Index.open(tmp_path / "i", encoder=None, wait=wait)
    assert not (tmp_path / "i").exists()
