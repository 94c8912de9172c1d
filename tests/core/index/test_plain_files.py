"""A pipe, a folder, a socket or a device in place of a file is damage: nothing waits for it."""

import os
import shutil
import socket
import threading

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Retriever
from twofold.encoders import QueryAdapter
from twofold.errors import CorruptIndexError, RebuildWarning, TwofoldError

WAIT = 60  # seconds after which a call counts as hanging


def make_pipe(path):
    os.mkfifo(path)


def make_folder(path):
    path.mkdir()


def make_socket(path):
    short = path.parent / "s"  # the path of a socket has at most a hundred bytes
    with socket.socket(socket.AF_UNIX) as opened:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            opened.bind(f"/proc/self/fd/{directory}/s")
        finally:
            os.close(directory)
    short.rename(path)


def make_device(path):
    path.symlink_to("/dev/zero")


kinds = pytest.mark.parametrize("make", [make_pipe, make_folder, make_socket, make_device])


def call(function):
    """Call a function in a thread; fail if it waits, else return its result or error."""
    results = []

    def run():
        try:
            results.append(function())
        except TwofoldError as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WAIT)
    assert results, "it waits"
    return results[0]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "i"
    with Index.open(path, encoder=HashingEncoder()) as index:
        words = np.random.default_rng(0).integers(0, 500, (3000, 20))
        index.upsert(
            {"id": f"{n}", "text": f"apple {' '.join(f'w{word}' for word in row)}"}
            for n, row in enumerate(words)
        )
        index.query_adapters.save("a", QueryAdapter(np.eye(index.dim, dtype=np.float32), None, {}))
    return path


@pytest.fixture
def path(original, tmp_path):
    shutil.copytree(original, tmp_path / "i")
    return tmp_path / "i"


def replace(path, make):
    path.unlink(missing_ok=True)
    make(path)


def search(path):
    with Index.open(path, encoder=HashingEncoder()) as index:
        return Retriever(index, k=3).retrieve("apple w7").ids


@kinds
@pytest.mark.parametrize("name", ["HEAD", "catalog.sqlite", "catalog.sqlite-wal"])
def test_an_index_is_not_opened(path, name, make):
    replace(path / name, make)
    found = call(lambda: search(path))
    assert isinstance(found, CorruptIndexError), found
    assert f"{name} is a pipe, a folder, a socket or a device" in str(found)


@kinds
def test_an_open_index_notices_its_catalog(path, make):
    with Index.open(path, encoder=HashingEncoder()) as index:
        assert len(index) == 3000
        replace(path / "catalog.sqlite", make)
        assert isinstance(call(lambda: len(index)), CorruptIndexError)


@kinds
def test_nothing_is_created_over_a_catalog_that_is_no_file(tmp_path, make):
    (tmp_path / "new").mkdir()
    make(tmp_path / "new" / "catalog.sqlite")
    found = call(lambda: search(tmp_path / "new"))
    assert isinstance(found, CorruptIndexError), found


@kinds
def test_vectors_are_not_searched(path, make):
    replace(next((path / "vectors").iterdir()), make)
    found = call(lambda: search(path))
    assert isinstance(found, CorruptIndexError)
    assert "must be a plain file" in str(found)

    def use():
        with Index.open(path, encoder=HashingEncoder()) as index:
            assert len(Retriever(index, mode="lexical").retrieve("apple")) == 10
            return index.verify().problems

    assert any("must be a plain file" in problem for problem in call(use))


@kinds
def test_a_segment_is_built_anew(path, original, make):
    answers = search(original)
    replace(max((path / "segments").iterdir(), key=lambda file: file.stat().st_size), make)
    with pytest.warns(RebuildWarning, match="must be a plain file"):
        assert call(lambda: search(path)) == answers


@kinds
def test_a_query_adapter_is_not_read(path, make):
    replace(path / "adapters" / "a.adapter", make)

    def use():
        with Index.open(path, encoder=HashingEncoder()) as index:
            return index.query_adapters["a"]

    assert "must be a plain file" in str(call(use))


@kinds
def test_a_writer_takes_no_lock(path, make):
    replace(path / "LOCK", make)

    def write():
        with Index.open(path, encoder=HashingEncoder()) as index:
            return index.upsert(["new"])

    found = call(write)
    assert isinstance(found, CorruptIndexError), found
    assert len(search(path)) == 3


@kinds
def test_a_writer_writes_to_no_other_head(path, make):
    with Index.open(path, encoder=HashingEncoder()) as index:
        index.upsert(["first"])
        replace(path / "HEAD", make)
        assert isinstance(call(lambda: index.upsert(["second"])), CorruptIndexError)
