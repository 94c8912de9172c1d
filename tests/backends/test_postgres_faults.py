"""Servers that refuse, die or fall silent: clear errors in time, and no password in any of them."""

import signal
import socket
import subprocess
import sys
import threading
import time

import psycopg
import pytest

from postgres_server import PostgresServer, free_port, make_folder, unpack
from twofold import HashingEncoder, Passage, Retriever
from twofold.backends.postgres import PostgresBackend
from twofold.errors import InputError, TwofoldError

PASSWORD = "secret"


@pytest.fixture
def server():
    folder = make_folder()
    started = PostgresServer(unpack(), folder / "data").create().start()
    yield started
    started.stop()


def failure(function, within=8.0):
    """Return the message of the library's error, which must come in time."""
    start = time.monotonic()
    with pytest.raises(TwofoldError) as caught:
        function()
    assert time.monotonic() - start < within
    text = f"{caught.value} {caught.value!r}"
    assert PASSWORD not in text
    return str(caught.value)


def open_at(url, **options):
    return PostgresBackend(url, encoder=HashingEncoder(), timeout=3, **options)


def test_a_wrong_address_or_password_is_said(postgres_server):
    where = psycopg.conninfo.conninfo_to_dict(postgres_server.url)
    place = f"{where['host']}:{where['port']}"
    closed = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{free_port()}/postgres"
    assert "check that the server runs" in failure(lambda: open_at(closed))
    text = failure(lambda: open_at(f"postgresql://postgres:wrong{PASSWORD}@{place}/postgres"))
    assert "password authentication failed" in text
    text = failure(lambda: open_at(f"postgresql://postgres:{PASSWORD}@{place}/nowhere"))
    assert 'database "nowhere" does not exist' in text
    for url in (f"postgresql://u:{PASSWORD}@[bad/x", f"nonsense={PASSWORD}", "", None, 5):
        with pytest.raises(InputError) as caught:
            open_at(url)
        assert PASSWORD not in str(caught.value)


def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/postgres"
        assert "127.0.0.1" in failure(lambda: open_at(url), within=20)


def test_a_server_that_stops_within_a_query_is_given_up(server):
    backend = open_at(server.url)
    backend.upsert([Passage("plants make food", "1")])
    with backend.session() as session:
        server.signal(signal.SIGSTOP)
        try:
            text = failure(lambda: session.search_lexical(["plants"], 5, None, None))
            assert "no answer within" in text
        finally:
            server.signal(signal.SIGCONT)
    assert Retriever(backend).retrieve("plants").ids == ["1"]
    backend.close()


def test_a_server_that_dies_within_a_query_is_said_and_found_again(server):
    backend = open_at(server.url)
    backend.upsert([Passage("plants make food", "1")])
    with backend.session() as session:
        server.kill()
        assert "127.0.0.1" in failure(lambda: session.search_lexical(["plants"], 5, None, None))
    assert "check that the server runs" in failure(lambda: Retriever(backend).retrieve("plants"))
    assert "check that the server runs" in failure(lambda: backend.upsert(["more"]))
    server.start()
    assert Retriever(backend).retrieve("plants").ids == ["1"]  # by a new connection
    assert backend.upsert([Passage("more", "2")]).added == 1
    backend.close()


def test_a_statement_that_takes_too_long_ends(server):
    backend = open_at(server.url)
    backend.upsert([Passage("plants make food", "1")])
    with psycopg.connect(server.url) as other:
        other.execute("LOCK TABLE twofold.postings IN ACCESS EXCLUSIVE MODE")
        text = failure(lambda: Retriever(backend, mode="lexical").retrieve("plants"))
        assert "canceling statement due to statement timeout" in text
    backend.close()


def test_another_writer_is_waited_for(server):
    backend = open_at(server.url, wait=0.5)
    backend.upsert([Passage("plants make food", "1")])
    with psycopg.connect(server.url) as other:
        other.execute("SELECT 1 FROM twofold.state FOR UPDATE")
        text = failure(lambda: backend.upsert([Passage("more", "2")]))
        assert "another writer holds the lock" in text
        patient = open_at(server.url, wait=20)
        done = threading.Thread(target=patient.upsert, args=([Passage("more", "2")],))
        done.start()
        other.rollback()
        done.join()
    assert len(backend) == 2
    for each in (backend, patient):
        each.close()


WRITER = """
import sys
from twofold import HashingEncoder, Passage
from twofold.backends.postgres import PostgresBackend
backend = PostgresBackend(sys.argv[1], encoder=HashingEncoder(), timeout=60)
start = int(sys.argv[2])
for number in range(start, start + 100_000):
    some = [Passage(f"passage {number} of batch {at}", f"{number}-{at}") for at in range(5)]
    backend.upsert(some)
    print(number, flush=True)
"""


def write_until(server, start, count):
    """Start a writer; return it and the numbers it has acknowledged, at least ``count``."""
    command = [sys.executable, "-c", WRITER, server.url, str(start)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    acknowledged = [int(next(iter(writer.stdout.readline, ""))) for _ in range(count)]
    return writer, acknowledged


def check_acknowledged(backend, acknowledged):
    """All passages of what was acknowledged are there; others are whole batches."""
    stored = {one.id for one in backend}
    wanted = {f"{number}-{at}" for number in acknowledged for at in range(5)}
    assert wanted
    assert wanted <= stored
    assert len(stored) % 5 == 0
    with backend.session() as session:  # later, if a writer goes on
        count = session.corpus.passages
        assert len(session.list_keys()) == count >= len(stored)
        (hits,) = session.search_lexical(["passage"], 10**6, None, None)
        assert len(hits.keys) == count
        (hits,) = session.search_dense(
            HashingEncoder().encode_queries(["passage"]), 10**6, None, float("inf")
        )
        assert len(hits.keys) == count


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_clients_are_killed(server):
    backend, acknowledged = open_at(server.url), []
    for turn in range(50):
        writer, seen = write_until(server, turn * 100_000, 1 + turn % 4)
        writer.kill()
        acknowledged += seen + [int(line) for line in writer.communicate()[0].split()]
        check_acknowledged(backend, acknowledged)
    backend.close()


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(server):
    backend, acknowledged = open_at(server.url), []
    writer, acknowledged = write_until(server, 0, 2)
    for turn in range(50):
        server.kill()
        server.start()
        acknowledged += [int(writer.stdout.readline()) for _ in range(1 + turn % 4)]
        check_acknowledged(backend, acknowledged)  # the same writer goes on
    writer.kill()
    acknowledged += [int(line) for line in writer.communicate()[0].split()]
    check_acknowledged(backend, acknowledged)
    backend.close()


def test_a_promoted_standby_has_all_that_was_acknowledged(server):
    """The primary waits for its standby; then it dies, and the standby takes its place."""
    backend = open_at(server.url)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('standby')")
    standby = PostgresServer(server.programs, server.folder.parent / "standby")
    source = f"{server.url}?application_name=standby"
    server.run("pg_basebackup", "-D", str(standby.folder), "-R", "-S", "standby", "-d", source)
    standby.start()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        connection.execute("ALTER SYSTEM SET synchronous_commit = 'remote_apply'")
        connection.execute("SELECT pg_reload_conf()")
    backend.upsert([Passage(f"plants make food {at}", str(at)) for at in range(100)])
    backend.delete(["7"])
    reader = open_at(server.url, read_url=standby.url)
    queries = ["plants", "food 12", "make 33"]
    before = [Retriever(backend).retrieve(query) for query in queries]
    for query, hits in zip(queries, before, strict=True):
        read = Retriever(reader).retrieve(query)
        assert (list(read.ids), list(read.scores)) == (list(hits.ids), list(hits.scores))
    server.kill()
    with psycopg.connect(standby.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        connection.execute("SELECT pg_promote()")
    promoted = open_at(standby.url)
    try:
        assert len(promoted) == 99
        for query, hits in zip(queries, before, strict=True):
            now = Retriever(promoted).retrieve(query)
            assert len(now)
            assert (list(now.ids), list(now.scores)) == (list(hits.ids), list(hits.scores))
        assert promoted.upsert([Passage("more", "more")]).added == 1
    finally:
        for each in (backend, reader, promoted):
            each.close()
        standby.stop()
