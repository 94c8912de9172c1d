"""The write lock of another writer: waited for as long as `Index.open(wait=...)` says."""

import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from twofold import HashingEncoder, Index
from twofold.errors import IndexLockedError, InputError
from twofold.index.writing import writer

HOLDER = """
import sys
from twofold import Index
index = Index.open(sys.argv[1])
index.upsert(["held"])
print("held", flush=True)
sys.stdin.readline()
index.close()
print("free", flush=True)
sys.stdin.readline()
"""


@contextmanager
def held_by_another_process(path):
    """Another process holds the write lock until a line is sent to it."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.communicate("\n\n")


def test_a_write_waits_until_the_lock_is_free(tmp_path, monkeypatch):
    Index.open(tmp_path / "i", encoder=None).close()
    pauses = []
    with held_by_another_process(tmp_path / "i") as process:

        def pause(seconds):
            pauses.append(seconds)
            if len(pauses) == 3:
                process.stdin.write("\n")
                process.stdin.flush()
                assert process.stdout.readline() == "free\n"

        monkeypatch.setattr(writer.time, "sleep", pause)
        with Index.open(tmp_path / "i", wait=60) as second:
            assert len(second) == 1  # reading needs no lock
            second.upsert(["two"])
            assert len(second) == 2
    assert len(pauses) == 3
    assert all(0 < seconds <= 0.05 for seconds in pauses)


@pytest.mark.parametrize("wait", [0, 0.01])
def test_the_error_comes_after_that_time(tmp_path, wait):
    Index.open(tmp_path / "i", encoder=None).close()
    with held_by_another_process(tmp_path / "i"), Index.open(tmp_path / "i", wait=wait) as second:
        with pytest.raises(IndexLockedError, match="another process holds the write lock"):
            second.upsert(["two"])
        assert len(second) == 1
    with Index.open(tmp_path / "i") as first:
        assert first.upsert(["three"]).added == 1


def test_indexes_of_one_process_take_turns(tmp_path):
    first = Index.open(tmp_path / "i", encoder="hashing")
    first.upsert(["one"])
    second = Index.open(tmp_path / "i")  # as a notebook cell does when it runs again
    second.upsert(["two"])
    first.upsert(["three"])
    third = Index.open(tmp_path / "i")
    assert third.delete(where={}) == 3
    assert [len(index) for index in (first, second, third)] == [0, 0, 0]
    second.close()
    third.close()
    assert first.upsert(["four"]).added == 1
    assert first.verify(deep=True).ok


def test_threads_with_indexes_of_their_own_take_turns(tmp_path):
    Index.open(tmp_path / "i", encoder="hashing").close()

    def write(number):
        with Index.open(tmp_path / "i") as index:
            for at in range(5):
                index.upsert([{"id": f"{number}-{at}", "text": f"text {number} {at}"}])
                assert index.delete([f"{number}-{at - 1}"]) == (at > 0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(8)))
    with Index.open(tmp_path / "i", read_only=True) as index:
        assert sorted(passage.id for passage in index) == [f"{number}-4" for number in range(8)]
        assert index.verify(deep=True).ok


def test_a_write_within_a_write_is_refused(tmp_path):
    errors = []

    class Nested(HashingEncoder):
        def encode_passages(self, texts):
            if "outer" in texts:
                with Index.open(tmp_path / "i", encoder=HashingEncoder()) as inner:
                    try:
                        inner.upsert(["inner"])
                    except IndexLockedError as error:
                        errors.append(str(error))
            return super().encode_passages(texts)

    with Index.open(tmp_path / "i", encoder=Nested()) as outer:
        outer.upsert(["before"])
        outer.upsert(["outer"])
        assert [passage.text for passage in outer] == ["before", "outer"]
    (message,) = errors
    assert "another Index of this process holds the write lock" in message


def test_threads_that_wait_for_each_other_get_an_error(tmp_path, monkeypatch):
    """Each writes, while its encoder runs, to the index that the other is writing."""
    monkeypatch.setattr(writer, "_BUSY", 0.3)
    both, errors = threading.Barrier(2), []

    class Crossing(HashingEncoder):
        def __init__(self, other):
            self.other = other

        def encode_passages(self, texts):
            if "outer" in texts:
                both.wait(timeout=20)
                try:
                    with Index.open(self.other, encoder=HashingEncoder()) as index:
                        index.upsert(["inner"])
                except IndexLockedError as error:
                    errors.append(error)
            return super().encode_passages(texts)

    paths = tmp_path / "a", tmp_path / "b"
    for path in paths:
        Index.open(path, encoder="hashing").close()

    def write(path, other):
        with Index.open(path, encoder=Crossing(other)) as index:
            index.upsert(["outer"])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, paths, reversed(paths)))
    assert errors
    for path in paths:
        with Index.open(path, read_only=True) as index:
            assert "outer" in [passage.text for passage in index]


@pytest.mark.parametrize("wait", [-1, math.nan, math.inf, "30", None, [1]])
def test_bad_times_are_refused(tmp_path, wait):
    with pytest.raises(InputError, match="wait must be a number of seconds >= 0, got"):
        Index.open(tmp_path / "i", encoder=None, wait=wait)
    assert not (tmp_path / "i").exists()
