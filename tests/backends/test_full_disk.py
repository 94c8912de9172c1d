"""A full disk on the server: a clear error, nothing acknowledged lost, and it goes on later."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from milvus_servers import LiteServer
from postgres_server import PostgresServer, make_folder, own, unpack
from twofold import HashingEncoder, Passage, Retriever
from twofold.backends.milvus import MilvusBackend
from twofold.backends.postgres import PostgresBackend
from twofold.errors import BackendError


@pytest.fixture
def small_disk():
    """Returns folders on file systems of some megabytes."""
    mounted = []

    def mount(megabytes):
        folder = make_folder()
        options = f"size={megabytes}m,mode=0755"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
        )
        if done.returncode:
            pytest.skip("not run: a small file system can't be mounted here")
        mounted.append(folder)
        own(folder)
        return folder

    if os.name != "posix" or os.getuid():
        pytest.skip("not run: only root can mount a small file system")
    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def fill(backend):
    """Store passages until the server refuses; return what was acknowledged, and the error."""
    rng, acknowledged = np.random.default_rng(0), []
    for number in range(2_000):
        some = [Passage(rng.bytes(12_000).hex(), f"{number}-{at}") for at in range(20)]
        try:
            backend.upsert(some)
        except BackendError as error:
            assert acknowledged
            return acknowledged, str(error)
        acknowledged += some
    raise AssertionError("the disk was never full")


def check(backend, acknowledged):
    wanted = {one.id: one.text for one in acknowledged}
    stored = {one.id: one.text for one in backend}
    assert {name: stored.get(name) for name in wanted} == wanted


def test_postgres(small_disk):
    disk = small_disk(140)
    server = PostgresServer(unpack(), disk / "data").create()
    log = make_folder()  # what is full is the disk of the tables, not that of the log
    before, moved = disk / "data" / "pg_wal", log / "pg_wal"
    subprocess.run(["cp", "-a", str(before), str(moved)], check=True)
    shutil.rmtree(before)
    before.symlink_to(moved)
    server.start()
    try:
        (disk / "filler").write_bytes(bytes(30 << 20))
        with PostgresBackend(server.url, encoder=HashingEncoder(), timeout=10) as backend:
            acknowledged, text = fill(backend)
            assert "free space on the server" in text
            assert "secret" not in text
            check(backend, acknowledged)
            (disk / "filler").unlink()
            more = [Passage("there is room again", "more")]
            assert backend.upsert(more).added == 1
            check(backend, [*acknowledged, *more])
            assert Retriever(backend).retrieve("room again").ids[0] == "more"
    finally:
        server.stop()
        shutil.rmtree(log, ignore_errors=True)


def test_milvus(small_disk):
    disk = small_disk(24)
    server = LiteServer(disk).start()
    try:
        with MilvusBackend(server.uri, encoder=HashingEncoder(), timeout=5) as backend:
            (disk / "filler").write_bytes(bytes(8 << 20))
            acknowledged, text = fill(backend)
            assert "free space on the server" in text
            check(backend, acknowledged)
            (disk / "filler").unlink()
            server.kill()
            server.start()
            more = [Passage("there is room again", "more")]
            assert backend.upsert(more).added == 1
            check(backend, [*acknowledged, *more])
    finally:
        server.stop()
