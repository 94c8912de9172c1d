"""Milvus servers that refuse, die or fall silent, and kills in the middle of writes."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from milvus_servers import LiteServer
from postgres_server import free_port
from twofold import HashingEncoder, Passage, Retriever
from twofold.backends.milvus import MilvusBackend
from twofold.errors import IndexLockedError, TwofoldError

TOKEN = "root:secret"


@pytest.fixture
def server(tmp_path):
    started = LiteServer(tmp_path).start()
    yield started
    started.stop()


def failure(function, within=9.0):
    """Return the message of the library's error, which must come in time."""
    start = time.monotonic()
    with pytest.raises(TwofoldError) as caught:
        function()
    assert time.monotonic() - start < within
    text = f"{caught.value} {caught.value!r}"
    assert "secret" not in text
    return str(caught.value)


def open_at(uri, timeout=3, **options):
    return MilvusBackend(uri, encoder=HashingEncoder(), timeout=timeout, **options)


def test_a_wrong_address_is_said(monkeypatch):
    monkeypatch.setenv("MILVUS_TOKEN", TOKEN)
    assert "check that the server runs" in failure(
        lambda: open_at(f"http://127.0.0.1:{free_port()}")
    )


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setenv("MILVUS_TOKEN", TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        failure(lambda: open_at(f"http://127.0.0.1:{silent.getsockname()[1]}"))


def test_a_refused_token_is_never_shown(monkeypatch, server):
    """Milvus Lite takes any token, so the server's answer is made here."""
    from pymilvus import MilvusException

    monkeypatch.setenv("MILVUS_TOKEN", TOKEN)
    backend = open_at(server.uri)

    def refuse(*_args, **_options):
        raise MilvusException(1401, f"auth check failure: wrong password secret of {TOKEN}")

    monkeypatch.setattr(backend._server._client, "query", refuse)
    text = failure(lambda: Retriever(backend).retrieve("food"))
    assert "check the environment variable MILVUS_TOKEN" in text
    backend.close()


def test_a_server_that_stops_within_a_query_is_given_up(server):
    backend = open_at(server.uri)
    backend.upsert([Passage("plants make food", "1")])
    server.signal(signal.SIGSTOP)
    try:
        failure(lambda: Retriever(backend).retrieve("food"))
        failure(lambda: backend.upsert([Passage("more", "2")]))
    finally:
        server.signal(signal.SIGCONT)
    assert Retriever(backend).retrieve("food").ids == ["1"]
    backend.close()


def test_a_server_that_dies_is_said_and_found_again(server):
    backend = open_at(server.uri, timeout=10)  # gRPC waits some seconds before it connects again
    backend.upsert([Passage("plants make food", "1")])
    server.kill()
    text = failure(lambda: Retriever(backend).retrieve("food"), within=30)
    assert "check that the server runs" in text
    server.start()
    assert Retriever(backend).retrieve("food").ids == ["1"]
    backend.upsert([Passage("more food", "2")])
    assert len(Retriever(backend).retrieve("food")) == 2
    backend.close()


def test_a_file_that_another_process_has_open_is_said(tmp_path, server):
    text = failure(lambda: open_at(server.file))
    assert "another process has opened it" in text
    with pytest.raises(IndexLockedError):
        open_at(server.file)


def test_a_closed_file_can_be_opened_by_another_process(tmp_path):
    file = tmp_path / "own.db"
    with open_at(file) as first, open_at(file) as second:
        first.upsert([Passage("plants make food", "1")])
        first.close()
        first.close()
        assert len(second) == 1  # the file is open as long as a backend of this process has it
    writer, acknowledged = write_until(file, 0, 1)
    writer.kill()
    writer.communicate()
    with open_at(file) as backend:
        check_acknowledged(backend, acknowledged)
        assert backend.get(["1"])


WRITER = """
import sys
from twofold import HashingEncoder, Passage
from twofold.backends.milvus import MilvusBackend
options = {"encoder": HashingEncoder(), "timeout": 60}
if sys.argv[3] == "dense":
    options["analyzer"] = None
backend = MilvusBackend(sys.argv[1], **options)
start = int(sys.argv[2])
for number in range(start, start + 100_000):
    some = [Passage(f"passage {number} of batch {at}", f"{number}-{at}") for at in range(5)]
    backend.upsert(some)
    print(number, flush=True)
"""


def write_until(uri, start, count, legs="both"):
    """Start a writer; return it and the numbers it has acknowledged, at least ``count``."""
    command = [sys.executable, "-c", WRITER, str(uri), str(start), legs]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    acknowledged = [int(next(iter(writer.stdout.readline, ""))) for _ in range(count)]
    return writer, acknowledged


def check_acknowledged(backend, acknowledged):
    """All passages of what was acknowledged are there, by id, in both legs."""
    stored = {one.id for one in backend}
    wanted = {f"{number}-{at}" for number in acknowledged for at in range(5)}
    assert wanted
    assert wanted <= stored
    with backend.session() as session:
        keys = session.list_keys()
        listed = set(session.fetch(keys, texts=False).ids)
        assert wanted <= listed
        (hits,) = session.search_dense(
            HashingEncoder().encode_queries(["passage"]), 16_000, None, 1.0
        )
        assert wanted <= set(session.fetch(hits.keys, texts=False).ids)
        if "lexical" in backend.capabilities.modes:
            (hits,) = session.search_lexical(["passage"], 16_000, None, None)
            assert wanted <= set(session.fetch(hits.keys, texts=False).ids)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_clients_are_killed(server):
    backend, acknowledged = open_at(server.uri, timeout=60), []
    for turn in range(50):
        writer, seen = write_until(server.uri, turn * 100_000, 1 + turn % 4)
        writer.kill()
        acknowledged += seen + [int(line) for line in writer.communicate()[0].split()]
        check_acknowledged(backend, acknowledged)
    backend.close()


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(server):
    backend = open_at(server.uri, timeout=60)
    writer, acknowledged = write_until(server.uri, 0, 2)
    for turn in range(50):
        server.kill()
        server.start()
        acknowledged += [int(writer.stdout.readline()) for _ in range(1 + turn % 4)]
        check_acknowledged(backend, acknowledged)  # the same writer goes on
    writer.kill()
    acknowledged += [int(line) for line in writer.communicate()[0].split()]
    check_acknowledged(backend, acknowledged)
    backend.close()


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_client_and_file_are_one_process(tmp_path):
    acknowledged, file = [], tmp_path / "own.db"
    for turn in range(10):
        writer, seen = write_until(file, turn * 100_000, 1 + turn % 4)
        writer.kill()
        acknowledged += seen + [int(line) for line in writer.communicate()[0].split()]
        with open_at(file) as backend:
            check_acknowledged(backend, acknowledged)


@pytest.mark.slow
@pytest.mark.alone  # of these servers, one at a time runs on a machine
def test_a_real_server_loses_nothing_acknowledged_when_it_is_killed(old_milvus):
    acknowledged = []
    for turn in range(2):
        writer, seen = write_until(old_milvus.uri, turn * 100_000, 2 + turn, "dense")
        old_milvus.kill()
        writer.kill()
        acknowledged += seen + [int(line) for line in writer.communicate()[0].split()]
        old_milvus.start()
        with open_at(old_milvus.uri, timeout=60, analyzer=None) as backend:
            check_acknowledged(backend, acknowledged)
