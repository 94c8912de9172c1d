"""Indexes in folders that the user can read and not write."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import twofold
from twofold import Index, Retriever
from unwritable import WRITE, allow, drop_override, forbid, run

CHILD = """
import json, sys
from twofold import Index, Retriever
from twofold.errors import TwofoldError
out = {}
for read_only in (True, False):
    try:
        with Index.open(sys.argv[1], read_only=read_only) as index:
            answers = [Retriever(index, k=1).retrieve("topic7").ids, index.get(["3"])[0].text]
            answers += [len(index), index.verify(deep=True).ok]
            try:
                index.upsert(["new"])
                answers.append("written")
            except TwofoldError as error:
                answers.append(type(error).__name__)
    except TwofoldError as error:
        answers = [type(error).__name__, str(error)]
    out[str(read_only)] = answers
print(json.dumps(out))
"""
FINE = [["7"], "text topic3", 20, True, "ReadOnlyError"]


@pytest.fixture
def path(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert({"id": f"{n}", "text": f"text topic{n}"} for n in range(20))
    yield tmp_path / "i"
    allow(tmp_path / "i")


@pytest.mark.parametrize(
    "forbidden", [".", "catalog.sqlite", "LOCK"], ids=["all", "catalog", "lock"]
)
def test_what_can_be_read_is_served_and_what_cannot_be_written_is_refused(path, forbidden):
    forbid(path / forbidden, WRITE)
    answers = run("-c", CHILD, path)
    assert answers["True"] == FINE
    if forbidden == "catalog.sqlite":
        assert answers["False"][:4] == FINE[:4]
    else:
        assert answers["False"] == FINE
    if forbidden == ".":
        assert not list(path.glob("catalog.sqlite-*"))


def test_a_log_beside_a_folder_that_cannot_be_written_is_read_too(path):
    """A writer of another user is at work, or was killed."""
    with Index.open(path) as writer:
        writer.upsert([{"id": "3", "text": "text topic3"}, {"id": "new", "text": "logged"}])
        writer.delete(["new"])
        assert (path / "catalog.sqlite-wal").stat().st_size
        forbid(path, WRITE)
        assert run("-c", CHILD, path) == {"True": FINE, "False": FINE}
        (path / "catalog.sqlite-shm").rename(path / "aside")
        found = run("-c", CHILD, path)
        for answers in found.values():
            assert answers[0] == "StorageError"
            assert "can't be read by this user" in answers[1]


def test_bytes_that_cannot_be_read_are_said_so(path):
    for name in ("catalog.sqlite", "HEAD", "vectors"):
        before = (path / name).stat().st_mode
        (path / name).chmod(0)
        for answers in run("-c", CHILD, path).values():
            assert answers[0] in ("StorageError", "CorruptIndexError"), name
            assert str(path) in answers[1]
        (path / name).chmod(before)
    assert run("-c", CHILD, path)["True"] == FINE


def test_a_reader_sees_what_a_user_who_may_write_commits(path):
    """The reader has opened the catalog as immutable, and opens it anew."""
    script = CHILD.split("out = {}")[0] + (
        "index = Index.open(sys.argv[1], read_only=True)\n"
        "found = [len(index)]\n"
        "print(flush=True)\n"
        "sys.stdin.readline()\n"
        "found += [len(index), Retriever(index, k=1).retrieve('unheard').ids]\n"
        "print(json.dumps(found))\n"
    )
    forbid(path, WRITE)
    reader = subprocess.Popen(
        [sys.executable, "-c", script, path],
        preexec_fn=drop_override,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    reader.stdout.readline()
    for each in (path, *path.rglob("*")):
        each.chmod(0o755)
    with Index.open(path) as index:
        index.upsert([{"id": "u", "text": "unheard"}])
    forbid(path, WRITE)
    assert json.loads(reader.communicate("\n")[0]) == [20, 21, ["u"]]


@pytest.mark.slow
def test_without_a_place_for_compiled_code_queries_are_answered(path, tmp_path):
    package = tmp_path / "lib" / "twofold"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(twofold.__file__).parent, package, ignore=ignored)
    forbid(tmp_path / "lib", WRITE)
    try:
        found = run("-c", CHILD, path, PYTHONPATH=str(tmp_path / "lib"), HOME="/nonexistent")
    finally:
        allow(tmp_path / "lib")
    assert found["True"] == FINE
    assert Retriever(Index.open(path, read_only=True), k=1).retrieve("topic7").ids == ["7"]
