"""Threads, processes, forks and kills."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from twofold import Index, Retriever
from twofold.errors import IndexClosedError
from twofold.storage import catalog

WRITER = """
import sys
from twofold import Index
path = sys.argv[1]
with Index.open(path, encoder="hashing") as index:
    n = int(sys.argv[2])
    while True:
        batch = [{"id": f"{n + at}", "text": f"word{n + at} of many", "metadata": {"n": n + at}}
                 for at in range(7)]
        index.upsert(batch)
        if n % 3 == 0:
            index.delete([f"{n}"])
            print(f"deleted {n}", flush=True)
        print(f"stored {n} {n + len(batch)}", flush=True)
        n += len(batch)
"""


def kill_while_writing(path, start, seconds):
    """Run a writer, kill it, and return which ids it said were stored and deleted."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(start)], stdout=subprocess.PIPE, text=True
    )
    first = process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    said = [first, *process.stdout]
    process.wait()
    process.stdout.close()
    stored, deleted = set(), set()
    for line in said:
        verb, *numbers = line.split()
        if verb == "stored" and line.endswith("\n"):
            stored |= set(range(int(numbers[0]), int(numbers[1])))
        elif verb == "deleted" and line.endswith("\n"):
            deleted.add(int(numbers[0]))
    return stored - deleted, deleted, max(stored, default=start) + 1


def check_after_kill(path, stored, deleted):
    with Index.open(path) as index:
        report = index.verify(deep=True)
        assert report.problems == ()
        ids = {int(each.id) for each in index}
        assert stored <= ids
        assert not deleted & ids
        probe = max(stored)
        assert Retriever(index).retrieve(f"word{probe}")[0].id == str(probe)
        assert Retriever(index, mode="lexical").retrieve(f"word{probe}").ids == [str(probe)]


def killed_often(path, times):
    random.seed(7)
    stored, deleted, start = set(), set(), 0
    for _ in range(times):
        more, gone, start = kill_while_writing(path, start, random.uniform(0.0, 0.4))
        # What was being written when the kill came may be there or not.
        stored, deleted, start = stored | more, deleted | gone, start + 7
        check_after_kill(path, stored, deleted)
    assert len(stored) > 7 * times


def test_nothing_that_was_stored_is_lost_by_a_kill(tmp_path):
    killed_often(tmp_path / "i", 3)


@pytest.mark.slow
def test_nothing_that_was_stored_is_lost_by_twenty_kills(tmp_path):
    killed_often(tmp_path / "i", 20)


def test_readers_see_whole_generations_while_a_writer_writes(tmp_path):
    """Every passage of a generation carries its turn: a reader never sees two turns mixed."""
    path = tmp_path / "i"

    def passages(turn):
        return [
            {"id": f"{n:03}", "text": f"common turn{turn} word{n}", "metadata": {"turn": turn}}
            for n in range(40)
        ]

    writer = Index.open(path, encoder="hashing")
    writer.upsert(passages(0))
    stop, errors, rounds = threading.Event(), [], [0, 0, 0, 0]

    def read(place, index):
        retriever = Retriever(index, k=40)
        try:
            while not stop.is_set() or rounds[place] < 5:
                hits = retriever.retrieve("common")
                turns = {hit.passage.metadata["turn"] for hit in hits}
                words = {hit.passage.text.split()[1] for hit in hits}
                assert len(hits) == 40
                assert len(turns) == 1
                assert words == {f"turn{turns.pop()}"}
                rounds[place] += 1
        except BaseException as error:  # noqa: BLE001  # told to the main thread
            errors.append(error)

    others = [Index.open(path, read_only=True) for _ in range(2)]
    shared = [writer, writer, *others]
    threads = [threading.Thread(target=read, args=pair) for pair in enumerate(shared)]
    for thread in threads:
        thread.start()
    for turn in range(1, 40):
        writer.upsert(passages(turn))
    stop.set()
    for thread in threads:
        thread.join()
    for each in others:
        each.close()
    assert errors == []
    assert min(rounds) >= 5
    assert writer.verify(deep=True).ok
    writer.close()


def test_readers_in_other_processes_follow(tmp_path):
    script = (
        "import sys, json\n"
        "from twofold import Index, Retriever\n"
        "with Index.open(sys.argv[1], read_only=True) as index:\n"
        "    for line in sys.stdin:\n"
        "        hits = Retriever(index).retrieve(line.strip())\n"
        "        print(json.dumps([len(index), hits.ids[:1]]), flush=True)\n"
    )
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert([{"id": "a", "text": "alpha"}])
        command = [sys.executable, "-c", script, str(tmp_path / "i")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes) as reader:

            def ask(query):
                reader.stdin.write(query + "\n")
                reader.stdin.flush()
                return json.loads(reader.stdout.readline())

            assert ask("alpha") == [1, ["a"]]
            index.upsert([{"id": "b", "text": "beta"}])
            assert ask("beta") == [2, ["b"]]
            index.delete(["a"])
            assert ask("alpha") == [1, ["b"]]
            reader.stdin.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_searches_for_itself(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert({"id": f"{n}", "text": f"word{n} common"} for n in range(2000))
        wanted = Retriever(index).retrieve("word77").ids
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, json.dumps(Retriever(index).retrieve("word77").ids).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            assert json.loads(pipe.read()) == wanted
        os.waitpid(child, 0)
        index.upsert(["after the fork"])
        assert index.verify().ok


def test_no_thread_or_cycle_keeps_an_index_alive(tmp_path):
    import gc
    import weakref

    gc.collect()
    gc.disable()
    try:
        index = Index.open(tmp_path / "i", encoder="hashing")
        index.upsert(["x"])
        list(Retriever(index).retrieve("x"))
        known = weakref.ref(index)
        del index
        assert known() is None
    finally:
        gc.enable()


def test_threads_write_by_turns(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        errors = []

        def write(name):
            try:
                for turn in range(15):
                    index.upsert(
                        [{"id": f"{name}-{turn}-{n}", "text": f"{name} {n}"} for n in range(4)]
                    )
                    index.delete([f"{name}-{turn}-0"])
            except BaseException as error:  # noqa: BLE001  # told to the main thread
                errors.append(error)

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(index) == 4 * 15 * 3
        assert index.verify(deep=True).ok


CHILD = """
import os, sys
from twofold import Index
from twofold.errors import IndexLockedError
index = Index.open(None, encoder="hashing")
index.upsert(["from the parent"])
child = os.fork()
if child == 0:
    try:
        index.upsert(["from the child"])
    except IndexLockedError:
        sys.exit(7)
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
index.upsert(["again"])
assert len(index) == 2 and index.verify(deep=True).ok
index.close()
"""


def test_a_forked_child_neither_writes_nor_takes_the_index_with_it():
    command = [sys.executable, "-W", "ignore", "-c", CHILD]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Interrupting(catalog._Connection):
    """Raises KeyboardInterrupt right after a statement, as a signal during it would."""

    after = ""

    def execute(self, statement, *arguments):
        done = super().execute(statement, *arguments)
        if self.after and statement.startswith(self.after):
            type(self).after = ""
            raise KeyboardInterrupt
        return done


@pytest.mark.parametrize(("moment", "there"), [("BEGIN IMMEDIATE", 1), ("COMMIT", 2)])
def test_an_interrupt_leaves_all_of_a_write_or_nothing(tmp_path, monkeypatch, moment, there):
    monkeypatch.setattr(catalog, "_Connection", Interrupting)
    vectors = np.eye(2, 8, dtype=np.float32)
    with Index.open(tmp_path / "i", dim=8) as index:
        index.upsert([{"id": "a", "text": "x"}], vectors=vectors[:1])
        Interrupting.after = moment
        with pytest.raises(KeyboardInterrupt):
            index.upsert([{"id": "b", "text": "y"}], vectors=vectors[1:])
        assert len(index) == there
        assert index.verify(deep=True).ok
        index.upsert([{"id": "b", "text": "y"}], vectors=vectors[1:])
        assert Retriever(index, mode="dense").retrieve(vector=vectors[1])[0].id == "b"
    with Index.open(tmp_path / "i") as index:
        assert len(index) == 2
        assert index.verify(deep=True).ok


def test_an_index_closed_during_a_write_stops_it(tmp_path):
    index = Index.open(tmp_path / "i", encoder=None)
    passages = [{"id": f"{n}", "text": "x"} for n in range(9000)]
    with pytest.raises(IndexClosedError):
        index.upsert(passages, progress=lambda done: index.close())
    with Index.open(tmp_path / "i") as again:
        assert len(again) == 4096
        assert again.verify(deep=True).ok


def test_verify_beside_a_writer_gives_no_false_alarm(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert(["start"])
        stop, problems = threading.Event(), []

        def check():
            with Index.open(tmp_path / "i", read_only=True) as reader:
                while not stop.is_set():
                    problems.extend(reader.verify().problems)

        thread = threading.Thread(target=check)
        thread.start()
        for turn in range(40):
            index.upsert({"id": f"{n}", "text": f"turn {turn} word {n}"} for n in range(60))
        stop.set()
        thread.join()
        assert problems == []


FORKS = """
import os, signal, sys, threading, time
import numpy as np
from twofold import HashingEncoder, Index, Retriever
from twofold.errors import IndexLockedError

class Slow(HashingEncoder):  # holds a lock of the index for most of the time
    def encode_passages(self, texts):
        time.sleep(0.01)
        return super().encode_passages(texts)

index = Index.open(None, encoder=Slow())
index.upsert(f"text topic{n}" for n in range(50))
retriever = Retriever(index, k=1)
stop = threading.Event()

def write():
    n = 0
    while not stop.is_set():
        n += 1
        index.upsert([{"id": f"new{n % 3}", "text": f"written {n}"}])
        index.delete([f"new{(n + 1) % 3}"])

def read():
    while not stop.is_set():
        retriever.retrieve("topic7")

threads = [threading.Thread(target=each) for each in (write, read, read)]
for thread in threads:
    thread.start()
ends = []
for turn in range(25):
    time.sleep(0.01 * (turn % 4))
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        found = [retriever.retrieve("topic7")[0].passage.text for _ in range(3)]
        try:
            index.upsert(["from the child"])
            os._exit(3)
        except IndexLockedError:
            pass
        os._exit(0 if found == ["text topic7"] * 3 else 4)
    ends.append(child)
ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in ends]
stop.set()
for thread in threads:
    thread.join()
assert ends == [0] * len(ends), ends
assert index.verify(deep=True).ok
"""


def test_children_forked_beside_working_threads_answer():
    command = [sys.executable, "-W", "ignore", "-c", FORKS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
