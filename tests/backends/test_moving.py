"""A push that is killed in the middle, and run again, over each server."""

import subprocess
import sys

import pytest

from twofold import HashingEncoder, Index, Passage, Retriever
from twofold.backends.moving import push
from twofold.backends.urls import open_url

PUSH = """
import sys
from twofold import HashingEncoder, Index
from twofold.backends.moving import push
from twofold.backends.urls import open_url
with Index.open(sys.argv[1], encoder=HashingEncoder(), read_only=True) as index:
    with open_url(sys.argv[2], {"template": index, "encoder": HashingEncoder()}) as backend:
        push(index, backend, progress=lambda *_: print("stored", flush=True))
"""
PASSAGES = 5_000  # three batches


@pytest.fixture(params=["postgres", "milvus"])
def url(request):
    """The URL of a server, with a name that is free."""
    if request.param == "postgres":
        backend = request.getfixturevalue("postgres")(encoder=HashingEncoder())
        return f"{request.getfixturevalue('postgres_server').url}?schema={backend.schema}"
    return f"milvus://127.0.0.1:{request.getfixturevalue('lite_server').port}?collection=pushed"


def test_a_push_that_was_killed_is_finished_by_the_next_one(tmp_path, url):
    words = ["zebra", "apple", "river", "stone", "violet", "harbor", "lantern"]
    passages = [
        Passage(f"{words[at % 7]} {words[at % 5]} number {at}", str(at), metadata={"at": at})
        for at in range(PASSAGES)
    ]
    with Index.open(tmp_path / "index", encoder=HashingEncoder()) as index:
        index.upsert(passages)
        command = [sys.executable, "-c", PUSH, str(tmp_path / "index"), url]
        for batches in (1, 2):
            pushing = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            for _ in range(batches):
                assert pushing.stdout.readline() == "stored\n"
            pushing.kill()
            pushing.communicate()
        with open_url(url, {"encoder": HashingEncoder(), "create": False}) as backend:
            before = len(backend)
            assert 4_000 <= before <= PASSAGES
            moved = push(index, backend)
            assert moved.passages == len(backend) == PASSAGES
            assert moved.written == PASSAGES - before
            assert moved.rankings == 40
            assert push(index, backend).written == 0
            for query in ("zebra number 17", "lantern", "violet harbor 3"):
                ours = Retriever(index, mode="dense", exact=True).retrieve(query)
                theirs = Retriever(backend, mode="dense").retrieve(query)
                assert theirs.scores == pytest.approx(ours.scores, abs=1e-5)
